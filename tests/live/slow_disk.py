"""`registry serve` on a disk whose fsync of an upload of some size takes three seconds."""

import os
import time
from collections.abc import Callable

from registry.__main__ import main

SECONDS = 3.0
SIZE = 50_000  # bytes from which a file is slow: what a test needs beforehand is smaller


def slowed(fsync: Callable[[int], None]) -> Callable[[int], None]:
    def late(descriptor: int) -> None:
        if os.fstat(descriptor).st_size >= SIZE and "/uploads/" in os.readlink(f"/proc/self/fd/{descriptor}"):
            time.sleep(SECONDS)
        fsync(descriptor)

    return late


if __name__ == "__main__":
    os.fsync = slowed(os.fsync)  # type: ignore[assignment]
    main()
