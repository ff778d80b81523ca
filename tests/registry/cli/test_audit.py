"""What commands change beside a server is in its audit trail."""

import asyncio
import json
import os
import pwd
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from registry.__main__ import cli
from registry.auth import passwords
from storage.digest import Digest
from storage.store import open_store
from tests.builders import index
from tests.storage.pushing import push_manifest

RAWS = [index(annotations={"n": str(number)}) for number in range(2)]
ONE, TWO = map(Digest.of, RAWS)
RULES = '[{repositories = ["*"], keep_tags = ["none"]}]'


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "COST", 4)


@pytest.fixture
def root(tmp_path: Path) -> str:
    """latest moved from ONE to TWO."""
    folder = str(tmp_path / "root")
    with closing(open_store(folder, durable=False)) as store:
        for raw in RAWS:
            asyncio.run(push_manifest(store, "team/app", raw, tags=["latest"]))
    return folder


def run(root: str, path: str, *arguments: str) -> Result:
    result = CliRunner().invoke(
        cli, [*arguments, "--root", root], prog_name="registry", env={"REGISTRY_AUDIT_LOG": path}
    )
    assert result.exit_code == 0, result.output
    return result


def lines(text: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in text.splitlines()]
    who = f"cli:{pwd.getpwuid(os.getuid()).pw_name}"
    assert {(line.pop("who"), line.pop("outcome")) for line in found} == {(who, "done")}
    assert all(line.pop("time") for line in found)
    return found


APP = {"repository": "team/app"}
LATEST = {"audit": "tag", **APP, "reference": "latest"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["rm", "team/app:latest"], [{**LATEST, "old": str(TWO)}]),
        (
            ["rm", f"team/app@{TWO}"],
            [
                {**LATEST, "old": str(TWO)},
                {"audit": "delete", **APP, "what": "manifest", "digest": str(TWO)},
            ],
        ),
        (["rm", "--yes", "team/app"], [{"audit": "delete", **APP, "what": "repository"}]),
        (["tag", "restore", "team/app:latest"], [{**LATEST, "digest": str(ONE), "old": str(TWO)}]),
        (["retention", "apply", "--retention", RULES], [{**LATEST, "old": str(TWO)}]),
        (
            ["user", "add", "alice", "--generate"],
            [{"audit": "account", "what": "user", "reference": "alice"}],
        ),
        (
            ["token", "create", "ci", "--scope", "repository:ci/*:pull"],
            [{"audit": "account", "what": "token", "reference": "ci"}],
        ),
    ],
)
def test_a_command_says_who_did_what(
    root: str, tmp_path: Path, arguments: list[str], told: list[dict[str, str]]
) -> None:
    path = tmp_path / "audit.log"
    result = run(root, str(path), *arguments)
    rule = " ".join(["registry", *arguments[: 1 if arguments[0] == "rm" else 2]])
    assert lines(path.read_text()) == [{**each, "rule": rule} for each in told]
    if arguments[0] in ("user", "token"):
        assert result.stdout.strip() not in path.read_text()


def test_accounts_that_change_and_go(root: str, tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    run(root, "", "user", "add", "alice", "--generate")
    run(root, "", "token", "create", "ci", "--scope", "repository:ci/*:pull")
    assert not path.exists()
    for arguments in ("user passwd alice --generate", "user rm alice", "token revoke ci"):
        run(root, str(path), *arguments.split())
    assert [(line["reference"], line["rule"]) for line in lines(path.read_text())] == [
        ("alice", "registry user passwd"),
        ("alice", "registry user rm"),
        ("ci", "registry token revoke"),
    ]


def test_to_standard_error(root: str) -> None:
    result = run(root, "-", "rm", "team/app:latest")
    assert [line["audit"] for line in lines(result.stderr)] == ["tag"]
    assert result.stdout.startswith("removed the tag")


def test_a_command_that_cannot_write_it_has_done_its_work(
    root: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert run(root, "/nowhere/audit.log", "rm", "team/app:latest").stdout.startswith("removed the tag")
    assert "/nowhere/audit.log cannot be written" in caplog.text
