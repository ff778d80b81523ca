"""Bounds of what was fetched: who makes room, when, and that pulls beside it go well."""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from registry.app import build
from registry.cache import bounds
from registry.cache.bounds import Bounds
from registry.cache.budgets import Budget, Counts
from registry.names import JoinedName
from registry.pulls import Pulls
from registry.settings import Settings
from registry.upstream.settings import UPSTREAMS, Upstream
from storage.digest import Digest
from storage.errors import IndexFailed, StoreBusy
from storage.eviction import RECENT, Evicted, Evictor
from storage.locks import held
from storage.room import Room
from storage.store import Store, open_store
from tests.api.world import push_blob, push_manifest
from tests.builders import OCI_CONFIG, blob, descriptor, image
from tests.cache.places import new_name
from tests.inprocess import connect_app
from tests.storage import pushing
from tests.storage.fetching import disk, fetch_image, held_by_fetched, here
from tests.storage.hands import Hands

SIZE = 1000
HUB, GHCR = "@docker.io/library/app", "@ghcr.io/team/app"
TABLES: list[Mapping[str, object]] = [
    {"name": "docker.io", "size": "3kB"},
    {"name": "ghcr.io"},
    {"name": "quay.io", "size": 5},
]


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def store(tmp_path: Path, hands: Hands) -> Iterator[Store]:
    with closing(open_store(str(tmp_path / "root"), durable=False, machine=hands.machine)) as store:
        yield store


async def no_pulls() -> None:
    """Nothing is in memory."""


def roomy(_: str) -> Room:
    return Room(2**50, 2**51)


def bounded(store: Store, *budgets: Budget, **given: Any) -> Bounds:
    return Bounds(store, budgets, given.pop("flush", no_pulls), **{"room": roomy, **given})


def read_upstreams(tables: Sequence[Mapping[str, object]]) -> tuple[Upstream, ...]:
    found = UPSTREAMS.check(tables)
    assert isinstance(found, tuple)
    return found


def layer(number: int) -> bytes:
    return (b"%d" % number).ljust(SIZE - 10, b".")


def manifest(number: int) -> bytes:
    return b"image %04d" % number


async def fetch(store: Store, *numbers: int, repository: str = HUB) -> None:
    """Images of SIZE bytes each."""
    for number in numbers:
        await fetch_image(store, repository, manifest(number), [layer(number)], [f"v{number}"])


def kept(store: Store, *numbers: int) -> list[int]:
    found = [number for number in numbers if here(store, manifest(number), layer(number))]
    assert all(len(here(store, manifest(number), layer(number))) == 2 for number in found)
    return found


async def test_what_is_too_much_goes_and_a_little_more(store: Store, hands: Hands) -> None:
    for number in range(10):
        await fetch(store, number)
        hands.wait(1)
    budget = Budget("@", 10 * SIZE)
    await bounded(store, budget).enforce()
    assert disk(store) == 10 * SIZE
    await fetch(store, 10)
    await bounded(store, budget).enforce()
    assert kept(store, *range(11)) == list(range(2, 11)), "a twentieth of it is left free"


async def test_each_upstream_has_its_own_and_all_have_one_together(store: Store, hands: Hands) -> None:
    await fetch(store, 1, 2, repository=GHCR)
    hands.wait(1)
    await fetch(store, 3, 4, 5, 6)
    await pushing.push_blob(store, "team/app", bytes(20 * SIZE))
    await bounded(store, Budget("@docker.io/", 3 * SIZE)).enforce()
    assert kept(store, 1, 2, 3, 4, 5, 6) == [1, 2, 5, 6]
    await bounded(store, Budget("@docker.io/", 3 * SIZE), Budget("@", 3 * SIZE)).enforce()
    assert kept(store, 1, 2, 5, 6) == [5, 6]


async def test_names_that_only_begin_alike_are_others(store: Store) -> None:
    await fetch(store, 1, 2, repository="@ghcr.io.example/a")
    await bounded(store, Budget("@ghcr.io/", SIZE)).enforce()
    assert kept(store, 1, 2) == [1, 2]


async def test_a_pull_that_is_still_in_memory_counts(store: Store, hands: Hands) -> None:
    pulls = Pulls(store.names.manifests.note_pulls)
    await fetch(store, 1)
    hands.wait(5)
    await fetch(store, 2, 3)
    hands.wait(5)
    pulls.add((JoinedName(HUB), Digest.of(manifest(1))))
    await bounded(store, Budget("@", 2 * SIZE), flush=pulls.flush).enforce()
    assert kept(store, 1, 2, 3) == [1]


async def test_what_lands_while_something_goes_is_not_taken_for_shared(
    store: Store, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the budget would be exceeded by as much, until it is counted anew."""
    make_room = Evictor.make_room

    async def make_room_slowly(*arguments: Any, **given: Any) -> Evicted:
        evicted = await make_room(*arguments, **given)
        await fetch(store, 4, 5)
        return evicted

    await fetch(store, 1, 2, 3)
    hands.wait(RECENT + 1)
    keeper = bounded(store, Budget("@", 2 * SIZE))
    monkeypatch.setattr(Evictor, "make_room", make_room_slowly)
    await keeper.enforce()
    monkeypatch.setattr(Evictor, "make_room", make_room)
    await keeper.enforce()
    assert disk(store) <= 2 * SIZE


async def test_repositories_that_share_much_are_counted_now_and_then(store: Store) -> None:
    """What both hold is listed twice, and is more than the budget by that."""
    flushes: list[int] = []

    async def flush() -> None:
        flushes.append(disk(store))

    await fetch(store, 1, 2)
    await fetch(store, 1, 2, repository=GHCR)
    keeper = bounded(store, Budget("@", 3 * SIZE), flush=flush)
    for _ in range(3):
        await keeper.enforce()
    assert flushes == [2 * SIZE]
    await fetch(store, 3)
    await keeper.enforce()
    assert flushes == [2 * SIZE]
    await fetch(store, 4)
    await keeper.enforce()
    assert flushes == [2 * SIZE, 4 * SIZE]
    assert await held_by_fetched(store) <= 3 * SIZE


# -- the disk ----------------------------------------------------------------------------------------------


def shared_disk(store: Store, total: int, others: int) -> Callable[[str], Room]:
    """Others hold so much of it; the floor is a twentieth of all."""
    return lambda _: Room(total - others - disk(store), total)


async def test_before_the_disk_is_full_the_oldest_goes(store: Store, hands: Hands) -> None:
    """100 in all, a floor of 5: below 10 it begins, and ends at 12.5."""
    for number in range(10):
        await fetch(store, number)
        hands.wait(1)
    hands.wait(RECENT)
    await pushing.push_blob(store, "team/app", bytes(SIZE))
    await bounded(store, room=shared_disk(store, 100 * SIZE, 79 * SIZE)).enforce()
    assert kept(store, *range(10)) == list(range(10))
    await bounded(store, room=shared_disk(store, 100 * SIZE, 80 * SIZE)).enforce()
    assert kept(store, *range(10)) == list(range(4, 10))
    await bounded(store, room=shared_disk(store, 100 * SIZE, 99 * SIZE)).enforce()
    assert kept(store, *range(10)) == []
    assert disk(store) == SIZE, "what was pushed stays"


async def test_others_that_fill_the_disk_take_nothing_of_what_is_in_use(store: Store, hands: Hands) -> None:
    await fetch(store, 1, 2)
    await bounded(store, room=shared_disk(store, 100 * SIZE, 99 * SIZE)).enforce()
    assert kept(store, 1, 2) == [1, 2]
    hands.wait(RECENT + 1)
    await bounded(store, room=shared_disk(store, 100 * SIZE, 99 * SIZE)).enforce()
    assert kept(store, 1, 2) == []


@pytest.mark.usefixtures("still")
async def test_room_that_does_not_show_yet_is_waited_for(store: Store, hands: Hands) -> None:
    """As where somebody still reads what went, or the file system frees by and by. Four workers look."""
    for number in range(14):
        await fetch(store, number)
        hands.wait(1)
    hands.wait(RECENT)
    free = 9 * SIZE + SIZE // 2  # of 10: 3 have to go

    async def look() -> None:
        for keeper in keepers:
            await keeper.enforce()

    keepers = [bounded(store, room=lambda _: Room(free, 100 * SIZE)) for _ in range(4)]
    await look()
    await look()
    assert kept(store, *range(14)) == list(range(3, 14))
    free = 8 * SIZE  # others took some
    await look()
    assert kept(store, *range(14)) == list(range(3, 14))
    free = 7 * SIZE
    await look()
    assert kept(store, *range(14)) == list(range(3, 14))
    wait_since_the_last(store, 5)  # nearer to the floor, it is not waited for so long
    await look()
    await look()
    assert kept(store, *range(14)) == list(range(9, 14))
    free = 9 * SIZE
    wait_since_the_last(store, 20)
    await look()
    assert kept(store, *range(14)) == list(range(9, 14))
    wait_since_the_last(store, 10)
    await look()
    await look()
    assert kept(store, *range(14)) == [13], "what does not show in time is not waited for any longer"


async def test_what_another_has_freed_meanwhile_does_not_go_twice(store: Store, hands: Hands) -> None:
    for number in range(10):
        await fetch(store, number)
        hands.wait(1)
    hands.wait(RECENT)
    room = shared_disk(store, 100 * SIZE, 80 * SIZE + SIZE // 2)

    async def flush() -> None:
        await bounded(store, room=room).enforce()

    await bounded(store, flush=flush, room=room).enforce()
    assert kept(store, *range(10)) == list(range(3, 10))


@pytest.fixture
def still(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of evictions goes on by `wait_since_the_last` alone, however long the test takes."""
    now = int(time.time())
    clocks = SimpleNamespace(time=lambda: now, monotonic=time.monotonic, sleep=time.sleep)
    monkeypatch.setattr("storage.locks.time", clocks)
    monkeypatch.setattr(store.files, "touch", lambda descriptor: os.utime(descriptor, (now, now)))


def wait_since_the_last(store: Store, seconds: float) -> None:
    """Of evictions: it was earlier by so much."""
    with suppress(FileNotFoundError):
        earlier = os.stat(store.layout.evict_lock).st_mtime - seconds
        os.utime(store.layout.evict_lock, (earlier, earlier))


@pytest.mark.usefixtures("still")
@pytest.mark.parametrize(("landing", "shows"), [(1, 0), (2, 0), (1, 1)])
async def test_what_lands_all_the_time_does_not_fill_the_disk(
    store: Store, hands: Hands, landing: int, shows: int
) -> None:
    """So many images a second, and a look; what goes is free so many seconds later."""
    gone, free = [0] * shows, []
    keeper = bounded(store, room=lambda _: Room(50 * SIZE - disk(store) - sum(gone), 100 * SIZE))
    for number in range(0, 90, landing):
        await fetch(store, *range(number, number + landing))
        hands.wait(RECENT)
        wait_since_the_last(store, 1)
        before = disk(store)
        free.append(50 * SIZE - before - sum(gone))
        await keeper.enforce()
        gone = [*gone, before - disk(store)][len(gone) + 1 - shows :]
    assert min(free) >= 5 * SIZE, "the floor"
    assert disk(store) >= 25 * SIZE


# -- the task ----------------------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_BUSY", "_AFTER_FAILURE", "_REST"):
        monkeypatch.setattr(bounds, name, 0.005)
    for name in ("_TIMER", "_PATIENCE"):  # longer than a test waits: neither is what lets it go on
        monkeypatch.setattr(bounds, name, 60.0)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One for each look that has ended."""
    found: list[None] = []
    look = Bounds._look

    async def counted(keeper: Bounds) -> float:
        pause = await look(keeper)
        found.append(None)
        return pause

    monkeypatch.setattr(Bounds, "_look", counted)
    return found


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.002)


async def had_room(keeper: Bounds, repository: str = HUB) -> None:
    await asyncio.wait_for(keeper.await_room(repository), 10)


@pytest.mark.usefixtures("quick")
async def test_a_fetch_that_has_ended_is_looked_at(
    store: Store, looks: list[None], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "registry")
    keeper = bounded(store, Budget("@", 2 * SIZE))
    task = asyncio.create_task(keeper.keep())
    await until(lambda: bool(looks))
    await fetch(store, 1, 2, 3)
    await asyncio.sleep(0.05)
    assert disk(store) == 3 * SIZE
    keeper.look_soon()
    await until(lambda: bool(caplog.records))
    assert disk(store) == SIZE
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert [record.getMessage() for record in caplog.records] == [
        f"cache: 2 manifests went, {2 * SIZE} bytes freed and {SIZE} held, as more than 2000 bytes were held"
    ]


@pytest.mark.usefixtures("quick")
async def test_without_a_call_it_looks_on_a_timer(
    store: Store, looks: list[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "_TIMER", 0.01)
    task = asyncio.create_task(bounded(store, Budget("@", 2 * SIZE)).keep())
    await until(lambda: bool(looks))
    await fetch(store, 1, 2, 3)
    # What goes hangs on how much of the third image is here when it looks.
    await until(lambda: disk(store) <= 2 * SIZE)
    task.cancel()


@pytest.mark.usefixtures("quick")
async def test_nothing_ends_the_next_look(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(bounds, "_TIMER", 0.01)
    failing = [RuntimeError("a mistake"), IndexFailed("damaged"), StoreBusy("another"), OSError("disk")]
    looks: list[int] = []

    async def enforce(_: Bounds) -> None:
        looks.append(len(looks))
        if failing:
            raise failing.pop()

    monkeypatch.setattr(Bounds, "enforce", enforce)
    task = asyncio.create_task(bounded(store).keep())
    await until(lambda: len(looks) >= 6)
    assert not task.done()
    task.cancel()
    said = "what was fetched is kept within no bounds"
    assert [record.getMessage() for record in caplog.records] == [f"{said}: disk", f"{said}: damaged", said]


@pytest.mark.usefixtures("quick")
async def test_another_that_evicts_is_waited_for(store: Store) -> None:
    await fetch(store, 1, 2, 3)
    with held(store.layout.evict_lock, "another"):
        task = asyncio.create_task(bounded(store, Budget("@", 2 * SIZE)).keep())
        await asyncio.sleep(0.1)
        assert disk(store) == 3 * SIZE
    await until(lambda: disk(store) == SIZE)
    task.cancel()


# -- who waits for room -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
async def test_what_comes_next_waits_until_there_is_room(store: Store) -> None:
    await fetch(store, 1, 2, 3)
    keeper = bounded(store, Budget("@docker.io/", 2 * SIZE))
    waiting = [asyncio.create_task(keeper.await_room(HUB)) for _ in range(3)]
    await had_room(keeper, GHCR)  # of another upstream: it has no bounds
    await asyncio.sleep(0.05)
    assert not any(each.done() for each in waiting)
    task = asyncio.create_task(keeper.keep())
    await asyncio.wait_for(asyncio.gather(*waiting), 10)
    await until(lambda: disk(store) == SIZE)  # files go after the index has told so
    await had_room(keeper)
    task.cancel()


@pytest.mark.usefixtures("quick")
async def test_nobody_waits_for_what_only_counts_twice(store: Store) -> None:
    for number in (1, 2):
        await fetch(store, number)
        await fetch(store, number, repository=GHCR)
    keeper = bounded(store, Budget("@", 3 * SIZE))
    task = asyncio.create_task(keeper.keep())
    for _ in range(2):
        await had_room(keeper)
    assert kept(store, 1, 2) == [1, 2]
    task.cancel()


@pytest.mark.usefixtures("quick")
async def test_nobody_waits_for_ever(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "_PATIENCE", 0.3)
    await fetch(store, 1, 2, 3)
    keeper = bounded(store, Budget("@", 2 * SIZE))
    task = asyncio.create_task(keeper.keep())
    with held(store.layout.evict_lock, "a backup"):
        await had_room(keeper)
        assert disk(store) == 3 * SIZE
        await until(lambda: keeper._is_stuck)
        with monkeypatch.context() as patch:
            patch.setattr(Bounds, "_is_over", None)
            await had_room(keeper)  # it has been going on for too long: nobody asks how much there is
    await until(lambda: disk(store) == SIZE)
    task.cancel()


@pytest.mark.usefixtures("quick")
async def test_looks_that_fail_keep_nobody_waiting(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    async def enforce(_: Bounds) -> None:
        if failing:
            raise failing[0]

    monkeypatch.setattr(Bounds, "enforce", enforce)
    await fetch(store, 1, 2, 3)
    keeper = bounded(store, Budget("@", 2 * SIZE))
    failing: list[Exception] = [IndexFailed("damaged")]
    task = asyncio.create_task(keeper.keep())
    await had_room(keeper)
    failing.clear()
    keeper.look_soon()
    await until(lambda: not keeper._is_stuck)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(keeper.await_room(HUB), 0.1)
    task.cancel()


async def test_an_index_that_says_nothing_keeps_nobody_waiting(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def listed(_: Counts, budget: Budget) -> int:
        raise IndexFailed("damaged")

    monkeypatch.setattr(Counts, "listed", listed)
    await bounded(store, Budget("@", 2 * SIZE)).await_room(HUB)


# -- a whole cache -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
async def test_pulls_through_a_cache_that_is_too_small_all_go_well(
    tmp_path: Path, upstream: str, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forty images of 100 kB through a cache of 1 MB, one each second; the first of them again and again."""
    monkeypatch.setattr("registry.app._PULLS_TO_EVICT_BY", 0.005)  # while the store's time stands still
    name, count, budget = new_name(), 40, 1_000_000
    config, layers = b"{}", [blob(100_000, number) for number in range(count)]
    table = read_upstreams([{"name": "up.example", "url": f"http://{upstream}"}])
    root = str(tmp_path / "root")
    settings = Settings(root, access_log=False, upstream=table, cache_size=budget)
    most = 0
    with closing(open_store(settings.root, durable=False, machine=hands.machine)) as store:
        app = build(store, settings)
        async with app.lifespan_context(app), connect_app(app) as client:
            async with httpx.AsyncClient(base_url=f"http://{upstream}") as origin:
                await push_blob(origin, name, config)
                for number, each in enumerate(layers):
                    await push_blob(origin, name, each)
                    raw = image(descriptor(config, OCI_CONFIG), [descriptor(each)])
                    await push_manifest(origin, name, raw, f"v{number}")
            for number in range(count):
                for tag in (0, number):
                    answer = await client.get(f"/v2/up.example/{name}/manifests/v{tag}")
                    assert answer.status_code == 200
                    for each in (config, layers[tag]):
                        target = f"/v2/up.example/{name}/blobs/{Digest.of(each)}"
                        assert (await client.get(target)).content == each
                most = max(most, disk(store))
                assert here(store, layers[0])
                await asyncio.sleep(0.02)
                hands.wait(1)
            await until(lambda: disk(store) <= budget)
    assert most <= budget + 5 * 100_000


async def test_a_read_only_service_keeps_what_it_fetches_within_bounds(store: Store, hands: Hands) -> None:
    """Pulls of others' images go on there, and are kept."""
    await fetch(store, 1, 2, 3, 4, 5)
    hands.wait(RECENT + 1)
    settings = Settings(store.layout.root, upstream=read_upstreams(TABLES), read_only=True)
    app = build(store, settings)
    async with app.lifespan_context(app):
        await until(lambda: disk(store) <= 3 * SIZE)
