"""The fetches of one worker: whoever wants the same blob at the same time shares one, over all workers."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager

from registry.cache.alone import alone
from registry.cache.fetch import AwaitRoom, Fetch
from registry.cache.wanted import Wanted
from storage import contracts
from storage.contracts import BlobFile
from storage.digest import Digest

_AT_ONCE = 16  # of one upstream: a slow one holds up no other


async def _wait_for_nothing(_: str) -> None:
    """Without bounds."""


class Fetches:
    """A fetch is a task of the worker: no client that leaves ends it. `close` does; its file stays."""

    def __init__(
        self,
        store: contracts.Fetches,
        blobs: contracts.Blobs,
        *,
        at_once: int = _AT_ONCE,
        await_room: AwaitRoom = _wait_for_nothing,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        """`ended` is called whenever a fetch has ended: something may have come that takes room."""
        self._store, self._blobs, self._await_room, self._ended = store, blobs, await_room, ended
        self._places: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(at_once))
        self._under_way: dict[tuple[str, Digest], Fetch] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def open(self, wanted: Wanted) -> AsyncIterator[BlobFile]:
        """The blob, as soon as the upstream has answered; its bytes may still land.

        Raises what the upstream's answer was, or StoreFull, StoreDegraded. What fails later is raised by the
        file's own calls.
        """
        with self._join(wanted) as fetch:
            await fetch.progress.await_begin()
            with fetch.share() as file:
                if file is not None:
                    yield file
                    return
            async with self._blobs.open(wanted.digest) as stored:
                yield stored

    async def land(self, wanted: Wanted) -> None:
        """Wait until it is the repository's. Raises what keeps it from coming."""
        with self._join(wanted) as fetch:
            await fetch.ended.wait()
            fetch.progress.require()

    @contextmanager
    def _join(self, wanted: Wanted) -> Iterator[Fetch]:
        fetch = self._under_way.get(wanted.key) or self._begin(wanted)
        fetch.readers += 1
        try:
            yield fetch
        finally:
            fetch.readers -= 1

    def alone(self, repository: str, what: str, patience: float) -> AbstractAsyncContextManager[float | None]:
        """As registry.cache.alone has it."""
        return alone(self._store, repository, what, patience)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, wanted: Wanted) -> Fetch:
        fetch = Fetch(wanted, self._store, self._places[wanted.upstream], self._await_room)
        self._under_way[wanted.key] = fetch
        task = asyncio.create_task(self._run(wanted, fetch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return fetch

    async def _run(self, wanted: Wanted, fetch: Fetch) -> None:
        try:
            await fetch.run()
        finally:
            del self._under_way[wanted.key]
            self._ended()
