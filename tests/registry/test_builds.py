"""Build caches kept small: which tags go over a size, and that the passes go on whatever happens."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from registry import builds
from registry.app import build
from registry.build_caches import BuildCache, superseded_of
from registry.builds import keep_builds, trim
from registry.changes import Change, Guard, TagMoved
from registry.gc import rules_of
from registry.guards.immutable_tags import ImmutableTags
from registry.settings import Settings
from storage.digest import Digest
from storage.errors import IndexFailed, StoreBusy, StoreFull
from storage.garbage import DAY, Report, Rules, keep_a_month
from storage.store import Store, open_store
from tests.storage.fetching import fetch_image, here
from tests.storage.hands import Hands
from tests.storage.pushing import edge, push_blob, push_manifest

GRACE, SIZE = 600, 1000
CACHE = BuildCache(("cache/*",), GRACE, 3 * SIZE + 600)
CACHES = (BuildCache(("cache/other",), GRACE), CACHE)
BASE = b"base" * 100


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def store(tmp_path: Path, hands: Hands) -> Iterator[Store]:
    with closing(open_store(str(tmp_path / "root"), durable=False, machine=hands.machine)) as store:
        yield store


def layer(name: str) -> bytes:
    return name.encode().ljust(SIZE, b".")


async def export(store: Store, tag: str, name: str = "", repository: str = "cache/app") -> Digest:
    """One layer of its own, and the base."""
    own = layer(name or f"{repository}:{tag}")
    for content in (BASE, own):
        await push_blob(store, repository, content)
    raw = Digest.of(own).binary
    await push_manifest(store, repository, raw, [edge(BASE), edge(own)], [tag])
    return Digest.of(raw)


async def tags(store: Store, repository: str = "cache/app") -> list[str]:
    return await store.names.listings.tags(repository, after="", limit=99)


async def cut(
    store: Store, *guards: Guard, tell: Callable[[Change], None] = lambda _: None
) -> list[tuple[str, str]]:
    applied = await trim(store, CACHES, CACHE, guards, tell)
    return [(repository, tag.name) for repository, tag in applied.removed]


async def four_refs(store: Store, hands: Hands) -> None:
    """The second is pulled at the end; four layers are too many by one."""
    for tag in "abcd":
        await export(store, tag)
        hands.wait(GRACE)
    pulled = Digest.of(Digest.of(layer("cache/app:b")).binary)
    await store.names.manifests.note_pulls([("cache/app", pulled)])
    hands.wait(GRACE + 1)


async def test_the_refs_that_were_used_least_recently_go(store: Store, hands: Hands) -> None:
    await four_refs(store, hands)
    told: list[Change] = []
    assert await cut(store, tell=told.append) == [("cache/app", "a")]
    assert await tags(store) == ["b", "c", "d"]
    assert [(type(change), change.repository) for change in told] == [(TagMoved, "cache/app")]
    assert await cut(store) == [], "what is on its way out counts no more"
    (last, *_) = await store.names.listings.moves("cache/app", "a", limit=9)
    assert (last.new, last.who) == (None, "build cache")


async def test_what_goes_anyway_is_no_reason_to_take_more(store: Store, hands: Hands) -> None:
    for name in ("1", "2", "3", "4"):
        await export(store, "main", name)
        hands.wait(GRACE)
    await push_blob(store, "cache/app", layer("of an export that is on its way"))
    assert await cut(store) == []


async def test_what_was_just_used_stays_however_large(store: Store, hands: Hands) -> None:
    for tag in "abcdef":
        await export(store, tag)
    hands.wait(GRACE)
    assert await cut(store) == []
    hands.wait(1)
    assert await cut(store) == [("cache/app", tag) for tag in "abc"]


async def test_all_repositories_of_an_entry_share_its_size(store: Store, hands: Hands) -> None:
    for number, repository in enumerate(("cache/app", "cache/b", "cache/other", "cache/c", "app", "cache/d")):
        await export(store, f"t{number}", repository=repository)
        hands.wait(1)
    await fetch_image(store, "@docker.io/cache/x", b"fetched", [layer("fetched")], ["t"])
    hands.wait(GRACE + 1)
    assert await cut(store) == [("cache/app", "t0")], "cache/other has an entry of its own"


async def test_layers_that_the_image_itself_has_count_nothing(store: Store, hands: Hands) -> None:
    await four_refs(store, hands)
    await push_blob(store, "app", layer("cache/app:d"))
    assert await cut(store) == []


async def test_tags_that_are_protected_stay(store: Store, hands: Hands) -> None:
    await four_refs(store, hands)
    assert await cut(store, ImmutableTags(["cache/*:a"])) == []
    assert await tags(store) == ["a", "b", "c", "d"]


async def test_without_a_size_nothing_is_taken(store: Store, hands: Hands) -> None:
    await four_refs(store, hands)
    caches = (BuildCache(("cache/*",), GRACE),)
    assert (await trim(store, caches, caches[0], ())).removed == []


# -- the passes --------------------------------------------------------------------------------------------


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.002)


def rules() -> Rules:
    return rules_of(grace=DAY, untagged=keep_a_month, superseded=superseded_of(CACHES))


@dataclass(slots=True)
class Passes:
    """Those that were made; `failing` are raised first, one in each."""

    failing: list[Exception]
    made: int = 0

    async def collect_in(
        self,
        store: Store,
        rules: Rules,
        chosen: Callable[[str], bool],
        *,
        first: Callable[[], Awaitable[object]],
        pause: float,
        every: float,
    ) -> Report:
        assert chosen("cache/app")
        assert not chosen("app")
        assert every > 0
        self.made += 1
        if self.failing:
            raise self.failing.pop()
        await first()
        return Report()


async def nothing() -> None: ...


@asynccontextmanager
async def keeping(store: Store, flush: Callable[[], Awaitable[None]] = nothing) -> AsyncIterator[None]:
    task = asyncio.create_task(keep_builds(store, CACHES, rules(), (), lambda _: None, flush))
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builds, "_LONGEST", 0.01)
    monkeypatch.setattr(builds, "_SOONEST", 0.01)


@pytest.mark.usefixtures("quick")
async def test_nothing_ends_the_next_pass(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failing = [RuntimeError("a mistake"), IndexFailed("damaged"), StoreBusy("another"), OSError("disk")]
    passes = Passes(failing)
    monkeypatch.setattr(builds, "collect_in", passes.collect_in)
    async with keeping(store):
        await until(lambda: passes.made >= 6)
    texts = [record.getMessage() for record in caplog.records]
    said = "build caches are not kept small"
    assert texts == [f"{said}: disk", f"{said}: damaged", said]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("full", "gone"), [(False, "c"), (True, "a")], ids=["noted", "not to be noted"])
async def test_what_was_just_pulled_is_noted_first(full: bool, gone: str, store: Store, hands: Hands) -> None:
    """Or a cache that is being imported would look as if nobody used it."""
    await four_refs(store, hands)
    pulled = Digest.of(Digest.of(layer("cache/app:a")).binary)

    async def flush() -> None:
        if full:
            raise StoreFull(0)
        await store.names.manifests.note_pulls([("cache/app", pulled)])

    async with keeping(store, flush), asyncio.timeout(10):
        while len(left := await tags(store)) == 4:
            await asyncio.sleep(0.02)
    assert {*"abcd"} - {*left} == {gone}


async def test_workers_share_the_passes(
    tmp_path: Path, store: Store, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four make as many as one would."""
    monkeypatch.setattr(builds, "_LONGEST", 0.1)
    passes: list[Store] = []
    async with AsyncExitStack() as stack:
        others = [
            stack.enter_context(closing(open_store(str(tmp_path / "root"), machine=hands.machine)))
            for _ in range(3)
        ]
        begun = time.monotonic()
        for each in (store, *others):

            async def flush(each: Store = each) -> None:
                passes.append(each)

            await stack.enter_async_context(keeping(each, flush))
            await asyncio.sleep(0.02)  # or all would come at once, and find one at it
        await until(lambda: len(passes) >= 8)
        assert time.monotonic() - begun > 7 * 0.09  # files count time in steps of up to 10 ms


@pytest.mark.usefixtures("quick")
async def test_refs_that_are_too_many_go_with_their_content(
    store: Store, hands: Hands, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "registry")
    await four_refs(store, hands)
    gone, kept = layer("cache/app:a"), layer("cache/app:b")
    async with keeping(store):
        await until(lambda: len(caplog.records) == 1)
        assert here(store, gone) == [gone]
        async with asyncio.timeout(10):
            while here(store, gone):
                hands.wait(GRACE)
                await asyncio.sleep(0.05)
        await until(lambda: len(caplog.records) == 2)
    assert here(store, BASE, kept) == [BASE, kept]
    assert [record.getMessage() for record in caplog.records] == [
        "build caches: 1 tags went, as more than 3600 bytes were held",
        f"build caches: 1 manifests and 1 blobs went, {SIZE + 33} bytes freed",
    ]


@pytest.mark.parametrize(
    ("given", "kept"),
    [({"build_cache": CACHES}, True), ({"build_cache": CACHES, "gc": False}, False), ({}, False)],
)
async def test_the_settings_switch_it(
    store: Store, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], kept: bool
) -> None:
    begun: list[tuple[Sequence[BuildCache], int | None]] = []

    async def keep(store: Store, caches: Sequence[BuildCache], rules: Rules, *_: object) -> None:
        begun.append((caches, rules.superseded("cache/app")))

    monkeypatch.setattr("registry.app.keep_builds", keep)
    app = build(store, Settings(root=store.layout.root, **given))
    async with app.lifespan_context(app):
        await asyncio.sleep(0.02)
    assert begun == ([(CACHES, GRACE)] if kept else [])
