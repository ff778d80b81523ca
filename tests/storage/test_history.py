"""How tags moved: every move once and in order, written with the move or not at all, and a bounded number."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from storage.digest import Digest
from storage.errors import ManifestMissing, StorageError
from storage.history import KEPT, Move
from storage.repositories import remove_repository
from storage.store import Store
from tests.storage.plans import plans_of
from tests.storage.pushing import allow, push_manifest

ONE, TWO = Digest.of(b"one"), Digest.of(b"two")
Step = Callable[[Store], Awaitable[object]]


def put(raw: bytes, *tags: str, repository: str = "a", who: str = "") -> Step:
    return lambda store: push_manifest(store, repository, raw, tags=tags, who=who)


def remove(digest: Digest, who: str = "") -> Step:
    return lambda store: store.names.manifests.remove(
        "a", digest, even_if_referenced=False, check=allow, who=who
    )


def remove_tag(tag: str, who: str = "") -> Step:
    return lambda store: store.names.manifests.remove_tag("a", tag, check=allow, who=who)


def move(tag: str, digest: Digest, who: str = "") -> Step:
    return lambda store: store.names.manifests.move_tag(
        "a", tag, digest, file_size=store.blobs.size, check=allow, who=who
    )


def drop(who: str = "") -> Step:
    return lambda store: remove_repository(store.database, "a", who=who)


async def history(
    store: Store, tag: str | None = None, *, repository: str = "a", limit: int = 1000
) -> list[Move]:
    return await store.names.listings.moves(repository, tag, limit=limit)


Told = tuple[str, Digest | None, Digest | None, str]


async def told(store: Store) -> list[Told]:
    return [(each.tag, each.old, each.new, each.who) for each in await history(store)]


STORIES: dict[str, tuple[list[Step], list[Told]]] = {
    "pushed by digest": ([put(b"one")], []),
    "pushed": ([put(b"one", "t", who="ann")], [("t", None, ONE, "ann")]),
    "pushed by nobody known": ([put(b"one", "t")], [("t", None, ONE, "")]),
    "pushed again": ([put(b"one", "t", who="ann"), put(b"one", "t", who="bob")], [("t", None, ONE, "ann")]),
    "moved": (
        [put(b"one", "t", who="ann"), put(b"two", "t", who="bob")],
        [("t", None, ONE, "ann"), ("t", ONE, TWO, "bob")],
    ),
    "several tags at once": (
        [put(b"one", "t"), put(b"two", "t", "u", who="bob")],
        [("t", None, ONE, ""), ("t", ONE, TWO, "bob"), ("u", None, TWO, "bob")],
    ),
    "deleted": (
        [put(b"one", "t"), remove_tag("t", who="bob")],
        [("t", None, ONE, ""), ("t", ONE, None, "bob")],
    ),
    "deleted with its manifest": (
        [put(b"one", "t", "u"), put(b"two", "v"), remove(ONE, who="bob")],
        [
            *(("t", None, ONE, ""), ("u", None, ONE, ""), ("v", None, TWO, "")),
            *(("t", ONE, None, "bob"), ("u", ONE, None, "bob")),
        ],
    ),
    "deleted with its repository": (
        [put(b"one", "t"), put(b"two", "u"), drop("bob")],
        [("t", None, ONE, ""), ("u", None, TWO, ""), ("t", ONE, None, "bob"), ("u", TWO, None, "bob")],
    ),
    "pushed after its repository went": (
        [put(b"one", "t"), drop(), put(b"two", "t")],
        [("t", None, ONE, ""), ("t", ONE, None, ""), ("t", None, TWO, "")],
    ),
    "moved back": (
        [put(b"one", "t"), put(b"two", "t"), move("t", ONE, who="bob")],
        [("t", None, ONE, ""), ("t", ONE, TWO, ""), ("t", TWO, ONE, "bob")],
    ),
    "moved to where it is": ([put(b"one", "t"), move("t", ONE)], [("t", None, ONE, "")]),
    "back after a delete": (
        [put(b"one", "t"), remove_tag("t"), move("t", ONE)],
        [("t", None, ONE, ""), ("t", ONE, None, ""), ("t", None, ONE, "")],
    ),
}


@pytest.mark.parametrize(("steps", "tells"), STORIES.values(), ids=STORIES)
async def test_every_move_is_told(store: Store, steps: list[Step], tells: list[Told]) -> None:
    await put(b"one", "t", "u", "v", repository="b")(store)
    for step in steps:
        await step(store)
    assert sorted(map(str, await told(store))) == sorted(map(str, tells))
    for tag in "tuv":
        # Of one tag the order is that of the moves, and each begins where the one before it ended.
        found = list(reversed(await history(store, tag)))
        assert [(each.tag, each.old, each.new, each.who) for each in found] == [
            each for each in tells if each[0] == tag
        ]
        assert [each.old for each in found] == [None, *(each.new for each in found)][: len(found)]
    assert len(await history(store, repository="b")) == 3


async def test_what_is_refused_is_not_told(store: Store) -> None:
    def refuse(*_: object) -> None:
        raise StorageError("kept")

    await put(b"one", "t")(store)
    await put(b"two")(store)
    manifests, size = store.names.manifests, store.blobs.size
    refused = [
        push_manifest(store, "a", b"two", tags=["u", "t"], check=refuse),
        manifests.move_tag("a", "t", TWO, file_size=size, check=refuse),
        manifests.remove_tag("a", "t", check=refuse),
        manifests.remove("a", ONE, even_if_referenced=False, check=refuse),
    ]
    for attempt in refused:
        with pytest.raises(StorageError, match="kept"):
            await attempt
    for repository, digest in (("a", Digest.of(b"absent")), ("absent", ONE)):
        with pytest.raises(ManifestMissing):
            await manifests.move_tag(repository, "t", digest, file_size=size, check=allow)
    assert await told(store) == [("t", None, ONE, "")]


async def test_a_tag_moves_to_nothing_whose_bytes_are_gone(store: Store) -> None:
    await put(b"one", "t")(store)
    await put(b"two", "t")(store)
    store.blobs.quarantine(ONE)
    with pytest.raises(ManifestMissing):
        await move("t", ONE)(store)
    await store.names.links.lose(ONE, lambda: True)
    with pytest.raises(ManifestMissing):
        await move("t", ONE)(store)
    assert (await store.names.manifests.resolve("a", "t")).digest == TWO


async def test_the_last_hundred_moves_of_each_tag_are_kept(store: Store) -> None:
    await put(b"one", "other", "u")(store)
    await put(b"two")(store)
    made = 3 * KEPT + 7
    for number in range(made):
        await move("t", (ONE, TWO)[number % 2], who=str(number))(store)
        kept = [each.who for each in await history(store, "t")]
        assert kept == [str(each) for each in range(number, number - len(kept), -1)]
        assert min(number + 1, KEPT) <= len(kept) < KEPT + 16
    assert len(await history(store, "other")) == len(await history(store, "u")) == 1
    assert [each.who for each in await history(store, "t", limit=2)] == [str(made - 1), str(made - 2)]
    assert len(await history(store, limit=5)) == 5


async def test_all_tags_are_listed_by_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for at, tag, raw in ((10, "t", b"one"), (20, "u", b"one"), (30, "t", b"two"), (30, "a", b"two")):
        monkeypatch.setattr("storage.history.time.time", lambda at=at: at)
        await put(raw, tag)(store)
    found = await history(store)
    assert [(each.at, each.tag) for each in found] == [(30, "a"), (30, "t"), (20, "u"), (10, "t")]


async def test_a_clock_that_goes_back_changes_no_order(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for at, raw in ((2_000_000_000, b"one"), (10, b"two"), (1_000, b"one")):
        monkeypatch.setattr("storage.history.time.time", lambda at=at: at)
        await put(raw, "t")(store)
    assert [(each.at, each.new) for each in await history(store, "t")] == [
        (1_000, ONE),
        (10, TWO),
        (2_000_000_000, ONE),
    ]


async def test_a_move_is_looked_up_by_the_index(store: Store) -> None:
    """However long the history of all tags is."""
    plans: dict[str, str] = {}
    for number in range(16):  # with the last one the history is trimmed, too
        plans |= await plans_of(store.database, put(b"%d" % (number % 2), "t")(store))
    found = [(sql, plan) for sql, plan in plans.items() if "tag_history WHERE" in sql]
    assert {sql.split()[0] for sql, _ in found} == {"SELECT", "DELETE"}
    assert all("SEARCH tag_history USING PRIMARY KEY (repository=? AND tag=?" in plan for _, plan in found)


async def test_moves_at_once_are_one_chain(store: Store) -> None:
    raws = [b"%d" % number for number in range(30)]
    await asyncio.gather(*(put(raw, "t", who=str(Digest.of(raw)))(store) for raw in raws))
    found = list(reversed(await history(store, "t")))
    assert len(found) == 30
    assert [each.old for each in found] == [None, *(each.new for each in found[:-1])]
    assert all(each.who == str(each.new) for each in found)
    assert (await store.names.manifests.resolve("a", "t")).digest == found[-1].new
