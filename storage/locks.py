"""Locks between processes, for what is done to a whole root: by flock, which no crash leaves behind."""

import fcntl
import math
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from storage.errors import StoreBusy
from storage.files import make_lock
from storage.layout import Layout

PATIENCE = 600.0  # seconds that a collection may take to end
COLLECTING = "a collection or an eviction is going on there, or a backup: try again when it has ended"
_PAUSE = 0.1  # seconds between two tries


@contextmanager
def held(path: str, why: str, *, shared: bool = False, wait: float = 0.0) -> Iterator[int]:
    """Hold the lock file at `path`; yields its descriptor.

    Raises StoreBusy after `wait` seconds; `why` says who may have it, and what to do.
    """
    lock = _open(path)
    try:
        _lock(lock, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, time.monotonic() + wait, f"{path}: {why}")
        yield lock
    finally:
        os.close(lock)


@contextmanager
def still(layout: Layout, why: str, *, shared: bool = False, wait: float = 0.0) -> Iterator[None]:
    """Nothing of the root is collected or evicted. Raises StoreBusy, as `held`."""
    begun = time.monotonic()
    with held(layout.gc_lock, why, shared=shared, wait=wait):
        left = max(0.0, begun + wait - time.monotonic())
        with held(layout.evict_lock, why, shared=shared, wait=left):
            yield


def rested(path: str) -> float:
    """Seconds since what the lock file at `path` is for was last done; without end if it never was."""
    try:
        seconds = time.time() - os.stat(path).st_mtime
    except FileNotFoundError:
        return math.inf
    return seconds if seconds >= 0 else math.inf  # the clock was set back


def _open(path: str) -> int:
    # Not to write: on a medium that can't be written, a file that is there is enough.
    while True:
        with suppress(FileNotFoundError):
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        with suppress(FileExistsError):
            return make_lock(path)


def _lock(lock: int, kind: int, deadline: float, message: str) -> None:
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(lock, kind | fcntl.LOCK_NB)
            return
        if time.monotonic() >= deadline:
            raise StoreBusy(message)
        time.sleep(_PAUSE)


@contextmanager
def unserved(layout: Layout, why: str, *, wait: float = 0.0) -> Iterator[None]:
    """No server has the root open, none that starts gets any further, and nobody writes to the index.

    Commands hold no lock while they have it open: these are told by a lease, where there are leases. Raises
    StoreBusy; what writes to the index is waited for.
    """
    with held(layout.serving_lock, why), held(layout.write_lock, why, wait=wait) as lock:
        if opened_elsewhere(lock):
            raise StoreBusy(f"{layout.root}: {why}")
        yield


def opened_elsewhere(descriptor: int) -> bool:
    """Whether anyone has that file open by another descriptor; False if it can't be told.

    A write lease is granted only on a file that nobody else has open. Every open store has `write.lock` open.
    """
    if not hasattr(fcntl, "F_SETLEASE"):
        return False
    # Who opens the file in between makes the kernel send a signal, which by default would end this process.
    fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except BlockingIOError:
        return True
    except OSError:  # no leases on this file system, or another user's file
        return False
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False
