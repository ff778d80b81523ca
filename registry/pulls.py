"""Which manifests were pulled lately: gathered in memory, and noted in the index once a minute."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from registry.names import RepositoryName
from storage.digest import Digest

Pull = tuple[RepositoryName, Digest]

_MOST = 100_000  # about 40 MB


class Pulls:
    """`note` writes pulls down. More than `most` are not held: those that find no room are left out."""

    def __init__(self, note: Callable[[Sequence[Pull]], Awaitable[None]], *, most: int = _MOST) -> None:
        self._note, self._most = note, most
        self._held: set[Pull] = set()
        self._full = asyncio.Event()

    def add(self, pull: Pull) -> None:
        if len(self._held) < self._most:
            self._held.add(pull)
        elif pull not in self._held:
            self._full.set()

    async def wait(self, seconds: float) -> None:
        """Until so much time has passed, or there is no more room."""
        try:
            async with asyncio.timeout(seconds):
                await self._full.wait()
        except TimeoutError:
            return

    async def flush(self) -> None:
        """Note what was pulled. Raises StorageError; what could not be noted is held for the next time."""
        pulls = list(self._held)
        if not pulls:
            return
        try:
            await self._note(pulls)
            self._held.difference_update(pulls)
        finally:
            self._full.clear()
