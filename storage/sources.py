"""Where an upload's bytes come from."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from storage.digest import Bytes

_GATHER = 256 * 2**10  # bytes for one hop: hashing and writing as much hide the hop's cost
_MANY = 1024  # pieces of a hop at most, however small


class Source(Protocol):
    """Bytes on their way into a session: `ready` is awaited on the loop, then `take` called in a thread."""

    async def ready(self) -> bool:
        """Wait until there is something to take; False at the end.

        Raises what broke the bytes off, once all that came before has been taken.
        """

    def take(self, buffer: bytearray) -> Sequence[Bytes]:
        """What is there, in order, in `buffer` or not, until the next call. Empty: nothing is now."""


class Pieces:
    """A Source of what an asynchronous iterator brings; small pieces are joined to a hop's worth."""

    def __init__(self, body: AsyncIterator[bytes]) -> None:
        self._body = body
        self._there: list[bytes] = []
        self._broken: BaseException | None = None

    async def ready(self) -> bool:
        if self._broken:
            raise self._broken
        waiting = 0
        try:
            async for piece in self._body:
                if not piece:
                    continue  # or many would look like the end
                self._there.append(piece)
                waiting += len(piece)
                if waiting >= _GATHER or len(self._there) >= _MANY:
                    break
        except (Exception, asyncio.CancelledError) as error:
            if not waiting:
                raise
            self._broken = error
        return waiting > 0

    def take(self, buffer: bytearray) -> Sequence[Bytes]:
        there, self._there = self._there, []
        return there
