"""How often the index has changed, over all processes: who kept an answer can tell that it still holds."""

import mmap
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from storage.errors import StorageError, StoreFull
from storage.files import Files

_SIZE = 8  # bytes: one unsigned number, which the kernel copies whole


class Generation:
    """A number in the lock file. Odd while a change is committed, and ever after if its process died there.

    Made and written under the file's flock only; read through shared memory, so that a look costs no system
    call. `shared` is false where other machines may write too: memory tells nothing of them.
    """

    def __init__(self, descriptor: int, files: Files, *, shared: bool = True) -> None:
        self._descriptor, self._files = descriptor, files
        self._numbers: memoryview | None = None
        self._mapped: mmap.mmap | None = None
        if os.fstat(descriptor).st_size < _SIZE:
            with suppress(StoreFull):  # deletes have to work on a full disk
                self._write(0)
        if shared:
            with suppress(OSError, ValueError):  # a file system without shared memory
                self._mapped = mmap.mmap(descriptor, _SIZE, mmap.MAP_SHARED, mmap.PROT_READ)
                self._numbers = memoryview(self._mapped).cast("Q")

    @property
    def current(self) -> int | None:
        """The same number as before: nothing has changed since. None: it can't be told, look for yourself."""
        if self._numbers is None:
            return None
        number = self._numbers[0]
        return None if number & 1 else number

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Around a COMMIT, under the flock."""
        found = os.pread(self._descriptor, _SIZE, 0)
        number = int.from_bytes(found, sys.byteorder) | 1
        try:
            self._write(number)
        except StoreFull:
            if len(found) == _SIZE:  # a shorter file nobody can have mapped
                raise
        yield
        with suppress(OSError, StorageError):  # it is committed: staying odd costs only time
            self._write(number + 1)

    def close(self) -> None:
        if self._numbers is not None and self._mapped is not None:
            self._numbers.release()
            self._mapped.close()
            self._numbers = None

    def _write(self, number: int) -> None:
        # By a call: a store into shared memory would end the process where a full disk has no page for it.
        self._files.overwrite(self._descriptor, number.to_bytes(_SIZE, sys.byteorder))
