"""One worker after the other: what one asks an upstream for, the others find kept and need not ask for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from storage import contracts
from storage.digest import Digest
from storage.errors import StorageError

_SOONEST, _LATEST, _SLOWER = 0.005, 0.1, 1.5  # seconds between two tries, and how these grow


@asynccontextmanager
async def alone(
    store: contracts.Fetches, repository: str, what: str, patience: float
) -> AsyncIterator[float | None]:
    """Do `what` while no other worker does; tells for how many seconds one was waited for, None if none was.

    It is the lock of a fetch's file to which no bytes come. Nobody is waited for after `patience` seconds,
    and where there can be no file, as on a full disk: to ask twice is no harm.
    """
    async with AsyncExitStack() as stack:
        waited = None
        with suppress(StorageError):
            # Named by a digest of words, which is no blob's.
            file = await stack.enter_async_context(store.open(repository, Digest.of(what.encode())))
            waited = await _lock(file, patience)
            stack.push_async_callback(_remove, file)
        yield waited


async def _lock(file: contracts.Fetch, patience: float) -> float | None:
    if file.lock():
        return None
    loop, pause = asyncio.get_running_loop(), _SOONEST
    begun = loop.time()
    while not file.lock() and loop.time() - begun < patience:
        await asyncio.sleep(pause)
        pause = min(pause * _SLOWER, _LATEST)
    return loop.time() - begun


async def _remove(file: contracts.Fetch) -> None:
    with suppress(StorageError, OSError):  # it expires, as any other does
        if file.lock():
            await file.remove()
