"""The cache as one worker has it: the clients of all upstreams, and what their repositories share."""

import asyncio
import time
from collections.abc import Callable

from registry.cache.flights import Flights
from registry.cache.freshness import Missing, Patience
from registry.cache.keeper import Fetching, Keeper
from registry.cache.listings import Lists
from registry.cache.repository import CachedRepository
from registry.cache.routing import Remote
from registry.registry import Registry
from registry.sources import Note
from registry.upstream.client import UpstreamClient
from registry.upstream.settings import Upstream


class Cache:
    """`connect` makes an upstream's client, in the loop that asks it, when it is first asked."""

    def __init__(
        self,
        registry: Registry,
        fetches: Fetching,
        *,
        offline: bool = False,
        connect: Callable[[Upstream], UpstreamClient] = UpstreamClient,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry, self._fetches, self._offline, self._connect = registry, fetches, offline, connect
        self._clients: dict[str, UpstreamClient] = {}
        self._flights, self._lists = Flights(), Lists(clock)
        self._missing, self._patience = Missing(clock), Patience(clock)

    def open(self, remote: Remote, note: Note) -> CachedRepository:
        keeper = Keeper(
            remote,
            self._registry,
            self._client(remote.upstream),
            self._fetches,
            flights=self._flights,
            missing=self._missing,
            patience=self._patience,
            lists=self._lists,
            offline=self._offline,
        )
        return CachedRepository(keeper, note)

    async def close(self) -> None:
        """What is on its way ends here; a blob that is half here goes on with the next start."""
        await self._flights.close()
        await self._fetches.close()
        await asyncio.gather(*(client.close() for client in self._clients.values()))

    def _client(self, upstream: Upstream) -> UpstreamClient:
        if upstream.name not in self._clients:
            self._clients[upstream.name] = self._connect(upstream)
        return self._clients[upstream.name]
