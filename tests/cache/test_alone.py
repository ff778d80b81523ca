"""Several workers want the same of an upstream at once: one of them asks, the others find it kept."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Hashable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from registry.cache.alone import alone
from registry.cache.cache import Cache
from registry.cache.fetches import Fetches
from registry.cache.flights import Flights
from registry.cache.repository import CachedRepository
from registry.cache.routing import Routing
from registry.names import RepositoryName, Tag
from registry.registry import Registry
from registry.upstream.client import UpstreamClient
from registry.upstream.settings import UPSTREAMS
from storage import contracts
from storage.digest import Digest
from storage.errors import StoreFull
from tests.cache.places import PATIENT, UP, Place, caching, new_name, push
from tests.e2e.serving import serve
from tests.upstream.proxy import Fault, Rule, proxying

COUNT = 4


@pytest.fixture
async def place(tmp_path: Path, upstream: str) -> AsyncIterator[Place]:
    async with caching(tmp_path, upstream) as place:
        yield place


@asynccontextmanager
async def workers(place: Place, name: str, **table: object) -> AsyncIterator[list[CachedRepository]]:
    """What each of so many has for one repository of the upstream."""
    found = UPSTREAMS.check([{"name": UP, "url": place.proxy.url, **table}])
    assert isinstance(found, tuple)
    remote = Routing(found).find(RepositoryName(f"{UP}/{name}")).remote
    assert remote

    def make() -> Cache:
        store = place.store
        registry = Registry(store.names, store.blobs, store.uploads)
        return Cache(
            registry,
            Fetches(store.fetches, store.blobs),
            connect=lambda upstream: UpstreamClient(upstream, bounds=PATIENT),
        )

    caches = [make() for _ in range(COUNT)]
    try:
        yield [cache.open(remote, lambda *_: None) for cache in caches]
    finally:
        await asyncio.gather(*(cache.close() for cache in caches))


async def pull(repository: CachedRepository, reference: Tag | Digest) -> bytes:
    found = await repository.manifest(reference)
    return await repository.manifest_bytes(found.row)


@pytest.mark.parametrize("by_tag", [True, False], ids=["tag", "digest"])
async def test_what_is_not_here_is_asked_for_once(by_tag: bool, place: Place) -> None:
    name = new_name()
    image = await push(place.origin, name)
    place.proxy.rules.append(Rule(Fault(delay=0.2)))
    async with workers(place, name) as repositories:
        reference = Tag("v1") if by_tag else Digest.of(image.manifest)
        pulled = await asyncio.gather(*(pull(each, reference) for each in repositories))
    assert set(pulled) == {image.manifest}
    assert [each.method for each in place.proxy.seen] == ["GET"]
    assert list(Path(place.store.layout.fetches).iterdir()) == []


@pytest.mark.parametrize("here", [False, True], ids=["brought", "refreshed"])
async def test_what_comes_between_the_look_and_the_lock_is_not_asked_for(
    here: bool, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = new_name()
    image = await push(place.origin, name)
    async with workers(place, name, ttl=60, stale=0) as repositories:
        if here:
            await pull(repositories[0], Tag("v1"))
            place.clock.now += 100
            place.proxy.seen.clear()
        join = Flights.join

        async def late(begin: Callable[[], Coroutine[object, object, object]]) -> object:
            monkeypatch.undo()
            await pull(repositories[0], Tag("v1"))
            return await begin()

        def join_late(
            self: Flights, key: Hashable, begin: Callable[[], Coroutine[object, object, object]]
        ) -> asyncio.Task[object]:
            return join(self, key, lambda: late(begin))

        monkeypatch.setattr(Flights, "join", join_late)
        assert await pull(repositories[1], Tag("v1")) == image.manifest
    assert [each.method for each in place.proxy.seen] == ["HEAD" if here else "GET"]


async def test_a_tag_is_asked_for_again_once(place: Place) -> None:
    name = new_name()
    await push(place.origin, name)
    async with workers(place, name, ttl=0, stale=0) as repositories:
        await pull(repositories[0], Tag("v1"))
        newer = await push(place.origin, name)
        place.proxy.seen.clear()
        place.proxy.rules.append(Rule(Fault(delay=0.2)))
        pulled = await asyncio.gather(*(pull(each, Tag("v1")) for each in repositories))
        assert set(pulled) == {newer.manifest}
        assert [each.method for each in place.proxy.seen] == ["HEAD", "GET"]


async def test_where_one_fails_the_next_one_asks(place: Place) -> None:
    name = new_name()
    image = await push(place.origin, name)
    place.proxy.rules.append(Rule(Fault(503, delay=0.2), times=1))
    async with workers(place, name) as repositories:
        answers = await asyncio.gather(
            *(pull(each, Tag("v1")) for each in repositories), return_exceptions=True
        )
    assert answers.count(image.manifest) >= COUNT - 1
    assert place.proxy.count("/manifests/") == 2


async def test_nobody_waits_for_ever(place: Place) -> None:
    store: contracts.Fetches = place.store.fetches
    async with (
        alone(store, "a", "b", 5),
        alone(store, "a", "b", 0.1) as waited,
        alone(store, "a", "c", 5) as none,
    ):
        assert waited is not None
        assert 0.1 <= waited < 5
        assert none is None


async def test_a_worker_that_is_gone_is_not_waited_for(place: Place) -> None:
    store: contracts.Fetches = place.store.fetches

    async def work() -> None:
        async with alone(store, "a", "b", 5):
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(0.05)
    task.cancel()
    async with alone(store, "a", "b", 5) as waited:
        assert (waited or 0) < 5


async def test_without_a_file_nobody_is_waited_for(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise StoreFull(0)

    monkeypatch.setattr("storage.fetches.require_room", refuse)
    store: contracts.Fetches = place.store.fetches
    async with alone(store, "a", "b", 5) as first, alone(store, "a", "b", 5) as second:
        assert (first, second) == (None, None)


async def test_all_workers_of_a_server_ask_once(tmp_path: Path, upstream: str) -> None:
    name = new_name()
    async with httpx.AsyncClient(base_url=f"http://{upstream}") as origin:
        image = await push(origin, name)
    async with proxying(upstream) as proxy:
        proxy.rules.append(Rule(Fault(delay=0.5)))
        mirror = f"{UP}={proxy.url}"
        with serve(tmp_path, "--workers", "3", "--mirror", mirror) as server:

            async def ask() -> bytes:
                async with httpx.AsyncClient(base_url=f"http://{server.host}") as client:
                    return (await client.get(f"/v2/{UP}/{name}/manifests/v1")).content

            answers = await asyncio.gather(*(ask() for _ in range(24)))
    assert set(answers) == {image.manifest}
    assert [each.method for each in proxy.seen] == ["GET"]
