"""A bookmark keeps the last text, whole, for one holder at a time."""

import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from storage.bookmark import bookmark
from storage.files import Files, Probe
from tests.storage.probes import FailAt, Recorder, failure


def files(folder: str, probe: Probe | None = None) -> Files:
    return Files(os.path.join(folder, "degraded"), probe=probe)


@pytest.fixture
def path(folder: str) -> str:
    return os.path.join(folder, "place")


def kept(folder: str) -> str | None:
    with bookmark(files(folder), os.path.join(folder, "place")) as mark:
        return mark.text if mark else None


def test_the_last_text_is_there_for_the_next(folder: str, path: str) -> None:
    assert kept(folder) == ""
    with bookmark(files(folder), path) as mark:
        assert mark
        for text in ("a", "much longer than what follows", "é"):
            mark.keep(text)
            assert mark.text == text
    assert kept(folder) == "é"
    assert os.listdir(folder) == ["place"]


def test_the_end_removes_it(folder: str, path: str) -> None:
    with bookmark(files(folder), path) as mark:
        assert mark
        mark.keep("a")
        mark.remove()
    assert os.listdir(folder) == []
    assert kept(folder) == ""


def test_only_one_has_it_also_after_it_was_replaced(folder: str, path: str) -> None:
    with bookmark(files(folder), path) as mark:
        assert mark
        assert kept(folder) is None
        for text in ("a", "b"):
            mark.keep(text)
            assert kept(folder) is None
    assert kept(folder) == "b"


def remove(path: str) -> None:
    os.unlink(path)


def replace(path: str) -> None:
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        file.write("newer")
    os.rename(f"{path}.new", path)


@pytest.mark.parametrize(("overtake", "text"), [(remove, ""), (replace, "newer")])
def test_a_file_that_lost_its_name_before_it_was_locked_is_not_the_place(
    folder: str, path: str, monkeypatch: pytest.MonkeyPatch, overtake: Callable[[str], None], text: str
) -> None:
    """Its holder has replaced it, or removed it, and let go, between the open and the lock."""
    flock, overtakes = fcntl.flock, [overtake]

    def overtaken(descriptor: int, how: int) -> None:
        if overtakes:
            overtakes.pop()(path)
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", overtaken)
    with bookmark(files(folder), path) as mark:
        assert mark
        assert mark.text == text
        assert kept(folder) is None


@pytest.mark.parametrize("number", range(4))
def test_a_disk_that_takes_no_write_costs_the_new_text_alone(folder: str, path: str, number: int) -> None:
    with bookmark(files(folder), path) as mark:
        assert mark
        mark.keep("old")
    recorder = Recorder()
    with bookmark(files(folder, recorder), path) as mark:
        assert mark
        mark.keep("old")
    assert recorder.begun == ["create", "unlink", "create", "write", "rename"]
    descriptors = len(os.listdir("/dev/fd"))
    with bookmark(files(folder, FailAt(number + 1, failure(errno.ENOSPC))), path) as mark:
        assert mark
        mark.keep("new")
        assert mark.text == "old"
    assert len(os.listdir("/dev/fd")) == descriptors
    assert kept(folder) == "old"
    with bookmark(files(folder), path) as mark:
        assert mark
        mark.keep("newer")
    assert kept(folder) == "newer"


def test_a_disk_that_takes_no_file_keeps_no_place(folder: str, path: str) -> None:
    with bookmark(files(folder, FailAt(0, failure(errno.ENOSPC))), path) as mark:
        assert mark is None


def test_a_place_that_cannot_be_removed_is_borne(folder: str, path: str) -> None:
    with bookmark(files(folder, Recorder({("before", "unlink"): failure(errno.EIO)})), path) as mark:
        assert mark
        mark.remove()
    assert os.listdir(folder) == ["place"]


def test_a_link_is_not_followed(folder: str, path: str, tmp_path: Path) -> None:
    os.symlink(tmp_path / "elsewhere", path)
    with bookmark(files(folder), path) as mark:
        assert mark is None
    assert os.listdir(tmp_path) == []
