"""A file that is read again when it has changed."""

import logging
import os
import time
from pathlib import Path

import pytest

from registry.auth import watched
from registry.auth.watched import Watched


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file"


def number(data: bytes) -> int:
    return int(data)


def watch(path: Path) -> Watched[int]:
    return Watched(str(path), number, -1)


def put(path: Path, text: str, *, ago: float = 60.0) -> None:
    """Written so long ago that no tick of the clock matters; 0600."""
    path.write_text(text)
    path.chmod(0o600)
    then = time.time_ns() - int(ago * 1e9)
    os.utime(path, ns=(then, then))


def test_it_follows_the_file(path: Path) -> None:
    file = watch(path)
    assert (file.look(), file.there) == (-1, False)
    for turn, text in enumerate(("1", "2", "33")):
        put(path, text, ago=60 - turn)
        assert (file.look(), file.there) == (int(text), True)
    path.unlink()
    assert (file.look(), file.there) == (-1, False)


def test_another_file_under_the_name(path: Path) -> None:
    file = watch(path)
    put(path, "1")
    times = path.stat()
    assert file.look() == 1
    put(other := path.with_name("other"), "2")
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    other.rename(path)
    assert file.look() == 2


def test_it_is_read_once(path: Path) -> None:
    read: list[bytes] = []

    def parse(data: bytes) -> int:
        read.append(data)
        return 0

    put(path, "1")
    file = Watched(str(path), parse, -1)
    for _ in range(3):
        file.look()
    assert read == [b"1"]


def test_a_change_within_one_tick_of_the_clock(path: Path) -> None:
    file = watch(path)
    put(path, "1", ago=0)
    times = path.stat()
    assert file.look() == 1
    path.write_text("2")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert file.look() == 2


def test_what_was_good_stays_with_one_warning(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = watch(path)
    put(path, "1")
    assert file.look() == 1
    put(path, "secret", ago=50)
    assert [file.look(), file.look()] == [1, 1]
    assert not file.sound
    (record,) = caplog.records
    assert record.message.startswith(f"{path} cannot be read: invalid literal")
    put(path, "2", ago=40)
    assert (file.look(), file.sound) == (2, True)
    put(path, "worse", ago=30)
    assert file.look() == 2
    assert len(caplog.records) == 2


@pytest.mark.parametrize("where", ["open", "stat"])
def test_what_cannot_be_read_is_tried_again(
    path: Path, where: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file = watch(path)
    put(path, "1")
    file.look()
    put(path, "2", ago=50)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(watched if where == "open" else os, where, refuse, raising=False)
        assert [file.look(), file.look()] == [1, 1]
        assert (file.there, file.sound) == (True, False)
    assert [record.message for record in caplog.records] == [
        f"{path} cannot be read: Permission denied; what it said before stays in force"
    ]
    assert (file.look(), file.sound) == (2, True)


def test_who_else_can_read_it(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = watch(path)
    put(path, "1")
    file.look()
    assert not caplog.records
    for turn in range(2):
        put(path, "2", ago=50 - turn)
        path.chmod(0o640)
        assert file.look() == 2
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.message == f"{path} can be read by others than its owner: chmod 600 it"
