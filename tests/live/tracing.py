"""Servers whose system calls strace holds up or interrupts."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.missing import absent

SECONDS = 10.0  # until strace has attached


def require_strace() -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("strace is Linux's")
    if not shutil.which("strace"):
        absent("strace")


def slow_syncs(seconds: float, log: Path) -> tuple[str, ...]:
    """What a server's command line begins with, so that each fsync and fdatasync begins so much later.

    The tracer is a grandchild (-D): the server is the test's own child, as without it.
    """
    require_strace()
    syncs = "fsync,fdatasync"
    delay = f"inject={syncs}:delay_enter={round(seconds * 1e6)}"
    return ("strace", "-D", "-f", "-o", str(log), "-e", f"trace={syncs}", "-e", delay)


@contextmanager
def interrupted(pid: int, calls: str, log: Path) -> Iterator[None]:
    """Meanwhile every third of these calls of each thread ends with EINTR instead of acting."""
    with traced(pid, calls, log, "-e", f"inject={calls}:error=EINTR:when=2+3"):
        yield


@contextmanager
def traced(pid: int, calls: str, log: Path, *more: str) -> Iterator[None]:
    """Meanwhile these calls of all threads are written to `log`."""
    require_strace()
    tracer = subprocess.Popen(
        ["strace", "-f", "-s", "4096", "-o", str(log), "-p", str(pid), "-e", f"trace={calls}", *more],
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + SECONDS
        while not attached(pid):
            assert tracer.poll() is None, "strace could not attach"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield
    finally:
        tracer.send_signal(signal.SIGINT)  # it detaches, and the server goes on
        tracer.wait(SECONDS)


def attached(pid: int) -> bool:
    try:
        status = [task.joinpath("status").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    except (FileNotFoundError, ProcessLookupError):  # a thread has just ended
        return False
    return not any("TracerPid:\t0" in text for text in status)
