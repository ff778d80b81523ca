"""What the README and docs/ tell people to type exists."""

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from registry.__main__ import cli
from registry.cli.options import default_text
from registry.dropin import ALIASES
from registry.settings import SCHEMA

PROJECT = Path(__file__).parents[1]
README = PROJECT / "README.md"
PAGES = [README, *sorted((PROJECT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(?:sh|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
SHELL = ("<", ">", "|")  # after these the words are the shell's
TABLE = re.compile(r"<!-- settings.*?-->\n(.*?)<!-- end of settings -->", re.DOTALL)


def typed(page: Path) -> Iterator[list[str]]:
    """The words of every command line in the page's shell blocks."""
    for block in BLOCK.findall(page.read_text()):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            while words and re.fullmatch(r"[A-Z_]+=.*|sudo", words[0]):
                words.pop(0)
            end = next((place for place, word in enumerate(words) if word in SHELL), len(words))
            if words[:end]:
                yield words[:end]


def registry_commands() -> list[tuple[str, list[str]]]:
    blocks = [(page.name, words[1:]) for page in PAGES for words in typed(page) if words[0] == "registry"]
    # In running text only whole commands count: `registry serve`, not a table's `registry rm REPO[...]`.
    inline = [
        (page.name, text.split()[1:])
        for page in PAGES
        for text in INLINE.findall(page.read_text())
        if re.fullmatch(r"registry [a-z][a-z0-9 .-]*", text)
    ]
    return blocks + inline


def make_targets() -> set[str]:
    text = (PROJECT / "Makefile").read_text()
    return set(re.findall(r"^([a-z0-9]+):.*## ", text, re.MULTILINE))


@pytest.mark.parametrize(
    ("page", "words"), registry_commands(), ids=[f"{p}: {' '.join(w)}" for p, w in registry_commands()]
)
def test_registry_commands_parse(page: str, words: list[str]) -> None:
    command: click.Command = cli
    while isinstance(command, click.Group):
        command, words = command.commands[words[0]], words[1:]
    command.make_context(command.name, words, parent=click.Context(cli, info_name="registry"))


def test_there_are_commands_to_look_at() -> None:
    assert {words[0] for _, words in registry_commands()} == set(cli.commands)


def test_the_readme_lists_every_command() -> None:
    assert set(re.findall(r"^\| `registry (\w+)", README.read_text(), re.MULTILINE)) == set(cli.commands)


def test_make_targets_exist() -> None:
    named = {
        words[1]
        for page in PAGES
        for words in [*typed(page), *(text.split() for text in INLINE.findall(page.read_text()))]
        if words[0] == "make" and len(words) > 1
    }
    assert {"run", "test", "check", "conformance", "tools"} <= named
    assert named - make_targets() == set()


def test_ci_calls_make_targets_only() -> None:
    script = (PROJECT / ".ci" / "run").read_text()
    called = re.findall(r"^timed (\w+)", script, re.MULTILINE)
    assert called == ["tools", "check", "test", "test", "conformance"]
    assert set(called) <= make_targets()


def test_phony_targets_are_those_of_help() -> None:
    phony = re.search(r"^\.PHONY: (.*)$", (PROJECT / "Makefile").read_text(), re.MULTILINE)
    assert phony
    assert set(phony[1].split()) == make_targets()


def settings_table() -> str:
    rows = (
        f"| `{key.name}` | `{key.flag}` | {default_text(key.name)} | {key.help} |" for key in SCHEMA.values()
    )
    return "\n".join(["| Key | Flag | Default | Meaning |", "|---|---|---|---|", *rows, ""])


def test_the_settings_table_is_the_schema() -> None:
    found = TABLE.search(README.read_text())
    assert found
    assert found[1] == settings_table()


def test_every_understood_foreign_name_is_documented() -> None:
    text = (PROJECT / "docs" / "configuration.md").read_text()
    assert set(re.findall(r"^\| `(REGISTRY_\w+)`", text, re.MULTILINE)) == set(ALIASES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = [link for link in LINK.findall(page.read_text()) if "://" not in link]
    assert [link for link in targets if not _leads(page, link)] == []


def _leads(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = Path(os.path.normpath(page.parent / path)) if path else page
    if not target.exists():
        return False
    headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE) if anchor else []
    return not anchor or anchor in [
        re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in headings
    ]
