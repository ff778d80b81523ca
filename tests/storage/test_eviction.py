"""Evicting: who goes, who stays whatever is asked for, and that nothing which stays lacks a part."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage import eviction
from storage.collect import collect, collect_in
from storage.database import Connection
from storage.digest import Digest
from storage.errors import BlobMissing, IndexFailed, ManifestMissing, StoreBusy
from storage.eviction import RECENT, Evicted, Evictor
from storage.files import temporary_root
from storage.garbage import DAY, Rules
from storage.holdings import Holdings
from storage.least_used import Choice, least_used
from storage.locks import held
from storage.rows import is_fetched
from storage.store import Store, open_store
from tests.storage.conftest import Opener
from tests.storage.fetching import (
    disk,
    fetch_image,
    fetch_index,
    held_by_fetched,
    here,
    insist,
    pull,
)
from tests.storage.hands import Hands
from tests.storage.pushing import edge, push_blob, push_manifest

HUB, OTHER = "@docker.io/library/app", "@ghcr.io/app"
ONE, TWO, THREE = b"image 1" * 10, b"image 2" * 10, b"image 3" * 10
BASE, TOP_1, TOP_2, TOP_3 = b"base" * 100, b"1" * 300, b"2" * 300, b"3" * 300


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def store(opener: Opener, hands: Hands) -> Store:
    return opener(durable=False, machine=hands.machine)


async def evict(
    store: Store, most: int, *, chosen: Callable[[str], bool] = is_fetched, spare: bool = False
) -> Evicted:
    return await Evictor(store).make_room(chosen, is_fetched, lambda _: most, spare=spare)


async def three_images(store: Store, hands: Hands) -> None:
    """1 came first and was pulled last, 2 is older than 3."""
    for raw, top in ((ONE, TOP_1), (TWO, TOP_2), (THREE, TOP_3)):
        await fetch_image(store, HUB, raw, [BASE, top], [top.decode()[:1]])
        hands.wait(10)
    await pull(store, HUB, ONE)
    hands.wait(RECENT + 1)


async def tags(store: Store, repository: str) -> list[str]:
    return await store.names.listings.tags(repository, after="", limit=99)


async def test_the_least_recently_pulled_makes_room(store: Store, hands: Hands) -> None:
    await three_images(store, hands)
    whole = await held_by_fetched(store)
    assert whole == disk(store)
    report = await evict(store, whole - 1)
    assert here(store, ONE, TWO, THREE, BASE, TOP_1, TOP_2, TOP_3) == [ONE, THREE, BASE, TOP_1, TOP_3]
    assert await tags(store, HUB) == ["1", "3"]
    assert report == Evicted(manifests=1, freed=len(TWO + TOP_2), left=whole - len(TWO + TOP_2))
    assert disk(store) == report.left == await held_by_fetched(store)
    (last, _) = await store.names.listings.moves(HUB, "2", limit=9)
    assert (last.old, last.new, last.who) == (Digest.of(TWO), None, "eviction")


async def test_all_goes_if_it_must_and_the_repository_with_it(store: Store, hands: Hands) -> None:
    await three_images(store, hands)
    await push_blob(store, OTHER, b"loose")
    report = await evict(store, 0)
    assert (report.manifests, report.left, disk(store)) == (3, 0, 0)
    assert await store.names.listings.repositories(after="", limit=9) == []


async def test_enough_room_is_left_as_it_is(store: Store, hands: Hands) -> None:
    await three_images(store, hands)
    whole = await held_by_fetched(store)
    assert await evict(store, whole) == Evicted(left=whole)


async def test_an_upstream_makes_room_in_its_own_alone(store: Store, hands: Hands) -> None:
    await three_images(store, hands)
    await fetch_image(store, OTHER, b"other", [BASE, b"other top"])
    report = await evict(store, 0, chosen=lambda name: name.startswith("@docker.io/"))
    assert report.left == 0
    assert here(store, ONE, TWO, THREE, TOP_1, BASE, b"other") == [BASE, b"other"]


async def test_what_was_pushed_stays_whatever_it_shares(store: Store, hands: Hands) -> None:
    await three_images(store, hands)
    await push_blob(store, "team/app", TOP_2)
    await push_manifest(store, "team/app", b"pushed", [edge(TOP_2)], ["t"])
    await push_manifest(store, "team/app", TWO, [], ["u"])
    whole = await held_by_fetched(store)
    assert whole == disk(store) - len(TOP_2 + TWO + b"pushed"), "what stays anyway counts nothing"
    await evict(store, 0)
    assert here(store, ONE, TWO, BASE, TOP_2, b"pushed") == [TWO, TOP_2, b"pushed"]
    assert (await store.names.links.find("team/app", Digest.of(TOP_2))).size == len(TOP_2)
    assert await tags(store, "team/app") == ["t", "u"]


async def test_an_index_of_which_a_part_was_fetched_goes_as_one(store: Store, hands: Hands) -> None:
    await fetch_image(store, HUB, ONE, [BASE])
    await fetch_index(store, HUB, b"index", [ONE, b"of another platform"], ["i"])
    hands.wait(5)
    await fetch_image(store, HUB, TWO, [TOP_2], ["t"])
    hands.wait(RECENT + 1)
    await evict(store, disk(store) - 1)
    assert here(store, b"index", ONE, BASE, TWO, TOP_2) == [TWO, TOP_2]
    rows = await store.database.read(lambda connection: connection.execute("SELECT * FROM blobs").fetchall())
    assert len(rows) == 2, "what was only ever named is forgotten"


async def test_what_refers_to_an_image_goes_with_it(store: Store, hands: Hands) -> None:
    await fetch_image(store, HUB, ONE, [BASE], ["t"])
    await fetch_image(store, HUB, b"signature", [TOP_1], subject=ONE)
    await fetch_image(store, HUB, TWO, [TOP_2], ["u"])
    hands.wait(5)
    await pull(store, HUB, TWO)
    await evict(store, disk(store) - 1)
    assert here(store, ONE, BASE, b"signature", TOP_1, TWO, TOP_2) == [TWO, TOP_2]


@pytest.mark.parametrize(("spare", "left"), [(True, [TWO, TOP_2]), (False, [])])
async def test_what_was_just_used_can_be_spared(
    store: Store, hands: Hands, spare: bool, left: list[bytes]
) -> None:
    await fetch_image(store, HUB, ONE, [TOP_1])
    hands.wait(RECENT + 1)
    await fetch_image(store, HUB, TWO, [TOP_2])
    report = await evict(store, 0, spare=spare)
    assert here(store, ONE, TOP_1, TWO, TOP_2) == left
    assert report.left == sum(map(len, left))


async def test_an_open_blob_is_served_to_its_end(store: Store, hands: Hands) -> None:
    await fetch_image(store, HUB, ONE, [BASE])
    async with store.blobs.open(Digest.of(BASE)) as file:
        await evict(store, 0)
        assert here(store, BASE) == []
        assert b"".join([chunk async for chunk in file.chunks(0, file.size)]) == BASE


async def pull_it(store: Store, hands: Hands) -> None:
    await pull(store, HUB, TWO)


async def fetch_it_again(store: Store, hands: Hands) -> None:
    await fetch_image(store, HUB, TWO, [])


async def move_a_tag(store: Store, hands: Hands) -> None:
    await store.names.manifests.move_tag(
        HUB, "new", Digest.of(TWO), file_size=store.blobs.size, check=lambda *_: None
    )


async def name_it_in_an_index(store: Store, hands: Hands) -> None:
    await fetch_index(store, HUB, b"index", [TWO])


@pytest.mark.parametrize("use", [pull_it, fetch_it_again, move_a_tag, name_it_in_an_index])
async def test_what_is_used_after_the_decision_stays_and_another_goes(
    store: Store,
    hands: Hands,
    monkeypatch: pytest.MonkeyPatch,
    use: Callable[[Store, Hands], object],
) -> None:
    await three_images(store, hands)
    loop, begun = asyncio.get_running_loop(), list[Choice]()

    def choose(holdings: Holdings, leave: int, *, since: int, spare: bool) -> Choice:
        choice = least_used(holdings, leave, since=since, spare=spare)
        if not begun:
            coroutine = use(store, hands)
            assert asyncio.iscoroutine(coroutine)
            asyncio.run_coroutine_threadsafe(coroutine, loop).result(10)
        begun.append(choice)
        return choice

    monkeypatch.setattr(eviction, "least_used", choose)
    report = await evict(store, disk(store) - 1)
    assert len(begun) == 2
    assert begun[0].manifests != begun[1].manifests
    assert here(store, ONE, TWO, THREE, BASE, TOP_1, TOP_2, TOP_3) == [ONE, TWO, BASE, TOP_1, TOP_2]
    assert report.manifests == 1


async def test_one_evicts_at_a_time_and_a_collection_holds_none_up(store: Store, hands: Hands) -> None:
    await three_images(store, hands)
    with held(store.layout.evict_lock, "another"), pytest.raises(StoreBusy, match="another process evicts"):
        await evict(store, 0)
    with held(store.layout.gc_lock, "a collection"):
        await evict(store, 0)
    assert disk(store) == 0


async def test_an_id_that_a_push_has_taken_over_is_left_alone(
    store: Store, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The evictor has looked; a collection takes the same, and the next push gets the ids of all of it."""
    loose, pushed = b"loose" * 100, b"pushed" * 100
    await fetch_image(store, HUB, ONE, [BASE])
    await push_blob(store, OTHER, loose)
    await collect(store, Rules())
    hands.wait(3 * DAY)

    def query(connection: Connection) -> list[tuple[int, int]]:
        sql = "SELECT repository, blob FROM links WHERE repository = (SELECT max(id) FROM repositories)"
        return connection.execute(sql).fetchall()

    async def collect_and_push(*_: object) -> None:
        before = await store.database.read(query)
        assert (await collect(store, Rules())).repositories == 1
        await push_blob(store, "team/app", pushed)
        assert await store.database.read(query) == before

    monkeypatch.setattr(Evictor, "_require_sound_index", collect_and_push)
    await evict(store, 10)
    assert here(store, ONE, BASE, loose, pushed) == [pushed]
    assert await push_manifest(store, "team/app", b"manifest", [edge(pushed)], ["v"])


async def test_nothing_goes_by_a_damaged_index(
    store: Store, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    await three_images(store, hands)
    monkeypatch.setattr("storage.removal._CHECK", "SELECT 'row 1 missing from index links_blob'")
    with pytest.raises(IndexFailed, match="row 1 missing"):
        await evict(store, 0)
    assert here(store, ONE, TWO, THREE) == [ONE, TWO, THREE]


async def test_the_index_is_looked_at_once_an_hour(
    store: Store, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[Connection] = []
    monkeypatch.setattr(eviction, "require_sound_index", looks.append)
    evictor = Evictor(store)
    for number in range(3):
        await fetch_image(store, HUB, b"%d" % number)
        await evictor.make_room(is_fetched, is_fetched, lambda _: 0)
    assert len(looks) == 1


# -- whatever is there -------------------------------------------------------------------------------------

LAYERS = [b"layer %d " % number * (number + 1) * 5 for number in range(6)]
images = st.lists(
    st.tuples(
        st.sampled_from([HUB, OTHER, "team/app"]),
        st.lists(st.sampled_from(LAYERS), max_size=4, unique=True),
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=6,
)


@pytest.fixture(scope="module")
def standing() -> Iterator[tuple[Store, Hands]]:
    """For all examples: a first start takes longer than one of them."""
    hands = Hands()
    with (
        temporary_root() as folder,
        closing(open_store(f"{folder}/root", durable=False, machine=hands.machine)) as store,
    ):
        yield store, hands


Content = Mapping[tuple[str, bytes], set[bytes]]
"""Manifests by repository and digest, each with what it names and has."""


def content(connection: Connection) -> Content:
    sql = (
        "SELECT name, manifests.digest, blobs.digest FROM manifests"
        " JOIN repositories ON repositories.id = manifests.repository"
        " LEFT JOIN edges ON edges.repository = manifests.repository AND parent = manifests.blob"
        " AND (EXISTS (SELECT 1 FROM links WHERE links.repository = edges.repository AND links.blob = child)"
        " OR EXISTS (SELECT 1 FROM manifests AS held WHERE held.repository = edges.repository"
        " AND held.blob = child))"
        " LEFT JOIN blobs ON blobs.id = child AND state = 1"
    )
    found: dict[tuple[str, bytes], set[bytes]] = {}
    for name, manifest, named in connection.execute(sql).fetchall():
        found.setdefault((name, manifest), set()).update({named} if named else ())
    return found


def with_files(store: Store, found: Content) -> bool:
    digests = [digest for (_, manifest), named in found.items() for digest in (manifest, *named)]
    return all(store.blobs.size(Digest.from_binary(digest)) is not None for digest in digests)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(images=images, pulled=st.sets(st.integers(0, 5)), index=st.booleans(), share=st.floats(0, 1))
async def test_what_stays_lacks_nothing(
    standing: tuple[Store, Hands],
    images: Sequence[tuple[str, Sequence[bytes], int]],
    pulled: set[int],
    index: bool,
    share: float,
) -> None:
    """Images come to those of the examples before, some are pulled; then some part has to go."""
    store, hands = standing
    raws = [b"%d %s" % (tag, b"".join(layers)) for _, layers, tag in images]
    for (repository, layers, tag), raw in zip(images, raws, strict=True):
        hands.wait(tag)
        await fetch_image(store, repository, raw, layers, [f"t{tag}"])
    if index:
        await fetch_index(store, images[0][0], b"index of " + b"".join(raws), raws, ["i"])
    for number in pulled & set(range(len(images))):
        hands.wait(1)
        await pull(store, images[number][0], raws[number])
    before = await store.database.read(content)
    most = int(share * await held_by_fetched(store))
    await evict(store, most)
    after = await store.database.read(content)
    assert await held_by_fetched(store) <= most
    assert with_files(store, after)
    assert all(after[key] == before[key] for key in after)
    assert {key for key in before if not is_fetched(key[0])} <= after.keys()


# -- beside others -----------------------------------------------------------------------------------------


async def until(end: float, act: Callable[[random.Random], Awaitable[None]], seed: int) -> None:
    chance = random.Random(seed)
    while time.monotonic() < end:
        await act(chance)
        await asyncio.sleep(0)


async def test_pulls_fetches_pushes_and_collections_beside_it(store: Store) -> None:
    """An image is whole for whoever has just fetched it or holds it open; no push loses what it was told."""
    tops = [b"top %d" % number * 500 for number in range(12)]

    async def fetch(chance: random.Random) -> None:
        number = chance.randrange(12)
        repository = chance.choice([HUB, OTHER])
        await fetch_image(store, repository, b"image %d" % number, [BASE, tops[number]], [f"t{number}"])

    async def pull_one(chance: random.Random) -> None:
        raw = b"image %d" % chance.randrange(12)
        with suppress(ManifestMissing, BlobMissing):  # a cache fetches it again then
            row = await store.names.manifests.find(HUB, Digest.of(raw))
            assert await store.blobs.read(row.digest) == raw
            await pull(store, HUB, raw)
            async with store.blobs.open(Digest.of(BASE)) as file:
                assert b"".join([chunk async for chunk in file.chunks(0, file.size)]) == BASE

    async def push(chance: random.Random) -> None:
        top = chance.choice(tops)
        await insist(lambda: push_blob(store, "team/app", top))
        await insist(lambda: push_manifest(store, "team/app", b"of " + top, [edge(top)]))
        assert await store.blobs.read(Digest.of(top)) == top

    async def evict_some(chance: random.Random) -> None:
        await evict(store, chance.randrange(30_000))

    async def collect_some(chance: random.Random) -> None:
        await collect_in(store, Rules(grace=0), is_fetched)
        await collect(store, Rules(), walk=chance.random() < 0.1)

    end = time.monotonic() + 1.5
    acts = [fetch, fetch, pull_one, pull_one, push, evict_some, collect_some]
    await asyncio.gather(*(until(end, act, seed) for seed, act in enumerate(acts)))
    found = await store.database.read(content)
    assert with_files(store, found)
    rows = await store.database.read(
        lambda connection: connection.execute(
            "SELECT count(*), sum(size) FROM blobs WHERE state = 1"
        ).fetchall()
    )
    assert rows == [(sum(1 for _ in store.blobs.walk()), disk(store))]
    assert {name for name, _ in found} >= {"team/app"}


async def test_what_is_left_counts_what_would_not_go(
    store: Store, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where it is pulled at every attempt."""
    await three_images(store, hands)
    monkeypatch.setattr(eviction, "_drop_manifest", lambda *_: False)
    report = await evict(store, 0)
    assert report == Evicted(left=disk(store))
