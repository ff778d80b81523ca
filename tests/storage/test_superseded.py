"""Where tags are written anew all the time: what was superseded goes after a grace of its own."""

import itertools
import os
import time
from collections.abc import Sequence

import pytest

from storage.collect import collect, collect_in
from storage.digest import Digest
from storage.errors import BlobMissing, StoreBusy
from storage.garbage import HOUR, Rules
from storage.locks import held
from storage.manifest_rows import EdgeKind
from storage.store import Store
from tests.storage.conftest import Opener
from tests.storage.hands import Hands
from tests.storage.pushing import begin, edge, push_blob, push_manifest

GRACE = 600
SHARED, OLD, NEW = b"shared", b"old", b"new"
KINDS = [EdgeKind.LAYER, EdgeKind.CHILD]  # of an image manifest; of the index that BuildKit wrote before


def is_build_cache(name: str) -> bool:
    return name.startswith("cache/")


def grace_of(name: str) -> int | None:
    return GRACE if is_build_cache(name) else None


RULES = Rules(superseded=grace_of)


@pytest.fixture
def hands() -> Hands:
    return Hands(wall=time.time())


@pytest.fixture
def store(opener: Opener, hands: Hands) -> Store:
    return opener(durable=False, machine=hands.machine)


async def export(
    store: Store,
    layers: Sequence[bytes],
    *,
    repository: str = "cache/app",
    tag: str = "main",
    kind: EdgeKind = EdgeKind.LAYER,
) -> Digest:
    """As BuildKit does it: blobs that are not here, then the manifest."""
    for layer in layers:
        try:
            found = await store.names.links.find(repository, Digest.of(layer))
        except BlobMissing:
            await push_blob(store, repository, layer)
        else:
            if found.marked:
                await store.names.links.keep(repository, Digest.of(layer))
    raw = b"manifest of " + Digest.of(b",".join(layers)).binary
    await push_manifest(store, repository, raw, [edge(layer, kind) for layer in layers], [tag])
    return Digest.of(raw)


async def a_pass(store: Store) -> None:
    await collect_in(store, RULES, is_build_cache)


def has(store: Store, content: bytes | Digest) -> bool:
    digest = content if isinstance(content, Digest) else Digest.of(content)
    return store.blobs.size(digest) is not None


def held_bytes(store: Store) -> int:
    return sum(os.stat(entry.path).st_size for _, entry in store.blobs.walk())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("whole", [False, True])
async def test_it_goes_with_what_it_alone_named(
    store: Store, hands: Hands, kind: EdgeKind, whole: bool
) -> None:
    """Although uploads go on; by the collection of everything as by the quick pass."""
    old = await export(store, [SHARED, OLD], kind=kind)
    await export(store, [SHARED, NEW], kind=kind)
    for _ in range(4):
        await (collect(store, RULES) if whole else a_pass(store))
        assert has(store, old)
        assert has(store, OLD)
        hands.wait(GRACE // 4 + 1)
        await push_blob(store, "cache/app", b"on the way")
    await (collect(store, RULES) if whole else a_pass(store))
    assert not has(store, old)
    assert not has(store, OLD)
    assert has(store, SHARED)
    assert has(store, NEW)


async def test_two_tags_of_one_manifest_are_two_reasons_to_stay(store: Store, hands: Hands) -> None:
    old = await export(store, [SHARED, OLD])
    await export(store, [SHARED, OLD], tag="other")
    await export(store, [SHARED, NEW])
    for _ in range(6):
        await a_pass(store)
        hands.wait(GRACE)
    assert has(store, old)
    assert has(store, OLD)


async def test_other_repositories_are_as_ever(store: Store, hands: Hands) -> None:
    for repository in ("app", "cache/app"):
        await export(store, [OLD, b"of " + repository.encode()], repository=repository)
        await export(store, [NEW], repository=repository)
    await push_blob(store, "app", b"loose")
    for _ in range(4):
        await a_pass(store)
        hands.wait(GRACE)
    assert has(store, OLD)
    assert has(store, b"loose")
    assert has(store, b"of app")
    assert not has(store, b"of cache/app")


async def test_an_export_on_its_way_loses_nothing(store: Store, hands: Hands) -> None:
    """It takes six graces, and brings a blob in each half."""
    await export(store, [OLD])
    layers = [b"layer %d" % number for number in range(12)]
    for layer in layers:
        await push_blob(store, "cache/app", layer)
        await a_pass(store)
        hands.wait(GRACE / 2)
    assert has(store, await export(store, layers))
    assert all(has(store, layer) for layer in layers)


async def test_what_was_told_to_be_here_is_for_a_whole_grace(store: Store, hands: Hands) -> None:
    """Two exports at once: the other one supersedes what this one has been told of."""
    await export(store, [OLD])
    await export(store, [NEW])
    await a_pass(store)
    hands.wait(GRACE - 1)
    await a_pass(store)
    assert (await store.names.links.find("cache/app", Digest.of(OLD))).marked
    await store.names.links.keep("cache/app", Digest.of(OLD))
    for _ in range(3):
        await a_pass(store)
        hands.wait(GRACE / 4)
    digest = await export(store, [OLD, b"mine"])
    hands.wait(GRACE + 2)
    await a_pass(store)
    assert has(store, digest)
    assert has(store, OLD)


async def test_a_long_upload_is_waited_for_with_patience(store: Store, hands: Hands) -> None:
    old = await export(store, [OLD])
    upload = await begin(store, b"a large layer")
    await store.names.sessions.begin(upload, "cache/app", "", "sha256")
    await store.database.write(lambda connection: connection.execute("UPDATE uploads SET started = 0"))
    await export(store, [NEW])
    await a_pass(store)
    hands.wait(3 * GRACE)
    await a_pass(store)
    assert has(store, old)
    hands.wait(2)
    await a_pass(store)
    assert not has(store, old)
    assert store.uploads.exists(upload)


async def test_a_hundred_exports_stay_within_twice_one(store: Store, hands: Hands) -> None:
    """One a minute, each with a tenth of it new, at a grace of two minutes."""
    rules = Rules(superseded=lambda _: 120)
    numbers = itertools.count()

    def layer() -> bytes:
        return b"%09d" % next(numbers) * 100

    shared, layers = b"base" * 100, [layer() for _ in range(10)]
    most = 0
    for round_ in range(100):
        layers[round_ % 10] = layer()
        await export(store, [shared, *layers])
        for _ in range(2):
            await collect_in(store, rules, is_build_cache)
            hands.wait(30)
        most = max(most, held_bytes(store))
    one = sum(map(len, layers))
    assert one < most <= 2 * one + len(shared)
    assert all(has(store, each) for each in (shared, *layers))


async def test_one_collects_at_a_time(store: Store) -> None:
    with held(store.layout.gc_lock, "a collection"), pytest.raises(StoreBusy):
        await a_pass(store)


async def test_a_pass_soon_after_another_is_left_out(store: Store) -> None:
    """Whoever made that one; not for a time that has not come yet, as where the clock was set back."""
    made: list[float] = []

    async def note() -> None:
        made.append(ago)

    for ago in (0.0, 50.0, 61.0, -50.0):
        with held(store.layout.gc_lock, "a test"):
            os.utime(store.layout.gc_lock, (time.time() - ago,) * 2)
        await collect_in(store, RULES, is_build_cache, first=note, every=60)
    assert made == [61.0, -50.0]
    await collect_in(store, RULES, is_build_cache, first=note, every=60)
    assert made == [61.0, -50.0], "the last one has just ended"
    await collect_in(store, RULES, is_build_cache, first=note)
    assert len(made) == 3


async def test_what_comes_first_is_done_by_the_one_who_collects(store: Store, hands: Hands) -> None:
    old = await export(store, [OLD])

    async def remove() -> None:
        await store.names.manifests.remove_tag("cache/app", "main", check=lambda *_: None)

    await collect_in(store, RULES, is_build_cache, first=remove)
    hands.wait(GRACE + 2)
    assert HOUR > GRACE
    report = await collect_in(store, RULES, is_build_cache)
    assert (report.manifests, report.blobs) == (1, 1)
    assert not has(store, old)
