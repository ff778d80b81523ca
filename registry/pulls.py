"""Which manifests were pulled lately: gathered in memory, and noted in the index once a minute."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from registry.names import RepositoryName
from storage.digest import Digest

Pull = tuple[RepositoryName, Digest]

_MOST = 100_000  # about 40 MB


class Note(Protocol):
    async def __call__(self, pulls: Sequence[Pull], *, ago: int) -> None:
        """Write down what was pulled so many seconds ago."""


class Pulls:
    """More than `most` are not held: those that find no room are left out."""

    def __init__(self, note: Note, *, most: int = _MOST, clock: Callable[[], float] = time.monotonic) -> None:
        self._note, self._most, self._clock = note, most, clock
        self._held: dict[Pull, float] = {}
        self._full = asyncio.Event()

    def add(self, pull: Pull) -> None:
        if pull in self._held or len(self._held) < self._most:
            self._held[pull] = self._clock()
        else:
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
        held = dict(self._held)
        now = self._clock()
        by_age: dict[int, list[Pull]] = {}
        for pull, when in held.items():
            by_age.setdefault(int(now - when), []).append(pull)
        try:
            for ago, pulls in by_age.items():
                await self._note(pulls, ago=ago)
                for pull in pulls:
                    if self._held.get(pull) == held[pull]:  # or it was pulled once more meanwhile
                        del self._held[pull]
        finally:
            self._full.clear()
