"""How much of other registries is kept here: over its bytes, and before the disk is full, the oldest goes."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from registry.upstream.settings import Upstream
from storage.database import Connection
from storage.errors import StorageError, StoreBusy
from storage.eviction import Evicted, Evictor
from storage.holdings import count_bytes
from storage.quotas import Limit, held
from storage.room import Room, look
from storage.rows import FETCHED, is_fetched
from storage.store import Store
from storage.threads import in_thread

logger = logging.getLogger("registry")

_TIMER = 5.0  # seconds between two looks while nothing lands
_BUSY, _AFTER_FAILURE = 0.1, 60.0
_PATIENCE = 2.0  # seconds that a fetch waits for room: then it goes on, as somebody's pull hangs on it
_REST = 0.05  # seconds at least from one look to the next: at 440 MB/s, 32 MiB land in 0.07
_RESTS = 1  # times the work just done, at least
_LEAVE = 0.95  # of the bytes that may be held: else each layer that lands would have something evicted
_AGAIN = 60.0  # seconds after which repositories that share much are counted anew, whatever they grew by
_TIGHT = 0.5  # seconds between two looks at a disk that is nearly full: others fill it, too
# Of the floor below which no upload is taken (storage/room.py): where evicting ends, and where it begins so
# many seconds after the last one. What went need not be free at once, as btrfs commits every 30 s, and
# somebody may still read it; the nearer to the floor, the less of that can be waited for.
_ENOUGH = 2.5
_LOW = ((30.0, 2.0), (5.0, 1.5), (0.5, 1.25), (0.0, 1.0))


@dataclass(frozen=True, slots=True)
class Budget:
    """`most` bytes for all repositories whose names begin so."""

    prefix: str
    most: int

    def covers(self, repository: str) -> bool:
        return repository.startswith(self.prefix)

    @property
    def limit(self) -> Limit:
        return Limit(self.prefix, (f"{self.prefix}*",))


def budgets_of(upstreams: Sequence[Upstream], cache_size: int) -> list[Budget]:
    each = [Budget(f"{FETCHED}{each.name}/", each.size) for each in upstreams if each.size]
    return [*each, *([Budget(FETCHED, cache_size)] if cache_size else [])]


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
        self._store, self._budgets, self._flush, self._room = store, budgets, flush, room
        self._evictor = Evictor(store)
        self._called = asyncio.Event()
        self._is_tight = False
        self._over: dict[Budget, float] = {}  # until when an answer of "too much" is good
        self._busy_since: float | None = None
        self._is_stuck = False  # nothing goes: looks fail, or somebody keeps them out for long
        self._shared: dict[Budget, tuple[int, float]] = {}

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
        """One question for all who wait: of 10,000 repositories it takes 1.7 ms."""
        now = time.monotonic()
        if now < self._over.get(budget, 0.0):
            return True
        if not await self._exceeds(budget):
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
                async with asyncio.timeout(_TIGHT if self._is_tight else _TIMER):
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
        if self._wanted_on_disk() and await self._listed(Budget(FETCHED, 0)):
            await self._make_room_on_disk()

    def _wanted_on_disk(self) -> int:
        """Bytes that have to go, as the disk is nearly full."""
        room, rested = self._room(self._store.layout.root), self._evictor.rested()
        self._is_tight = room.free < _ENOUGH * room.floor
        low = next(share for seconds, share in _LOW if rested >= seconds)
        return int(_ENOUGH * room.floor) - room.free if room.free < low * room.floor else 0

    async def _make_room_on_disk(self) -> None:
        await self._flush()
        targets: list[int] = []

        def leave(bytes_held: int) -> int:
            """Of the first round, and of now: another worker may have been here, and each round adds up."""
            targets.append(bytes_held - self._wanted_on_disk())
            return targets[0]

        evicted = await self._evictor.make_room(is_fetched, is_fetched, leave, spare=True)
        self._say(evicted, "the disk is nearly full")

    async def _enforce(self, budget: Budget) -> None:
        if not await self._exceeds(budget):
            return
        await self._flush()

        def leave(bytes_held: int) -> int:
            return budget.most if bytes_held <= budget.most else int(budget.most * _LEAVE)

        evicted = await self._evictor.make_room(budget.covers, is_fetched, leave)
        with self._store.database.scanning() as connection:
            shared = await in_thread(_count_shared, connection, budget)
        self._shared[budget] = (shared, time.monotonic() + _AGAIN)
        self._say(evicted, f"more than {budget.most} bytes were held")

    async def _exceeds(self, budget: Budget) -> bool:
        listed = await self._listed(budget)
        shared, until = self._shared.get(budget, (0, 0.0))
        return listed > budget.most and (listed - shared > budget.most or time.monotonic() >= until)

    async def _listed(self, budget: Budget) -> int:
        """At most so many bytes: what several repositories hold counts for each."""
        found = await self._store.database.read(lambda connection: held(connection, budget.limit))
        return found.bytes

    def _say(self, evicted: Evicted, why: str) -> None:
        if evicted.manifests or evicted.links:
            logger.info(
                "cache: %d manifests went, %d bytes freed and %d held, as %s",
                evicted.manifests,
                evicted.freed,
                evicted.left,
                why,
            )


def _count_shared(connection: Connection, budget: Budget) -> int:
    """Bytes beyond the first time that they count. What lands meanwhile makes it less: a look comes early."""
    listed = held(connection, budget.limit).bytes
    return max(0, listed - count_bytes(connection, budget.covers, is_fetched))
