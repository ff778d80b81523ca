"""How many connections a process has, and which of them make room for a new one."""

import asyncio
import logging
import resource
from collections.abc import Iterable
from typing import Protocol

_EACH = 3  # descriptors of a connection at most: the socket, its duplicate, a file
_KEPT = 64  # descriptors for all else: the index, listeners, folders, standard error
_FEW = 16
_AT_ONCE = 16  # of the idle ones this part goes together: a look at 4,096 takes 0.5 ms
_LOOK = 0.1  # seconds between two looks that find nothing
_SAY = 60.0  # seconds between two lines in the log

logger = logging.getLogger("registry")


class Connection(Protocol):
    @property
    def idle_until(self) -> float | None:
        """When its keep-alive ends; None while it is busy."""

    def leave(self) -> None:
        """Close it, as at the end of its keep-alive."""


def most_connections(wanted: int) -> int:
    """Fewer than wanted, where the process may not have descriptors enough to serve them."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    return min(wanted, max(_FEW, (soft - _KEPT) // _EACH))


class Crowd:
    def __init__(self, most: int, loop: asyncio.AbstractEventLoop) -> None:
        self.most, self._loop = most, loop
        self._next_look = self._next_say = 0.0

    def has_room(self, connections: Iterable[Connection], count: int) -> bool:
        """For the last of so many; those that have been idle for the longest leave for it."""
        if count <= self.most:
            return True
        now = self._loop.time()
        if now < self._next_look:
            return False
        idle = [(until, each) for each in connections if (until := each.idle_until) is not None]
        if not idle:
            self._next_look = now + _LOOK
            self._say(now)
            return False
        idle.sort(key=lambda pair: pair[0])
        for _, each in idle[: -(-len(idle) // _AT_ONCE)]:
            each.leave()
        return True

    def _say(self, now: float) -> None:
        if now >= self._next_say:
            self._next_say = now + _SAY
            logger.warning("all %d connections of this process are in use: new ones are refused", self.most)
