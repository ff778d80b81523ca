"""`registry profile list` and `show`: for people and for programs."""

import json
from pathlib import Path

from click.testing import CliRunner, Result

from registry.__main__ import cli
from registry.testing.profiles import names


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["profile", *arguments], prog_name="registry")


def test_all_are_listed() -> None:
    listed = run("list")
    assert listed.exit_code == 0
    assert [line.split()[0] for line in listed.output.splitlines()] == ["PROFILE", *names()]
    assert [each["name"] for each in json.loads(run("list", "--json").output)] == list(names())


def test_one_is_shown_with_its_sources() -> None:
    shown = run("show", "ecr")
    assert shown.exit_code == 0
    assert shown.output.startswith("Amazon ECR\n")
    shown_lines = [line.split() for line in shown.output.splitlines()]
    source = "https://github.com/google/go-containerregistry/issues/681"
    assert ["page_refused", "1000", source] in shown_lines
    found = json.loads(run("show", "ecr", "--json").output)
    assert found["switches"]["page_refused"] == 1000
    assert found["sources"]["challenge"].startswith("https://")


def test_what_it_sets_is_shown_as_the_file_has_it(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('[settings]\nrate = [{requests = "1/s"}]\n')
    assert json.loads(run("show", str(file), "--json").output)["settings"] == {"rate": [{"requests": "1/s"}]}


def test_a_profile_that_is_not_there() -> None:
    refused = run("show", "ghrc")
    assert refused.exit_code == 2
    assert "did you mean ghcr?" in refused.stderr
