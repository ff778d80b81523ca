"""How full the disk is that the cache lies on, and what has to go from there."""

from collections.abc import Callable

from storage.room import Room

# Of the floor below which no upload is taken (storage/room.py): where evicting ends, and where it begins so
# many seconds after the last one. What went need not be free at once, as btrfs commits every 30 s, and
# somebody may still read it; the nearer to the floor, the less of that can be waited for.
_ENOUGH = 2.5
_LOW = ((30.0, 2.0), (5.0, 1.5), (0.5, 1.25), (0.0, 1.0))


class Fullness:
    """`rested` tells how many seconds ago any worker last evicted."""

    is_tight = False  # others fill it, too: it wants to be looked at often

    def __init__(self, look: Callable[[], Room], rested: Callable[[], float]) -> None:
        self._look, self._rested = look, rested

    def wanted(self) -> int:
        """Bytes that have to go now."""
        room, rested = self._look(), self._rested()
        self.is_tight = room.free < _ENOUGH * room.floor
        low = next(share for seconds, share in _LOW if rested >= seconds)
        return int(_ENOUGH * room.floor) - room.free if room.free < low * room.floor else 0

    def leaver(self) -> Callable[[int], int]:
        """For one eviction, which asks before each of its rounds how many of the bytes held to leave.

        Reckoned when it has its turn, as another worker may just have made room; and only then, as what went
        in one round need not be free in the next.
        """
        target: int | None = None

        def leave(bytes_held: int) -> int:
            nonlocal target
            if target is None:
                target = bytes_held - self.wanted()
            return target

        return leave
