"""Room on the disk: how much uploads leave alone, and what is set aside for when others fill it."""

import os
from contextlib import suppress
from dataclasses import dataclass

from storage.errors import StorageError, StoreFull
from storage.files import Files

_FLOOR_BYTES, _FLOOR_SHARE = 2**30, 0.05  # uploads stop at 1 GiB or 5 % of free space, whichever is less
_BALLAST = 32 * 2**20


@dataclass(frozen=True, slots=True)
class Room:
    """In bytes."""

    free: int
    total: int

    @property
    def floor(self) -> float:
        """Below it no upload is taken."""
        return min(_FLOOR_BYTES, _FLOOR_SHARE * self.total)

    @property
    def ballast(self) -> int:
        """At most half the floor, so that giving it up lets no upload in."""
        return int(min(_BALLAST, self.floor / 2))


def look(folder: str) -> Room:
    found = os.statvfs(folder)
    return Room(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)


def require_room(folder: str) -> None:
    """Raises StoreFull below the floor: what is left is for deletes and for names."""
    room = look(folder)
    if room.free < room.floor:
        raise StoreFull(
            f"only {room.free} bytes are free on the store's disk: uploads wait until there is room"
        )


class Ballast:
    """A file of allocated bytes that nobody needs: given up when the disk is full, so that names can go."""

    def __init__(self, path: str, files: Files) -> None:
        self._path, self._files = path, files

    def lay(self) -> bool:
        """Have it there, if there is room for it above the floor; return whether it is."""
        room = look(os.path.dirname(self._path))
        if self._laid(room.ballast):
            return True
        if room.free < room.floor + room.ballast:
            return False
        try:
            self._files.allocate(self._path, room.ballast)
        except (OSError, StorageError):  # a file system that can't allocate has to do without
            self.give_up()
            return False
        return True

    def _laid(self, size: int) -> bool:
        try:
            return os.lstat(self._path).st_size >= size
        except FileNotFoundError:
            return False

    def give_up(self) -> bool:
        """Make room; return whether there was any to make."""
        if not os.path.lexists(self._path):
            return False
        with suppress(OSError, StorageError):
            self._files.unlink(self._path)
            return True
        return False
