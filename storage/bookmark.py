"""The place that a long walk has reached, kept so that another process can go on there."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from storage.errors import StorageError
from storage.files import Files


class Bookmark:
    """A small file that is locked for whoever has it open: `text` is what was last kept in it.

    Nothing is synced: a power cut may take a place back, and the walk with it.
    """

    def __init__(self, files: Files, path: str, descriptor: int) -> None:
        self._files, self._path, self._descriptor = files, path, descriptor
        with open(descriptor, encoding="utf-8", errors="replace", closefd=False) as file:
            self.text = file.read()

    def keep(self, text: str) -> None:
        """Replace the text as a whole. A disk that takes no write is borne: only the place is lost."""
        temporary = f"{self._path}.new"
        with suppress(StorageError, OSError):
            self._files.unlink(temporary)
            descriptor = self._files.create(temporary)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)  # before it has the name, so that nobody gets between
                self._files.append(descriptor, [text.encode()])
                self._files.rename(temporary, self._path)
            except BaseException:
                os.close(descriptor)
                raise
            self.close()
            self._descriptor, self.text = descriptor, text

    def remove(self) -> None:
        """The walk has ended."""
        with suppress(StorageError, OSError):
            self._files.unlink(self._path)

    def close(self) -> None:
        os.close(self._descriptor)


@contextmanager
def bookmark(files: Files, path: str) -> Iterator[Bookmark | None]:
    """None while another has it open, in this process or elsewhere, and where the disk takes no file."""
    try:
        descriptor = _lock(files, path)
    except (StorageError, OSError):
        descriptor = None
    if descriptor is None:
        yield None
        return
    mark = Bookmark(files, path, descriptor)
    try:
        yield mark
    finally:
        mark.close()


def _lock(files: Files, path: str) -> int | None:
    while True:
        descriptor = _open(files, path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        # Between open and lock its holder may have replaced it, or removed it.
        if _has_name(descriptor, path):
            return descriptor
        os.close(descriptor)


def _open(files: Files, path: str) -> int:
    while True:
        with suppress(FileExistsError):
            return files.create(path)
        with suppress(FileNotFoundError):
            return os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)


def _has_name(descriptor: int, path: str) -> bool:
    try:
        return os.lstat(path).st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False
