"""A disk that another program has filled to its last block: names still go, the rest comes back by itself."""

import asyncio
import os
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import httpx
import pytest

from registry.app import build
from registry.settings import Settings
from storage.store import Store, open_store
from tests.api.world import digest, push_image
from tests.filesystems import SIZES, filled, mounted
from tests.inprocess import connect_app
from tests.registry.test_app import Lifespan

IMAGES = 30


@pytest.fixture(scope="module", params=list(SIZES))
def mount(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with mounted(tmp_path_factory.mktemp("disk"), request.param) as mount:
        yield mount


@pytest.fixture
def root(mount: Path, request: pytest.FixtureRequest) -> str:
    return str(mount / request.node.originalname)


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.app._BALLAST", 0.05)


@asynccontextmanager
async def served(root: str) -> AsyncIterator[tuple[Store, httpx.AsyncClient]]:
    with closing(open_store(root)) as store:
        app = build(store, Settings(root=root))
        async with Lifespan(app), connect_app(app) as client:
            yield store, client


async def until_laid(store: Store) -> None:
    for _ in range(200):
        if os.path.exists(store.layout.ballast):
            return
        await asyncio.sleep(0.05)
    raise AssertionError("there is no ballast")


async def push(client: httpx.AsyncClient) -> list[str]:
    """Images whose manifests together take more than the WAL has room for already; their digests."""
    return [digest(await push_image(client, "app", f"t{number}", number)) for number in range(IMAGES)]


async def delete(client: httpx.AsyncClient, digests: list[str]) -> Counter[int]:
    """Half of the tags, and half of the manifests."""
    statuses: Counter[int] = Counter()
    for number, named in enumerate(digests):
        target = f"t{number}" if number % 2 else named
        statuses[(await client.delete(f"/v2/app/manifests/{target}")).status_code] += 1
    return statuses


async def test_names_go_and_the_rest_comes_back(mount: Path, root: str) -> None:
    async with served(root) as (store, client):
        await until_laid(store)
        digests = await push(client)
        await store.database.checkpoint()  # so that the WAL has no room that it had taken before
        with filled(mount):
            ready = await client.get("/readyz")
            assert (ready.status_code, ready.json()["status"]) == (503, "unready")
            assert "bytes are free on the store's disk" in ready.json()["why"]
            assert await delete(client, digests) == {202: IMAGES}
            assert not os.path.exists(store.layout.ballast)
            refused = await client.post("/v2/app/blobs/uploads/")
            assert refused.status_code == 507
            assert "uploads wait until there is room" in refused.json()["errors"][0]["message"]
            assert (await client.get("/v2/app/manifests/t1")).status_code == 404
            kept = await client.get(f"/v2/app/manifests/{digests[1]}")
            assert digest(kept.content) == digests[1]
        await until_laid(store)
        assert (await client.get("/readyz")).status_code == 200
        again = await push_image(client, "app", "t0", 0)
        assert digest(again) == digests[0]


async def test_a_server_starts_on_it(mount: Path, root: str) -> None:
    async with served(root) as (store, client):
        digests = await push(client)
        await until_laid(store)
    assert not os.path.exists(f"{root}/index.db-shm")  # SQLite has to make its files anew
    with filled(mount):
        with closing(sqlite3.connect(f"{root}/index.db")) as index, pytest.raises(sqlite3.Error):
            index.executescript("BEGIN; DELETE FROM tags; COMMIT;")  # there is no room for any change
        async with served(root) as (store, client):
            assert await delete(client, digests) == {202: IMAGES}
            assert (await client.get("/readyz")).status_code == 503


async def test_without_ballast_nothing_would_go(mount: Path, root: str) -> None:
    """What the tests above stand on: the disk is so full that the index cannot change."""
    async with served(root) as (store, client):
        await until_laid(store)
        digests = await push(client)
        await store.database.checkpoint()
        store.database._make_room = lambda: False
        with filled(mount):
            refused = await delete(client, digests)
            assert refused[507] >= IMAGES - 3  # a file system may have had a little in hand
        assert (await delete(client, digests))[202] == refused[507]
