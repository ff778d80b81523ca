"""How many connections a process has, and which of them make room for a new one."""

import asyncio
import logging
import resource
from collections.abc import Iterable
from typing import Protocol

_EACH = 3  # descriptors of a connection at most: the socket, its duplicate, a file
_KEPT = 64  # descriptors for all else: the index, listeners, folders, standard error
_FEW = 16
_AT_ONCE = 16  # of those that may leave this part goes together: a look at 4,096 takes 0.5 ms
_SILENT = 4  # the part of all that may be new and without a byte: a flood of them displaces no others
_YOUNG = 1.0  # seconds in which a new one is about to ask
_LOOK = 0.1  # seconds between two looks that find nothing
_SAY = 60.0  # seconds between two lines in the log

logger = logging.getLogger("registry")


class Connection(Protocol):
    @property
    def idle_until(self) -> float | None:
        """When its keep-alive ends; None while it is busy."""

    @property
    def silent_since(self) -> float | None:
        """When it came; None once it has sent a byte."""

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
        """For the last of so many, and the newest. First those leave for it that came and sent no byte, then
        those that have been idle for the longest.
        """
        if count <= self.most:
            return True
        now = self._loop.time()
        if now < self._next_look:
            return False
        silent, idle = [], []
        for each in connections:
            if (since := each.silent_since) is not None:
                silent.append((since, each))
            elif (until := each.idle_until) is not None:
                idle.append((until, each))
        leaving = self._too_silent(silent, now) or idle
        if not leaving:
            self._next_look = now + _LOOK
            self._say(now)
            return False
        leaving.sort(key=lambda pair: pair[0])
        for _, each in leaving[: -(-len(leaving) // _AT_ONCE)]:
            each.leave()
        return True

    def _too_silent(
        self, silent: list[tuple[float, Connection]], now: float
    ) -> list[tuple[float, Connection]]:
        silent.sort(key=lambda pair: pair[0])
        excess = max(0, len(silent) - max(1, self.most // _SILENT))
        return [pair for index, pair in enumerate(silent) if index < excess or now - pair[0] > _YOUNG]

    def _say(self, now: float) -> None:
        if now >= self._next_say:
            self._next_say = now + _SAY
            logger.warning("all %d connections of this process are in use: new ones are refused", self.most)
