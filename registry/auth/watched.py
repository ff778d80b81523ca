"""A file that is read again when it has changed."""

import logging
import os
import stat
import time
from collections.abc import Callable
from typing import Generic, TypeVar

Content = TypeVar("Content")

_RACY = 50_000_000  # nanoseconds: within one tick of its clock, a file may change again and keep its times

logger = logging.getLogger("registry")


class Watched(Generic[Content]):
    """What `parse` made of the file when it was last good; `empty` where there is none.

    Each look is a stat, 1.5 µs. A file that can't be read, or for which `parse` raises ValueError, leaves
    what was there before, and one warning.
    """

    def __init__(self, path: str, parse: Callable[[bytes], Content], empty: Content) -> None:
        self._path, self._parse, self._empty = path, parse, empty
        self._content = empty
        self._seen: tuple[int, ...] | None = None
        self._trouble, self._exposed = "", False

    @property
    def path(self) -> str:
        return self._path

    @property
    def there(self) -> bool:
        """Whether the file is there; one that can't be looked at is."""
        try:
            os.stat(self._path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True
        return True

    @property
    def sound(self) -> bool:
        """Whether the last look found nothing wrong."""
        return not self._trouble

    def look(self) -> Content:
        """The content as it is now."""
        try:
            if _identity(os.stat(self._path)) != self._seen:
                self._read()
        except (FileNotFoundError, NotADirectoryError):
            self._content, self._seen, self._trouble = self._empty, None, ""
        except OSError as error:
            self._warn(f"{error.strerror}")
        return self._content

    def _read(self) -> None:
        with open(self._path, "rb") as file:
            found = os.fstat(file.fileno())
            data = file.read()
        racy = 0 <= time.time_ns() - found.st_mtime_ns < _RACY
        try:
            self._content, self._trouble = self._parse(data), ""
        except ValueError as error:
            self._warn(str(error))
        # Only now: what raises otherwise is tried again.
        self._seen = None if racy else _identity(found)
        self._check(found.st_mode)

    def _check(self, mode: int) -> None:
        exposed = bool(mode & (stat.S_IRWXG | stat.S_IRWXO))
        if exposed and not self._exposed:
            logger.warning("%s can be read by others than its owner: chmod 600 it", self._path)
        self._exposed = exposed

    def _warn(self, why: str) -> None:
        if why != self._trouble:
            logger.warning("%s cannot be read: %s; what it said before stays in force", self._path, why)
        self._trouble = why


def _identity(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
