"""One store for a module: making its 512 folders anew for every row would take most of the time."""

import itertools
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from storage.store import Store
from tests.api.world import World, fill
from tests.inprocess import connect, opened

_numbers = itertools.count()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with opened(tmp_path_factory.mktemp("store")) as store:
        yield store


@pytest.fixture(scope="module")
async def client(store: Store) -> AsyncIterator[httpx.AsyncClient]:
    async with connect(store) as client:
        yield client


@pytest.fixture(scope="module")
async def world(client: httpx.AsyncClient) -> World:
    return await fill(client)


@pytest.fixture
def repository() -> str:
    """A name that no other test uses."""
    return f"own/r{next(_numbers)}"
