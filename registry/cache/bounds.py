"""What of other registries is too much here goes, the oldest first; what comes next waits for room."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from registry.cache.budgets import ALL, Budget, Counts
from registry.cache.fullness import Fullness
from storage.errors import StorageError, StoreBusy
from storage.eviction import Evictor
from storage.holdings import Chosen
from storage.room import Room, look
from storage.rows import is_fetched
from storage.store import Store

logger = logging.getLogger("registry")

_TIMER = 5.0  # seconds between two looks while nothing lands
_TIGHT = 0.5  # of a disk that is nearly full
_BUSY, _AFTER_FAILURE = 0.1, 60.0
_PATIENCE = 2.0  # seconds that a fetch waits for room: then it goes on, as somebody's pull hangs on it
_REST = 0.05  # seconds at least from one look to the next: at 440 MB/s, 32 MiB land in 0.07
_RESTS = 1  # times the work just done, at least


class Bounds:
    """Of one worker; whichever finds too much evicts, one at a time. `flush` notes what was pulled."""

    def __init__(
        self,
        store: Store,
        budgets: Sequence[Budget],
        flush: Callable[[], Awaitable[None]],
        *,
        room: Callable[[str], Room] = look,
    ) -> None:
        self._budgets, self._flush = budgets, flush
        self._counts, self._evictor = Counts(store.database), Evictor(store)
        self._disk = Fullness(lambda: room(store.layout.root), self._evictor.rested)
        self._called = asyncio.Event()
        self._over: dict[Budget, float] = {}  # until when an answer of "too much" is good
        self._busy_since: float | None = None
        self._is_stuck = False  # nothing goes: looks fail, or somebody keeps them out for long

    def look_soon(self) -> None:
        """Something may have come that takes room."""
        self._called.set()

    async def await_room(self, repository: str) -> None:
        """Until what counts with the repository is within its budgets; not for ever, nor in vain."""
        end = time.monotonic() + _PATIENCE
        with suppress(StorageError):
            while not self._is_stuck and time.monotonic() < end and await self._is_over(repository):
                self._called.set()
                await asyncio.sleep(_REST)

    async def _is_over(self, repository: str) -> bool:
        for budget in self._budgets:
            if budget.covers(repository) and await self._is_over_now(budget):
                return True
        return False

    async def _is_over_now(self, budget: Budget) -> bool:
        """One question for all who wait."""
        now = time.monotonic()
        if now < self._over.get(budget, 0.0):
            return True
        if not await self._counts.exceeds(budget):
            return False
        self._over[budget] = now + _REST
        return True

    async def keep(self) -> None:
        """For ever."""
        while True:
            begun = time.monotonic()
            pause = await self._look()
            await asyncio.sleep(max(_REST, pause, (time.monotonic() - begun) * _RESTS))
            try:
                async with asyncio.timeout(_TIGHT if self._disk.is_tight else _TIMER):
                    await self._called.wait()
            except TimeoutError:
                continue

    async def _look(self) -> float:
        """How long the next one has to wait at least."""
        self._called.clear()
        try:
            await self.enforce()
        except StoreBusy:  # another worker evicts, or there is a backup
            self._called.set()
            now = time.monotonic()
            self._busy_since = self._busy_since or now
            self._is_stuck = now - self._busy_since > _PATIENCE
            return _BUSY
        except (StorageError, OSError) as error:
            logger.error("what was fetched is kept within no bounds: %s", error)
        except Exception:  # whatever it was, it must not end the next look too
            logger.exception("what was fetched is kept within no bounds")
        else:
            self._busy_since, self._is_stuck = None, False
            return 0.0
        self._busy_since, self._is_stuck = None, True
        return _AFTER_FAILURE

    async def enforce(self) -> None:
        """Evict what is too much now. Raises StoreBusy, and what else stops an eviction."""
        for budget in self._budgets:
            await self._enforce(budget)
        if self._disk.wanted() and await self._counts.listed(ALL):
            await self._evict(is_fetched, self._disk.leaver(), "the disk is nearly full", spare=True)

    async def _enforce(self, budget: Budget) -> None:
        if await self._counts.exceeds(budget):
            await self._evict(budget.covers, budget.leave, f"more than {budget.most} bytes were held")
            await self._counts.count_shared(budget)

    async def _evict(
        self, chosen: Chosen, leave: Callable[[int], int], why: str, *, spare: bool = False
    ) -> None:
        await self._flush()
        evicted = await self._evictor.make_room(chosen, is_fetched, leave, spare=spare)
        if evicted.manifests or evicted.links:
            logger.info(
                "cache: %d manifests went, %d bytes freed and %d held, as %s",
                evicted.manifests,
                evicted.freed,
                evicted.left,
                why,
            )
