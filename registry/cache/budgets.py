"""How many bytes of other registries may be held here, and how many are."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from registry.upstream.settings import Upstream
from storage.database import Connection, Database
from storage.holdings import count_bytes
from storage.quotas import Limit, held
from storage.rows import FETCHED, is_fetched
from storage.threads import in_thread

_LEAVE = 0.95  # of the bytes that may be held: else each layer that lands would have something evicted
_AGAIN = 60.0  # seconds after which repositories that share much are counted anew, whatever they grew by


@dataclass(frozen=True, slots=True)
class Budget:
    """`most` bytes for all repositories whose names begin so."""

    prefix: str
    most: int

    def covers(self, repository: str) -> bool:
        return repository.startswith(self.prefix)

    def leave(self, bytes_held: int) -> int:
        """How many to leave of so many."""
        return bytes_held if bytes_held <= self.most else int(self.most * _LEAVE)

    @property
    def limit(self) -> Limit:
        return Limit(self.prefix, (f"{self.prefix}*",))


ALL = Budget(FETCHED, 0)


def budgets_of(upstreams: Sequence[Upstream], cache_size: int) -> list[Budget]:
    each = [Budget(f"{FETCHED}{each.name}/", each.size) for each in upstreams if each.size]
    return [*each, *([Budget(FETCHED, cache_size)] if cache_size else [])]


class Counts:
    """Asks the index, which counts for each repository what several hold, and knows how much that is."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._shared: dict[Budget, tuple[int, float]] = {}

    async def exceeds(self, budget: Budget) -> bool:
        listed = await self.listed(budget)
        shared, until = self._shared.get(budget, (0, 0.0))
        return listed > budget.most and (listed - shared > budget.most or time.monotonic() >= until)

    async def listed(self, budget: Budget) -> int:
        """At most so many bytes. Of 10,000 repositories it takes 1.7 ms."""
        found = await self._database.read(lambda connection: held(connection, budget.limit))
        return found.bytes

    async def count_shared(self, budget: Budget) -> None:
        """Takes long: for after an eviction, which does too."""
        with self._database.scanning() as connection:
            shared = await in_thread(_count_shared, connection, budget)
        self._shared[budget] = (shared, time.monotonic() + _AGAIN)


def _count_shared(connection: Connection, budget: Budget) -> int:
    """Bytes beyond the first time that they count. What lands meanwhile makes it less: a look comes early."""
    listed = held(connection, budget.limit).bytes
    return max(0, listed - count_bytes(connection, budget.covers, is_fetched))
