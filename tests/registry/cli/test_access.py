"""`registry access explain`: the answer, what says so, and the exit code."""

import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from registry.__main__ import cli
from registry.auth.robots import create
from storage.files import Files
from storage.layout import Layout
from storage.secrets import Secrets

FILE = """
anonymous = "none"

[groups]
developers = ["alice"]

[[access]]
repositories = ["team/*"]
groups = ["developers", "github:repository=acme/*"]
actions = ["pull", "create"]

[[access]]
repositories = ["public/*"]
anonymous = true
actions = ["pull"]
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    file = tmp_path / "registry.toml"
    file.write_text(FILE)
    return str(file)


def run(root: Path, *arguments: str) -> Result:
    command = ["access", "explain", *arguments, "--root", str(root)]
    return CliRunner().invoke(cli, command, prog_name="registry")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("alice", "team/app", "pull"), 0, "alice may pull in team/app: entry 1 of access"),
        (("alice", "public/x", "pull"), 0, "alice may pull in public/x: entry 2 of access"),
        (("anonymous", "public/x", "pull"), 0, "anonymous may pull in public/x: entry 2 of access"),
        (("anonymous", "team/app", "pull"), 1, "anonymous may not pull in team/app: nothing allows it"),
        (("bob", "team/app", "pull"), 1, "bob may not pull in team/app: nothing allows it"),
        (("alice", "team/app", "delete"), 1, "alice may not delete in team/app: nothing allows it"),
        (
            ("alice", "team/app", "push"),
            1,
            "alice may not push in team/app: create tags: entry 1 of access; move tags: nothing allows it",
        ),
        (
            ("github:repo:acme/app", "team/app", "pull", "--group", "github:repository=acme/app"),
            0,
            "github:repo:acme/app may pull in team/app: entry 1 of access",
        ),
        (("token:ci", "ci/app", "push"), 0, "token:ci may push in ci/app: the scope of token:ci"),
        (("token:gone", "ci/app", "push"), 1, "token:gone may not push in ci/app: nothing allows it"),
    ],
)
def test_explain(tmp_path: Path, config: str, arguments: tuple[str, ...], code: int, said: str) -> None:
    layout = Layout(str(tmp_path / "root"))
    secrets = Secrets(Files(layout.degraded, durable=False), layout)
    create(layout.robots, secrets, "ci", ("repository:ci/*:push",), now=time.time(), expires=None)
    done = run(tmp_path / "root", *arguments, "--config", config)
    assert (done.exit_code, done.stdout) == (code, said + "\n")


def test_json(tmp_path: Path, config: str) -> None:
    done = run(tmp_path / "root", "alice", "team/app", "push", "--config", config, "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout) == {
        "user": "alice",
        "repository": "team/app",
        "action": "push",
        "allowed": False,
        "why": ["create tags: entry 1 of access", "move tags: nothing allows it"],
    }


@pytest.mark.parametrize(
    ("flags", "code", "why"),
    [
        ((), 0, "nobody has an account yet"),
        (("--host", "0.0.0.0"), 1, "nothing allows it"),
        (("--anonymous", "push"), 0, "anonymous = push: anyone may"),
    ],
)
def test_without_rules(tmp_path: Path, flags: tuple[str, ...], code: int, why: str) -> None:
    done = run(tmp_path / "root", "anonymous", "a", "delete", *flags)
    assert (done.exit_code, done.stdout.strip().partition(": ")[2]) == (code, why)


@pytest.mark.parametrize("arguments", [("alice", "NO", "pull"), ("alice", "a", "frobnicate"), ("alice", "a")])
def test_mistakes(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert run(tmp_path / "root", *arguments).exit_code == 2
