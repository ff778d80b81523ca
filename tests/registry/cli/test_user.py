"""`registry user`: what it says and writes, and with which exit code it ends."""

import json
import os
import pty
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import bcrypt
import pytest
from click.testing import CliRunner, Result

from registry.__main__ import cli
from registry.auth import passwords
from registry.auth.htpasswd import Htpasswd, User
from registry.cli import accounts
from storage.layout import Layout
from storage.store import open_store
from tests.auth.test_htpasswd import HASH


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "COST", 4)


@pytest.fixture
def root(tmp_path: Path) -> str:
    return str(tmp_path / "root")


def run(root: str, *arguments: str, text: str | None = None) -> Result:
    return CliRunner().invoke(cli, ["user", *arguments, "--root", root], prog_name="registry", input=text)


def good(root: str, name: str, password: str) -> bool:
    user = Htpasswd(Layout(root).htpasswd).users.get(name)
    return user is not None and bcrypt.checkpw(password.encode(), user.hash)


def test_from_the_first_to_the_last(root: str) -> None:
    """Before there is a root at all."""
    path = Layout(root).htpasswd
    result = run(root, "add", "alice", "--password-stdin", text="secret\n")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(f"added alice to {path}: docker login 127.0.0.1:5000 -u alice\n")
    assert "From now on a server asks everyone to log in" in result.stdout
    assert good(root, "alice", "secret")
    assert os.stat(path).st_mode & 0o777 == 0o600
    with closing(open_store(root, durable=False)):
        result = run(root, "add", "bob", "--password-stdin", text="other\r\n")
        assert result.stdout == f"added bob to {path}: docker login 127.0.0.1:5000 -u bob\n"
        assert good(root, "bob", "other")
    result = run(root, "passwd", "alice", "--password-stdin", text="n€w")
    assert result.stdout.startswith("alice has a new password, and the old one is refused from now on")
    assert (good(root, "alice", "n€w"), good(root, "alice", "secret")) == (True, False)
    assert run(root, "list").stdout == "alice\nbob\n"
    assert json.loads(run(root, "list", "--json").stdout) == [
        {"name": "alice", "cost": 4},
        {"name": "bob", "cost": 4},
    ]
    result = run(root, "rm", "alice")
    assert result.stdout == f"removed alice from {path}: logins by that name are refused from now on\n"
    result = run(root, "rm", "bob")
    assert result.stdout.endswith(
        f"No user is left. The file stays, and so do the checks; to end them, delete {path} and restart\n"
    )
    assert os.path.getsize(path) == 0


def test_a_password_that_is_made_is_alone_on_standard_output(root: str) -> None:
    made = set()
    for arguments in (("add", "alice"), ("passwd", "alice")):
        result = run(root, *arguments, "--generate")
        assert result.exit_code == 0
        assert "docker login" in result.stderr
        password = result.stdout.removesuffix("\n")
        assert len(password) == 24
        assert good(root, "alice", password)
        assert password not in result.stderr
        made.add(password)
    assert len(made) == 2


def test_a_file_elsewhere(root: str, tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_bytes(b"# people\n")
    result = run(root, "add", "alice", "--generate", "--htpasswd", str(path))
    assert result.exit_code == 0
    assert path.read_bytes().startswith(b"# people\nalice:$2b$")
    assert run(root, "list", "--htpasswd", str(path)).stdout == "alice\n"
    assert not os.path.exists(root)


def test_the_address_is_the_servers(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_PORT", "5001")
    monkeypatch.setenv("REGISTRY_HOST", "::1")
    assert "docker login [::1]:5001 -u alice\n" in run(root, "add", "alice", "--generate").stderr


@pytest.mark.parametrize(
    ("arguments", "text", "code", "says"),
    [
        (["add", "alice", "--generate"], None, 2, "has a user alice: `registry user passwd alice`"),
        (["add", "a:b", "--generate"], None, 2, "'a:b' is no user name: expected printable"),
        (["add", "", "--generate"], None, 2, "a user name has 1 to 255 bytes"),
        (["add", "bob"], "secret\n", 2, "give --password-stdin, or --generate"),
        (["add", "bob", "--password-stdin"], "", 2, "a password has 1 to 72 bytes"),
        (["add", "bob", "--password-stdin"], "x" * 73, 2, "a password has 1 to 72 bytes"),
        (["add", "bob", "--password-stdin"], "a\nb\n", 2, "no control characters"),
        (["add", "bob", "--password-stdin", "--generate"], "a", 2, "not both"),
        (["add"], None, 2, "Missing argument 'NAME'"),
        (["passwd", "bob", "--generate"], None, 1, "has no user bob: `registry user list`"),
        (["rm", "bob"], None, 1, "has no user bob"),
        ([], None, 2, "[OPTIONS] COMMAND"),
    ],
)
def test_what_cannot_be(root: str, arguments: list[str], text: str | None, code: int, says: str) -> None:
    run(root, "add", "alice", "--password-stdin", text="secret")
    before = Path(Layout(root).htpasswd).read_bytes()
    result = CliRunner().invoke(cli, ["user", *arguments, *(["--root", root] if arguments else [])], text)
    assert (result.exit_code, result.stdout) == (code, "")
    assert says in result.stderr
    assert "secret" not in result.stderr
    assert Path(Layout(root).htpasswd).read_bytes() == before


def test_a_password_that_is_no_text(root: str) -> None:
    result = CliRunner().invoke(cli, ["user", "add", "bob", "--password-stdin", "--root", root], b"\xff")
    assert (result.exit_code, result.stderr) == (
        2,
        "registry: the password on standard input is not UTF-8\n",
    )


def test_anothers_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letters").touch()
    result = run(str(tmp_path), "add", "alice", "--generate")
    assert result.exit_code == 2
    assert "is not empty (letters) and not a registry's" in result.stderr
    assert os.listdir(tmp_path) == ["letters"]


def test_nobody(root: str) -> None:
    result = run(root, "list")
    assert (result.exit_code, result.stderr) == (0, "registry: there are no users: registry user add NAME\n")
    assert json.loads(run(root, "list", "--json").stdout) == []
    assert not os.path.exists(root)


def test_a_line_of_another_kind_is_named_and_mended(root: str) -> None:
    run(root, "add", "alice", "--generate")
    with open(Layout(root).htpasswd, "ab") as file:
        file.write(b"bob:plain\ncarol:" + HASH + b"\n")
    result = run(root, "list")
    assert result.stdout == "alice\ncarol\n"
    assert f"warning: {Layout(root).htpasswd}, line 2: its hash is none of bcrypt" in result.stderr
    assert "plain" not in result.stderr
    assert run(root, "passwd", "bob", "--password-stdin", text="secret").exit_code == 0
    assert good(root, "bob", "secret")


def test_it_asks_twice(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "on_terminal", lambda: True)
    result = run(root, "add", "alice", text="secret\nsecrets\nsecret\nsecret\n")
    assert result.exit_code == 0
    assert good(root, "alice", "secret")
    assert "secret\n" not in result.output


def test_on_a_terminal_nothing_is_shown(root: str) -> None:
    """A real one: what is typed does not come back."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "registry", "user", "add", "alice", "--root", root]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    seen = b""
    for prompt in (b"Password for alice: ", b"Repeat for confirmation: "):
        while prompt not in seen:
            seen += os.read(ours, 1000)
        os.write(ours, b"hidden\n")
    while b"docker login" not in seen:
        seen += os.read(ours, 1000)
    assert process.wait(30) == 0
    os.close(ours)
    assert b"hidden" not in seen
    assert good(root, "alice", "hidden")


def test_a_user_has_the_cost_of_new_hashes() -> None:
    assert User("alice", passwords.new_hash("secret")).cost == 4
