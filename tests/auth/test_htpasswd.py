"""The users' file: read, written, and what of it is passed over."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.auth.htpasswd import (
    Htpasswd,
    User,
    UserExists,
    UserMissing,
    add,
    check_name,
    parse,
    remove,
    set_hash,
    with_user,
    without_user,
)
from storage.files import Files
from storage.layout import Layout
from storage.secrets import Secrets

REST = "$08$" + "abcdefghijklmnopqrstuv" + "./" * 15 + "x"
HASH = f"$2b{REST}".encode()
OTHER = f"$2y{REST}".encode()


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(str(tmp_path / "root"))


@pytest.fixture
def secrets(layout: Layout) -> Secrets:
    return Secrets(Files(layout.degraded, durable=False), layout)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (b"", []),
        (b"alice:" + HASH, ["alice"]),
        (b"alice:" + HASH + b"\r\n\r\nbob:" + OTHER + b"\n", ["alice", "bob"]),
        (b"# people\n  alice:" + HASH + b"  \n#bob:" + HASH, ["alice"]),
        (b"alice:" + HASH + b":more:fields", ["alice"]),
        ("zoë:".encode() + f"$2a{REST}".encode(), ["zoë"]),
        (b"two words:" + HASH, ["two words"]),
    ],
)
def test_read(text: bytes, names: list[str]) -> None:
    users, problems = parse(text)
    assert (sorted(users), problems) == (names, ())
    assert all(user.cost == 8 for user in users.values())


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"alice", "expected NAME:HASH"),
        (b"alice:", "none of bcrypt"),
        (b"alice:secret", "`registry user passwd NAME` or `htpasswd -B`"),
        (b"alice:$apr1$VqjkkE5e$abcdefghijklmnopqrstuv", "none of bcrypt"),
        (b"alice:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "none of bcrypt"),
        (b"alice:" + HASH[:-1], "none of bcrypt"),
        (b"alice:" + HASH.replace(b"$08$", b"$03$"), "none of bcrypt"),
        (b"alice:" + HASH.replace(b"$08$", b"$32$"), "none of bcrypt"),
        (b"alice:" + HASH.replace(b"$2b$", b"$2x$"), "none of bcrypt"),
        (b":" + HASH, "the name is none that can log in"),
        (b"\xff:" + HASH, "the name is none that can log in"),
        (b"a\x1b[31m:" + HASH, "the name is none that can log in"),
        (b"x" * 256 + b":" + HASH, "the name is none that can log in"),
    ],
)
def test_lines_that_are_none_keep_nobody_else_out(line: bytes, says: str) -> None:
    users, problems = parse(b"one:" + HASH + b"\n" + line + b"\ntwo:" + HASH)
    assert sorted(users) == ["one", "two"]
    (problem,) = problems
    assert problem.startswith("line 2: ")
    assert says in problem
    assert "alice" not in problem
    assert "secret" not in problem


def test_of_two_lines_with_one_name_the_last_counts() -> None:
    users, problems = parse(b"alice:" + HASH + b"\nalice:" + OTHER)
    assert users["alice"].hash == OTHER
    assert problems == ("line 2: an earlier line has the same name; this one counts",)


@pytest.mark.parametrize("name", ["alice", "a.b-c_d@e", "two words", "zoë", "x" * 255, "token", "a#"])
def test_names(name: str) -> None:
    assert check_name(name) == name
    assert list(parse(with_user(b"", User(name, HASH)))[0]) == [name]


@pytest.mark.parametrize(
    "name",
    ["", "a:b", "token:ci", " a", "a ", "#a", "a\nb", "a\x7f", "\u202ea", "a\u00a0", "x" * 256, "ë" * 128],
)
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(ValueError, match="user name"):
        check_name(name)


FILE = b"# people\nalice:%b\n\nbroken\nbob:plain\n" % HASH


def test_comments_and_order_stay() -> None:
    both = with_user(with_user(FILE, User("carol", OTHER)), User("alice", OTHER))
    assert both == b"# people\nalice:%b\n\nbroken\nbob:plain\ncarol:%b\n" % (OTHER, OTHER)
    assert without_user(both, "alice") == b"# people\n\nbroken\nbob:plain\ncarol:%b\n" % OTHER
    assert with_user(FILE, User("bob", HASH)) == FILE.replace(b"plain", HASH)
    assert with_user(b"no end", User("bob", HASH)) == b"no end\nbob:%b\n" % HASH
    twice = b"a:1\nb:2\na:3\n"
    assert with_user(twice, User("a", HASH)) == b"a:%b\nb:2\n" % HASH
    assert without_user(twice, "a") == b"b:2\n"


NAMES = st.text(min_size=1, max_size=20).filter(lambda name: _is_name(name))


def _is_name(name: str) -> bool:
    try:
        return check_name(name) == name
    except ValueError:
        return False


@given(st.binary(max_size=200), NAMES)
def test_any_file_takes_a_user_and_gives_it_back(data: bytes, name: str) -> None:
    more = with_user(data, User(name, HASH))
    before, after = parse(data)[0], parse(more)[0]
    assert after == {**before, name: User(name, HASH)}
    assert parse(without_user(more, name))[0] == {key: user for key, user in before.items() if key != name}


def test_beside_a_server(layout: Layout, secrets: Secrets, caplog: pytest.LogCaptureFixture) -> None:
    users = Htpasswd(layout.htpasswd)
    assert (os.path.exists(users.path), users.users) == (False, {})
    add(layout.htpasswd, secrets, User("alice", HASH))
    add(layout.htpasswd, secrets, User("bob", HASH))
    assert (os.path.exists(users.path), sorted(users.users), users.users["alice"].hash) == (
        True,
        ["alice", "bob"],
        HASH,
    )
    first = users.users["alice"].fingerprint
    assert first
    assert len(first) == 16
    assert first not in HASH.decode()
    assert users.users["bob"].fingerprint != first
    set_hash(layout.htpasswd, secrets, User("alice", OTHER))
    assert (users.users["alice"].hash, users.users["bob"].hash) == (OTHER, HASH)
    assert users.users["alice"].fingerprint != first
    for name in ("alice", "bob"):
        remove(layout.htpasswd, secrets, name)
    assert (os.path.exists(users.path), sorted(users.users), os.path.getsize(layout.htpasswd)) == (
        True,
        [],
        0,
    )
    assert not caplog.records


def test_who_is_there_and_who_is_not(layout: Layout, secrets: Secrets) -> None:
    with pytest.raises(UserMissing, match="has no user alice"):
        set_hash(layout.htpasswd, secrets, User("alice", HASH))
    assert not os.path.exists(layout.htpasswd)
    add(layout.htpasswd, secrets, User("alice", HASH))
    with pytest.raises(UserExists, match="`registry user passwd alice` sets another"):
        add(layout.htpasswd, secrets, User("alice", OTHER))
    with pytest.raises(UserMissing, match="has no user bob"):
        remove(layout.htpasswd, secrets, "bob")
    assert Htpasswd(layout.htpasswd).users["alice"].hash == HASH


def test_all_who_are_added_at_once_are_there(layout: Layout, secrets: Secrets) -> None:
    names = [f"user{number:02}" for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: add(layout.htpasswd, secrets, User(name, HASH)), names))
    assert sorted(Htpasswd(layout.htpasswd).users) == names


def test_problems_are_said_once_and_again_when_they_change(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "htpasswd"
    users = Htpasswd(str(path))
    for text in ("alice:secret\n", "alice:secret\n\n", "\nalice:secret\n"):
        path.write_text(text)
        path.chmod(0o600)
        assert sorted(users.users) == []
    assert [record.message[: len(f"{path}, line 1")] for record in caplog.records] == [
        f"{path}, line 1",
        f"{path}, line 2",
    ]
    assert "secret" not in caplog.text
