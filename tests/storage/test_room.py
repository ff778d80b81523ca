"""Room on the disk: what uploads leave free, and ballast that comes and goes."""

import errno
import os
from types import SimpleNamespace

import pytest

from storage.files import Files
from storage.room import Ballast, Room
from tests.storage.probes import NO_ROOM, Recorder, failure

MIB, GIB = 2**20, 2**30


@pytest.fixture
def probe() -> Recorder:
    return Recorder()


@pytest.fixture
def ballast(folder: str, probe: Recorder) -> Ballast:
    return Ballast(f"{folder}/ballast", Files(f"{folder}/degraded", probe=probe))


def set_room(monkeypatch: pytest.MonkeyPatch, free: int, total: int) -> None:
    monkeypatch.setattr(
        os, "statvfs", lambda path: SimpleNamespace(f_bavail=free, f_blocks=total, f_frsize=1)
    )


@pytest.mark.parametrize(
    ("total", "floor", "ballast"),
    [
        (1000 * GIB, GIB, 32 * MIB),
        (20 * GIB, GIB, 32 * MIB),
        (10 * GIB, GIB / 2, 32 * MIB),
        (1280 * MIB, 64 * MIB, 32 * MIB),
        (400 * MIB, 20 * MIB, 10 * MIB),
        (0, 0, 0),
    ],
)
def test_the_floor_and_the_ballast(total: int, floor: float, ballast: int) -> None:
    room = Room(0, total)
    assert (room.floor, room.ballast) == (floor, ballast)
    assert room.ballast <= room.floor / 2  # given up, it lets no upload in


def test_it_takes_up_room_and_gives_it_back(folder: str, ballast: Ballast) -> None:
    path = f"{folder}/ballast"
    assert ballast.lay()
    found = os.lstat(path)
    assert found.st_size == 32 * MIB
    assert found.st_blocks * 512 >= 32 * MIB  # allocated, not a hole
    assert ballast.give_up()
    assert not os.path.exists(path)
    assert not ballast.give_up()


def test_what_is_there_is_not_laid_again(ballast: Ballast, probe: Recorder) -> None:
    assert [ballast.lay() for _ in range(3)] == [True] * 3
    assert probe.names == ["allocate"]


def test_a_short_one_is_completed(folder: str, ballast: Ballast) -> None:
    """As a crash in the middle may leave it."""
    with open(f"{folder}/ballast", "wb") as file:
        file.write(b"x" * 1000)
    assert ballast.lay()
    assert os.path.getsize(f"{folder}/ballast") == 32 * MIB


@pytest.mark.parametrize(("free", "laid"), [(GIB + 32 * MIB, True), (GIB + 32 * MIB - 1, False), (0, False)])
def test_it_is_laid_only_above_the_floor(
    folder: str, ballast: Ballast, monkeypatch: pytest.MonkeyPatch, free: int, laid: bool
) -> None:
    set_room(monkeypatch, free, 100 * GIB)
    assert ballast.lay() is laid
    assert os.path.exists(f"{folder}/ballast") is laid


@pytest.mark.parametrize("code", [*NO_ROOM, errno.ENOTSUP, errno.EIO])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_one_that_cannot_be_laid_leaves_nothing(
    folder: str, ballast: Ballast, probe: Recorder, moment: str, code: int
) -> None:
    probe.failing[moment, "allocate"] = failure(code)
    assert not ballast.lay()
    assert not os.path.exists(f"{folder}/ballast")
    probe.failing.clear()
    assert ballast.lay()


def test_one_that_cannot_be_given_up_makes_no_room(ballast: Ballast, probe: Recorder) -> None:
    assert ballast.lay()
    probe.failing["before", "unlink"] = failure(errno.EROFS)
    assert not ballast.give_up()


def test_a_system_that_cannot_allocate_does_without(
    folder: str, ballast: Ballast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "posix_fallocate")
    assert not ballast.lay()
    assert not os.path.exists(f"{folder}/ballast")
