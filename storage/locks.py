"""Locks between processes: `flock` on a file, which ends with its process, however that ends."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from storage.errors import StoreBusy

_POLL = 0.05  # seconds


@contextmanager
def held(path: str, why: str, *, shared: bool = False, wait: float = 0.0) -> Iterator[None]:
    """Hold the lock. Raises StoreBusy with `why` if another has it for `wait` seconds and longer."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        _lock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, why, time.monotonic() + wait)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, kind: int, why: str, until: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                raise StoreBusy(why) from None
            time.sleep(_POLL)
        else:
            return
