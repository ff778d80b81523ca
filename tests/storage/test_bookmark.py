"""A bookmark keeps the last text, whole, for one holder at a time."""

import errno
import os
import threading
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


def test_many_that_replace_it_never_hold_it_together(folder: str, path: str) -> None:
    """Who opened the file that another then replaced, or removed, must not take its lock for the place's."""
    holders, most, turns = 0, 0, 0
    lock = threading.Lock()

    def walk() -> None:
        nonlocal holders, most, turns
        for number in range(300):
            with bookmark(files(folder), path) as mark:
                if mark is None:
                    continue
                with lock:
                    holders += 1
                    most, turns = max(most, holders), turns + 1
                mark.keep(str(number))
                with lock:
                    holders -= 1
                if number % 3 == 0:
                    mark.remove()

    threads = [threading.Thread(target=walk) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert turns > 50


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
