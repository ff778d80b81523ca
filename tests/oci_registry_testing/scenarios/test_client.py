"""Clients' descriptions, and the commands that come of them."""

import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from oci_registry_testing.scenarios.client import VERBS, ClientInvalid, load, make, names, parse, run


@pytest.mark.parametrize("name", names())
def test_those_that_come_along_can_be_read(name: str) -> None:
    client = load(name)
    assert client.name == name
    assert {"login", "push", "pull"} <= set(client.commands) <= set(VERBS)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("push = ", "is not TOML"),
        ("push = " + "[" * 10_000, "is not TOML"),
        ("push = 'x'\nenvironment = 'A'", "environment = 'A': expected a table"),
        ("shove = 'x'", "'shove': expected login, push"),
        ("", "can do nothing"),
        ("push = 1", "push = 1: expected a command"),
        ("push = ['x', 2]", "push = 2: expected a command"),
        ("push = []", "no command for push"),
        ("push = ' '", "expected a command"),
        ("push = 'x {imagee}'", r"push has \{imagee\}: expected \{host\}"),
        ("push = 'x {image'", "cannot be read"),
        ("push = '''x \"y'''", "cannot be read: No closing quotation"),
        ("push = 'x'\n[environment]\nA = '{nowhere}'", r"A has \{nowhere\}"),
    ],
)
def test_what_cannot_be_read_is_said(text: str, said: str) -> None:
    with pytest.raises(ClientInvalid, match=said):
        parse("mine", text)


def test_a_client_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ClientInvalid, match="known are crane"):
        load("crana")
    with pytest.raises(ClientInvalid, match="no client"):
        load(str(tmp_path / "mine.toml"))
    (tmp_path / "mine.toml").write_bytes(b"\xff")
    with pytest.raises(ClientInvalid, match="cannot be read"):
        load(str(tmp_path / "mine.toml"))


def python(code: str) -> str:
    return f"{{python}} -c '{code}'"


PLACES: Mapping[str, str] = {"python": sys.executable, "image": "host/a b:v1", "work": "/there"}


def test_a_command_gets_what_stands_in_braces_as_one_argument(tmp_path: Path) -> None:
    client = make("mine", {"pull": python("import sys; print(sys.argv[1:])") + " {image} x"})
    done = run(client, "pull", PLACES, tmp_path, 10)
    assert (done.status, done.answer) == (0, "['host/a b:v1', 'x']\n")


def test_a_command_runs_where_it_is_told_with_its_variables(tmp_path: Path) -> None:
    code = 'import os, sys; print(os.getcwd(), os.environ["A"]); print("told", file=sys.stderr)'
    client = make("mine", {"pull": python(code)}, {"A": "{work}/a"})
    done = run(client, "pull", PLACES, tmp_path, 10)
    assert done.answer == f"{tmp_path} /there/a\n"
    assert done.printed == f"{tmp_path} /there/a\ntold\n"


def test_the_first_command_that_fails_is_the_last(tmp_path: Path) -> None:
    commands = [python("print(1)"), python("print(2); raise SystemExit(7)"), python("print(3)")]
    done = run(make("mine", {"push": commands}), "push", PLACES, tmp_path, 10)
    assert (done.status, done.printed) == (7, "1\n2\n")


def test_a_command_that_hangs_is_ended_with_all_that_it_began(tmp_path: Path) -> None:
    code = 'import subprocess; subprocess.run(["sleep", "60"])'
    begun = time.monotonic()
    done = run(make("mine", {"push": python(code)}), "push", PLACES, tmp_path, 0.3)
    assert done.status is None
    assert time.monotonic() - begun < 10


def test_what_a_client_leaves_behind_is_not_waited_for(tmp_path: Path) -> None:
    """It has a session of its own, and holds the client's output open."""
    code = 'import subprocess; print(subprocess.Popen(["sleep", "60"], start_new_session=True).pid)'
    begun = time.monotonic()
    done = run(make("mine", {"push": python(code)}), "push", PLACES, tmp_path, 30)
    assert (done.status, time.monotonic() - begun < 20) == (0, True)
    os.kill(int(done.answer), signal.SIGKILL)


def test_a_command_is_ended_when_all_is_to_stop(tmp_path: Path) -> None:
    begun = time.monotonic()
    client = make("mine", {"push": ["sleep 60", "no-such-program"]})
    done = run(client, "push", PLACES, tmp_path, 60, lambda: time.monotonic() > begun + 0.5)
    assert done.status is None
    assert time.monotonic() - begun < 20


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no-such-program"):
        run(make("mine", {"push": "no-such-program"}), "push", PLACES, tmp_path, 1)
