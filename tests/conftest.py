"""Fixtures of the tests in one process: a store without fsync, the registry over it, a client of its API."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from registry.registry import Registry
from storage.store import Store, open_store
from tests.inprocess import connect


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(str(tmp_path / "root"), durable=False)
    yield store
    store.close()


@pytest.fixture
def registry(store: Store) -> Registry:
    return Registry(store.names, store.blobs, store.uploads)


@pytest.fixture
async def client(store: Store) -> AsyncIterator[httpx.AsyncClient]:
    async with connect(store) as client:
        yield client
