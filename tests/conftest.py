"""Fixtures of the tests in one process: a store without fsync, the registry over it, a client of its API."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from registry.registry import Registry
from storage.store import Store
from tests.inprocess import connect, opened


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path) as store:
        yield store


@pytest.fixture
def registry(store: Store) -> Registry:
    return Registry(store.names, store.blobs, store.uploads)


@pytest.fixture
async def client(store: Store) -> AsyncIterator[httpx.AsyncClient]:
    async with connect(store) as client:
        yield client
