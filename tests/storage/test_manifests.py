"""What the SQLite index keeps of manifests beside the contract: times, edges, and no scans."""

from collections.abc import Awaitable, Callable

import pytest

from storage.digest import Digest
from storage.errors import StoreDegraded
from storage.manifest_rows import EdgeKind
from storage.store import Store
from tests.storage.conftest import Opener
from tests.storage.hands import Hands
from tests.storage.plans import plans_of
from tests.storage.pushing import allow, allow_manifest, edge, push_blob, push_manifest, row

Step = Callable[[Store], Awaitable[object]]


def push(raw: bytes, *tags: str) -> Step:
    return lambda store: push_manifest(store, "a", raw, tags=tags)


def untag(tag: str) -> Step:
    return lambda store: store.names.manifests.remove_tag("a", tag, check=allow)


async def elsewhere(store: Store) -> None:
    """The same manifest and tag, in another repository."""
    await push_manifest(store, "b", b"one", tags=["t"])
    await push_manifest(store, "b", b"two", tags=["t"])


async def column(store: Store, name: str, raw: bytes = b"one", repository: str = "a") -> object:
    rows = await store.database.read(
        lambda connection: connection.execute(
            f"SELECT {name} FROM manifests JOIN repositories ON id = repository"
            " WHERE repositories.name = ? AND digest = ?",
            (repository, Digest.of(raw).binary),
        ).fetchall()
    )
    return rows[0][0]


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def store(opener: Opener, hands: Hands) -> Store:
    return opener(durable=False, machine=hands.machine)


@pytest.mark.parametrize(
    ("steps", "noted"),
    [
        ([push(b"one")], None),
        ([push(b"one", "t")], None),
        ([push(b"one", "t"), push(b"two", "t")], 1),
        ([push(b"one", "t", "u"), push(b"two", "t")], None),
        ([push(b"one", "t", "u"), push(b"two", "t", "u")], 1),
        ([push(b"one", "t", "u"), push(b"two", "t"), untag("u")], 2),
        ([push(b"one", "t"), push(b"one", "t")], None),
        ([push(b"one", "t"), push(b"two", "t"), push(b"one", "u")], None),
        ([push(b"one", "t"), push(b"two", "t"), push(b"one")], 1),
        ([push(b"one", "t"), push(b"two", "t"), push(b"two", "t")], 1),
        ([push(b"one", "t"), untag("t")], 1),
        ([push(b"one", "t", "u"), untag("t")], None),
        ([push(b"one", "t", "u"), untag("t"), untag("u")], 2),
        ([push(b"one", "t"), untag("t"), push(b"one", "t")], None),
        ([push(b"one", "t"), elsewhere], None),
    ],
)
async def test_when_the_last_tag_left_is_noted(
    store: Store, hands: Hands, steps: list[Step], noted: int | None
) -> None:
    """`noted` is the step in which that was."""
    times: list[int] = []
    for step in steps:
        hands.wait(1)
        times.append(store.database.clock.now())
        await step(store)
    assert await column(store, "untagged") == (None if noted is None else times[noted])


async def test_a_push_again_renews_when_it_was_pushed(store: Store, hands: Hands) -> None:
    await push_manifest(store, "a", b"one")
    first = await column(store, "pushed")
    hands.wait(1)
    await push_manifest(store, "a", b"one")
    second = await column(store, "pushed")
    assert isinstance(first, int)
    assert isinstance(second, int)
    assert first < second


async def test_tags_note_when_they_moved(store: Store, hands: Hands) -> None:
    moved: list[int] = []
    for raw in (b"one", b"two", b"two"):
        hands.wait(1)
        await push_manifest(store, "a", raw, tags=["t"])
        moved.append(
            await store.database.read(
                lambda connection: int(connection.execute("SELECT moved FROM tags").fetchone()[0])
            )
        )
    assert moved == sorted(set(moved))


async def edges_of(store: Store) -> list[tuple[str, int, int]]:
    """(the child's digest, kind, optional)"""
    rows = await store.database.read(
        lambda connection: connection.execute(
            "SELECT digest, kind, optional FROM edges JOIN blobs ON blobs.id = child"
        ).fetchall()
    )
    return sorted((str(Digest.from_binary(digest)), kind, optional) for digest, kind, optional in rows)


async def test_edges_are_kept_once_and_go_with_their_manifest(store: Store) -> None:
    digest = await push_blob(store, "a", b"data")
    other = Digest.parse_any("blake3:abc")
    edges = [
        edge(b"data"),
        edge(b"data"),
        edge(b"data", EdgeKind.CONFIG),
        edge(other, required=False),
        edge(other, EdgeKind.CHILD, required=False),
    ]
    await push_manifest(store, "a", b"one", edges)
    assert await edges_of(store) == sorted(
        [
            (str(digest), EdgeKind.CONFIG, 0),
            (str(digest), EdgeKind.LAYER, 0),
            (str(other), EdgeKind.LAYER, 1),
            (str(other), EdgeKind.CHILD, 1),
        ]
    )
    await store.names.manifests.remove("a", Digest.of(b"one"), even_if_referenced=False, check=allow)
    assert await edges_of(store) == []


async def test_a_digest_that_nothing_names_any_more_is_forgotten(store: Store) -> None:
    """But none that something names, links or is."""
    links, manifests = store.names.links, store.names.manifests
    lost = await push_blob(store, "a", b"lost")
    kept = await push_blob(store, "a", b"kept")
    absent = Digest.of(b"absent")
    edges = [edge(b"lost"), edge(b"kept"), edge(absent, required=False)]
    for repository in ("a", "b"):
        await push_manifest(store, repository, b"one", edges if repository == "a" else edges[2:])
    await links.lose(lost, lambda: True)

    async def known() -> set[Digest]:
        rows = await store.database.read(
            lambda connection: connection.execute("SELECT digest FROM blobs").fetchall()
        )
        return {Digest.from_binary(digest) for (digest,) in rows}

    one = Digest.of(b"one")
    await manifests.remove("a", one, even_if_referenced=False, check=allow)
    assert await known() == {lost, kept, one, absent}
    await manifests.remove("b", one, even_if_referenced=False, check=allow)
    assert await known() == {lost, kept, one}


async def test_an_edge_once_required_stays_required(store: Store) -> None:
    digest = await push_blob(store, "a", b"data")
    optional: list[int] = []
    for required in (False, True, False):
        await push_manifest(store, "a", b"one", [edge(b"data", required=required)])
        ((_, _, found),) = await edges_of(store)
        optional.append(found)
    assert optional == [1, 0, 0]
    await store.names.links.remove("a", digest, even_if_referenced=True)
    assert [found for _, _, found in await edges_of(store)] == [1]


async def test_all_that_is_answered_for_is_durable(opener: Opener) -> None:
    """Only what must be durable asks whether the store is sound."""
    store = opener()
    await push_manifest(store, "a", b"one", tags=["t"])
    await store.blobs.put(Digest.of(b"two"), b"two")
    store.files.latch("a test")
    manifests = store.names.manifests
    for call in (
        manifests.put(
            "a", row(b"two"), [], [], file_size=store.blobs.size, check=allow, check_manifest=allow_manifest
        ),
        manifests.remove("a", Digest.of(b"one"), even_if_referenced=False, check=allow),
        manifests.remove_tag("a", "t", check=allow),
    ):
        with pytest.raises(StoreDegraded):
            await call
    assert await manifests.resolve("a", "t") == row(b"one")


async def test_no_change_and_no_look_reads_a_whole_table(store: Store) -> None:
    names = store.names

    async def everything() -> None:
        digest = await push_blob(store, "a", b"data")
        await push_manifest(store, "a", b"child", [edge(b"data")], ["t", "u"])
        await push_manifest(store, "a", b"list", [edge(b"child", EdgeKind.CHILD)], ["t"])
        await names.links.holders(digest, limit=9)
        await names.links.mount("b", digest, store.blobs.size, source="a")
        await names.links.find("a", digest)
        await names.manifests.find("a", Digest.of(b"child"))
        await names.manifests.resolve("a", "t")
        await names.manifests.note_pulls([("a", Digest.of(b"child"))])
        await names.manifests.remove_tag("a", "u", check=allow)
        await names.manifests.remove("a", Digest.of(b"list"), even_if_referenced=False, check=allow)
        await names.manifests.remove("a", Digest.of(b"child"), even_if_referenced=True, check=allow)
        await names.links.remove("a", digest, even_if_referenced=False)
        await names.links.lose(digest, lambda: True)
        await names.sessions.begin("u", "a", "ann", "sha256")
        await names.sessions.find("u", "a", "ann")
        await names.sessions.note("u", digest, 4)
        await names.sessions.end(["u"])

    plans = await plans_of(store.database, everything())
    assert len(plans) > 30
    assert {sql: plan for sql, plan in plans.items() if "SCAN" in plan} == {}


# -- pulls -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("waits", "noted"),
    [([0], 0), ([50], 50), ([0, 3600], 0), ([0, 3601], 3601), ([0, 1800, 1801], 3601)],
)
async def test_pulls_are_noted_to_the_hour(store: Store, hands: Hands, waits: list[int], noted: int) -> None:
    """In the store's time, whatever is made of the wall clock."""
    begun = store.database.clock.now()
    for repository in "ab":
        await push_manifest(store, repository, b"one")
    await push_manifest(store, "a", b"two")
    for number, seconds in enumerate(waits):
        hands.wait(seconds)
        hands.wall += 315_360_000 * (-1) ** number  # ten years
        await store.names.manifests.note_pulls([("a", Digest.of(b"one"))])
    assert await column(store, "pulled") == begun + noted
    assert await column(store, "pulled", b"two") is None


async def test_pulls_of_what_was_fetched_are_noted_to_the_second(store: Store, hands: Hands) -> None:
    await push_manifest(store, "@docker.io/a", b"one")
    await store.names.manifests.note_pulls([("@docker.io/a", Digest.of(b"one"))])
    hands.wait(1)
    for ago, noted in ((1, 1), (0, 0), (5, 0)):
        await store.names.manifests.note_pulls([("@docker.io/a", Digest.of(b"one"))], ago=ago)
        pulled = await column(store, "pulled", repository="@docker.io/a")
        assert pulled == store.database.clock.now() - noted


async def test_a_disk_that_takes_nothing_more_takes_no_pulls(store: Store) -> None:
    await push_manifest(store, "a", b"one")
    store.files.latch("the disk is bad")
    await store.names.manifests.note_pulls([("a", Digest.of(b"one"))])  # it is no matter of safety
    assert await column(store, "pulled") is not None
