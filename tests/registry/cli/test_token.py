"""`registry token`: what it says and writes, and with which exit code it ends."""

import json
import os
import re
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from registry.__main__ import cli
from registry.auth.robots import Robots
from storage.layout import Layout

SCOPE = "repository:ci/*:pull,push"


@pytest.fixture
def root(tmp_path: Path) -> str:
    return str(tmp_path / "root")


def run(root: str, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["token", *arguments, "--root", root], prog_name="registry")


def test_from_its_making_to_its_end(root: str) -> None:
    result = run(root, "create", "ci", "--scope", SCOPE, "--scope", "registry:catalog:*")
    assert result.exit_code == 0, result.stderr
    secret = result.stdout.removesuffix("\n")
    assert re.fullmatch(r"ocir_[0-9a-f]{8}_[0-9a-f]{72}", secret)
    assert secret not in result.stderr
    assert re.match(
        r"registry: ci expires 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ\. Its secret is shown", result.stderr
    )
    robots = Robots(Layout(root).robots)
    robot = robots.find(secret, time.time())
    assert robot
    assert robot.expires == robot.created + 90 * 86_400
    lines = run(root, "list").stdout.splitlines()
    assert lines[0].split() == ["NAME", "SCOPES", "CREATED", "EXPIRES"]
    assert lines[1].split()[:3] == ["ci", SCOPE, "registry:catalog:*"]
    (entry,) = json.loads(run(root, "list", "--json").stdout)
    assert set(entry) == {"name", "scopes", "created", "expires", "expired"}
    assert (entry["scopes"], entry["expired"]) == ([SCOPE, "registry:catalog:*"], False)
    result = run(root, "revoke", "ci")
    assert (result.exit_code, result.stdout) == (0, "revoked ci: its secret is refused from now on\n")
    assert robots.find(secret, time.time()) is None


def test_without_an_end_and_for_programs(root: str) -> None:
    result = run(root, "create", "ci", "--scope", SCOPE, "--expires", "never", "--json")
    made = json.loads(result.stdout)
    assert (made["name"], made["scopes"], made["expires"], made["expired"]) == ("ci", [SCOPE], None, False)
    assert Robots(Layout(root).robots).find(made["secret"], time.time() * 2)
    assert "ci does not expire." in result.stderr
    assert run(root, "list").stdout.splitlines()[1].endswith("  never")


def test_expired_ones_are_shown_as_such(root: str) -> None:
    run(root, "create", "ci", "--scope", SCOPE, "--expires", "1s")
    path = Path(Layout(root).robots)
    path.write_text(re.sub(r'"expires": \d+', '"expires": 1000000000', path.read_text()))
    assert run(root, "list").stdout.splitlines()[1].endswith("  2001-09-09T01:46:40Z (expired)")
    assert json.loads(run(root, "list", "--json").stdout)[0]["expired"]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["create", "ci", "--scope", SCOPE], 2, "there is a token ci: take another name"),
        (["create", "new"], 2, "Missing option '--scope'"),
        (["create", "a b", "--scope", SCOPE], 2, "'a b' is no name of a token"),
        (["create", "new", "--scope", "ci/*"], 2, "such as repository:ci/*:pull,push"),
        (["create", "new", "--scope", SCOPE, "--expires", "soon"], 2, "'soon': expected a duration such as"),
        (["create", "new", "--scope", SCOPE, "--expires", "0"], 2, "'0': expected a duration such as"),
        (["revoke", "new"], 1, "there is no token new: `registry token list`"),
        ([], 2, "[OPTIONS] COMMAND"),
    ],
)
def test_what_cannot_be(root: str, arguments: list[str], code: int, says: str) -> None:
    run(root, "create", "ci", "--scope", SCOPE)
    before = Path(Layout(root).robots).read_bytes()
    result = CliRunner().invoke(cli, ["token", *arguments, *(["--root", root] if arguments else [])])
    assert (result.exit_code, result.stdout) == (code, "")
    assert says in result.stderr
    assert Path(Layout(root).robots).read_bytes() == before


def test_anothers_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letters").touch()
    for arguments in (["create", "ci", "--scope", SCOPE], ["revoke", "ci"]):
        result = run(str(tmp_path), *arguments)
        assert result.exit_code == 2
        assert "is not empty (letters) and not a registry's" in result.stderr
    assert os.listdir(tmp_path) == ["letters"]


def test_none(root: str) -> None:
    result = run(root, "list")
    assert result.exit_code == 0
    assert "there are no tokens: registry token create NAME" in result.stderr
    assert json.loads(run(root, "list", "--json").stdout) == []
    assert not os.path.exists(root)


def test_a_file_that_is_none_is_not_written_over(root: str) -> None:
    run(root, "create", "ci", "--scope", SCOPE)
    path = Path(Layout(root).robots)
    path.write_text("{")
    for arguments in (["list"], ["create", "new", "--scope", SCOPE], ["revoke", "ci"]):
        result = run(root, *arguments)
        assert result.exit_code == 2
        assert "it is not what `registry token` writes" in result.stderr
    assert path.read_text() == "{"
