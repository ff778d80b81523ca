"""Locks between processes: who waits, who is refused, and that a death leaves none."""

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from storage.errors import StoreBusy
from storage.locks import held

WHY = "another one is at it"
HOLD = """
import sys
from storage.locks import held
with held(sys.argv[1], "", shared=sys.argv[2] == "shared"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def path(folder: str) -> str:
    return os.path.join(folder, "a.lock")


@contextmanager
def another_process(path: str, how: str) -> Iterator[subprocess.Popen[bytes]]:
    """Holds the lock until the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, path, how], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"held\n"
        yield process
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


@pytest.mark.parametrize(
    ("theirs", "ours", "fits"),
    [
        ("shared", "shared", True),
        ("shared", "alone", False),
        ("alone", "shared", False),
        ("alone", "alone", False),
    ],
)
@pytest.mark.parametrize("wait", [0.0, 0.1])
def test_who_may_hold_it_beside_another(path: str, theirs: str, ours: str, fits: bool, wait: float) -> None:
    with another_process(path, theirs), ExitStack() as stack:
        begun = time.monotonic()
        if fits:
            stack.enter_context(held(path, WHY, shared=ours == "shared", wait=wait))
        else:
            with pytest.raises(StoreBusy, match=WHY):
                stack.enter_context(held(path, WHY, shared=ours == "shared", wait=wait))
            assert time.monotonic() - begun >= wait
    with held(path, WHY):  # whoever was refused has left nothing behind
        pass


def test_it_holds_within_a_process_too(path: str) -> None:
    with held(path, WHY):
        with pytest.raises(StoreBusy), held(path, WHY):
            raise AssertionError("two hold it")
        with pytest.raises(StoreBusy), held(path, WHY, shared=True):
            raise AssertionError("two hold it")
    with held(path, WHY, shared=True), held(path, WHY, shared=True):
        pass


def test_who_waits_gets_it(path: str) -> None:
    with ExitStack() as stack:
        stack.enter_context(held(path, WHY))
        timer = threading.Timer(0.1, stack.close)
        timer.start()
        with held(path, WHY, wait=10):
            assert timer.finished.is_set()
        timer.join()


def test_it_ends_with_its_process(path: str) -> None:
    with another_process(path, "alone") as process:
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        with held(path, WHY):
            pass


def test_it_ends_with_what_its_block_raises(path: str) -> None:
    with pytest.raises(ZeroDivisionError), held(path, WHY):
        raise ZeroDivisionError
    with held(path, WHY):
        pass


def test_the_file_is_for_its_owner_alone_and_stays(path: str) -> None:
    with held(path, WHY):
        found = os.stat(path)
    assert stat.S_IMODE(found.st_mode) == 0o600
    with held(path, WHY):
        assert os.stat(path).st_ino == found.st_ino  # a new file would be a lock of its own


def test_a_link_is_no_lock(path: str) -> None:
    os.symlink(f"{path}.elsewhere", path)
    with pytest.raises(OSError), held(path, WHY):
        raise AssertionError("it followed the link")
    assert not os.path.exists(f"{path}.elsewhere")
