"""What an upstream is shown, and when a file is another."""

import base64
import os
from pathlib import Path

import pytest

from registry.upstream.credentials import Credentials, is_token
from tests.upstream.clients import made

URL = "https://up.example"


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"alice:{password}".encode()).decode()


def put(path: Path, data: bytes, ago: int) -> None:
    path.write_bytes(data)
    path.chmod(0o600)
    then = path.stat().st_mtime_ns - ago * 10**9
    os.utime(path, ns=(then, then))


def test_without_any() -> None:
    credentials = Credentials(made(URL))
    assert (credentials.basic, credentials.bearer) == (None, None)


def test_a_password() -> None:
    upstream = made(URL, username="alice", password="päss word")
    assert Credentials(upstream).basic == basic("päss word")
    assert "päss" not in repr(upstream)


def test_a_password_file_follows(tmp_path: Path) -> None:
    path = tmp_path / "password"
    credentials = Credentials(made(URL, username="alice", password_file=str(path)))
    assert credentials.basic is None
    for ago, data, expected in ((9, b"one\n", "one"), (8, b" two\r\n", " two"), (7, b"three", "three")):
        put(path, data, ago)
        assert credentials.basic == basic(expected)
    put(path, b"\n", 6)
    assert credentials.basic is None


@pytest.mark.parametrize("data", [b"sec\xffret", b"sec\nret", b"s" * 20_000])
def test_a_file_that_is_none(tmp_path: Path, data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "password"
    put(path, b"good", 9)
    credentials = Credentials(made(URL, username="alice", password_file=str(path)))
    assert credentials.basic == basic("good")
    put(path, data, 8)
    assert credentials.basic == basic("good")
    (record,) = caplog.records
    why = record.getMessage().removeprefix(f"{path} cannot be read: ")
    assert why.startswith(("it is not UTF-8;", "it is not one line of printable characters;"))


def test_a_token_file(tmp_path: Path) -> None:
    path = tmp_path / "token"
    put(path, b"abc.def\n", 9)
    credentials = Credentials(made(URL, token_file=str(path)))
    assert (credentials.bearer, credentials.basic) == ("Bearer abc.def", None)
    put(path, b"abc def\n", 8)
    assert credentials.bearer == "Bearer abc.def"


@pytest.mark.parametrize(
    ("text", "good"), [("a.b-c_d~e+f/=", True), ("", False), ("a b", False), ("a\r\nb", False), ("ä", False)]
)
def test_tokens(text: str, good: bool) -> None:
    assert is_token(text) is good
