"""`registry retention`: what it says would go, and what goes."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from registry.__main__ import cli
from registry.cli.content import by
from storage.digest import Digest
from storage.store import open_store
from tests.storage.hands import Hands
from tests.storage.pushing import push_manifest

RULES = '[{repositories = ["ci/*"], keep_last = 1, keep_tags = ["v*"]}]'
DAY = 86_400


@pytest.fixture
def root(tmp_path: Path) -> str:
    """ci/app with v1, old and new, each a day after the one before, old pulled since; app with old."""
    folder, hands = str(tmp_path / "root"), Hands(boot="")
    with closing(open_store(folder, durable=False, machine=hands.machine)) as store:

        async def fill() -> None:
            for tag in ("v1", "old", "new"):
                await push_manifest(store, "ci/app", tag.encode(), tags=[tag])
                hands.wait(DAY)
            await store.names.manifests.note_pulls([("ci/app", Digest.of(b"old"))])
            await push_manifest(store, "app", b"old", tags=["old"])

        asyncio.run(fill())
    return folder


def run(root: str, *arguments: str, rules: str = RULES) -> Result:
    rest = ["--root", root, *(["--retention", rules] if rules else [])]
    return CliRunner().invoke(cli, ["retention", *arguments, *rest], prog_name="registry")


def tags(root: str, repository: str = "ci/app") -> list[str]:
    with closing(open_store(root, durable=False)) as store:
        return asyncio.run(store.names.listings.tags(repository, after="", limit=99))


@pytest.mark.parametrize("arguments", [["plan"], ["plan", "ci/app"], ["apply", "--dry-run"]])
def test_a_plan_for_people(root: str, arguments: Sequence[str]) -> None:
    result = run(root, *arguments)
    assert result.exit_code == 0
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[0] == ["REPOSITORY", "TAG", "VERDICT", "WHY", "MOVED", "AGO", "PULLED", "AGO"]
    assert lines[1][:4] == ["ci/app", "new", "keep", "keep_last"]
    assert lines[2][:6] == ["ci/app", "old", "remove", "nothing", "keeps", "it"]
    assert lines[3][:4] == ["ci/app", "v1", "keep", "keep_tags"]
    assert lines[1][-1] == "-"
    assert lines[-1] == ["1", "tags", "would", "be", "removed,", "2", "stay"]
    assert tags(root) == ["new", "old", "v1"]


def test_a_plan_for_programs(root: str) -> None:
    found = json.loads(run(root, "plan", "--json").stdout)
    assert (found["removed"], found["kept"]) == (1, 2)
    ((name, listed),) = [(each["name"], each["tags"]) for each in found["repositories"]]
    assert name == "ci/app"
    new, old, _ = listed
    assert old["moved_ago"] - old["pulled_ago"] == 2 * DAY
    assert (new["moved_ago"], new["pulled_ago"]) == (old["moved_ago"] - DAY, None)
    del old["moved_ago"], old["pulled_ago"]
    digest = str(Digest.of(b"old"))
    assert old == {"name": "old", "digest": digest, "kept": False, "why": "nothing keeps it"}


def test_a_repository_without_rules_can_be_looked_at(root: str) -> None:
    found = json.loads(run(root, "plan", "app", "--json").stdout)
    assert [tag["why"] for tag in found["repositories"][0]["tags"]] == ["no rule"]


@pytest.mark.parametrize("rules", ["", "[]", '[{repositories = ["*"], untagged = 0}]'])
def test_without_rules_nothing_goes(root: str, rules: str) -> None:
    assert "all stay" in run(root, "plan", rules=rules).stdout
    assert run(root, "apply", rules=rules).stdout == "0 tags removed\n"
    assert tags(root) == ["new", "old", "v1"]


def test_apply(root: str) -> None:
    result = run(root, "apply")
    digest = Digest.of(b"old")
    assert (result.exit_code, result.stdout) == (
        0,
        f"removed ci/app:old ({digest})\n1 tags removed\n",
    )
    assert (tags(root), tags(root, "app")) == (["new", "v1"], ["old"])


def test_immutable_tags_stay(root: str) -> None:
    assert "immutable" in run(root, "plan", "--immutable-tags", "ci/*:old").stdout
    assert run(root, "apply", "--immutable-tags", "ci/*:old").stdout == "0 tags removed\n"
    assert tags(root) == ["new", "old", "v1"]


def test_the_history_names_the_command(root: str) -> None:
    run(root, "apply")
    with closing(open_store(root, durable=False)) as store:
        last, *_ = asyncio.run(store.names.listings.moves("ci/app", "old", limit=9))
    assert last.who == by("retention apply")


def test_apply_for_programs(root: str) -> None:
    removed = [{"repository": "ci/app", "tag": "old", "digest": str(Digest.of(b"old"))}]
    assert json.loads(run(root, "apply", "--json").stdout) == {"removed": removed, "stayed": []}
    assert json.loads(run(root, "apply", "--json").stdout) == {"removed": [], "stayed": []}


def test_rules_come_from_the_file_of_the_server(root: str, tmp_path: Path) -> None:
    config = tmp_path / "registry.toml"
    config.write_text('[[retention]]\nrepositories = ["ci/*"]\nkeep_tags = ["new"]\n')
    assert run(root, "apply", "--config", str(config), rules="").exit_code == 0
    assert tags(root) == ["new"]


@pytest.mark.parametrize(
    ("arguments", "rules", "code", "says"),
    [
        (["plan", "absent"], RULES, 1, "repository absent is not here"),
        (["plan", "UPPER"], RULES, 2, "'UPPER' is not a repository name"),
        (["plan"], '[{repositories = ["ci/*"], keep = 1}]', 2, "entry 1: keep = 1 (flag --retention)"),
        (["apply"], "keep_last = 1", 2, "retention = 'keep_last = 1'"),
        (["apply", "ci/app"], RULES, 2, "unexpected extra argument"),
    ],
)
def test_mistakes(root: str, arguments: Sequence[str], rules: str, code: int, says: str) -> None:
    result = run(root, *arguments, rules=rules)
    assert result.exit_code == code
    assert says in result.stderr
    assert result.stdout == ""
    assert tags(root) == ["new", "old", "v1"]


@pytest.mark.parametrize("command", ["plan", "apply"])
def test_help_has_examples(command: str) -> None:
    result = CliRunner().invoke(cli, ["retention", command, "--help"], prog_name="registry")
    assert f"  Examples:\n    registry retention {command} " in result.stdout
