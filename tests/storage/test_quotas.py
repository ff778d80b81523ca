"""What repositories hold: the sums against a count, whatever happened; limits inside their transactions."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing, suppress

import pytest

from storage.collect import collect
from storage.database import Connection
from storage.digest import Digest
from storage.errors import QuotaExceeded, StorageError, TooManyUploads
from storage.garbage import Rules
from storage.manifest_rows import ManifestRow
from storage.quotas import Amount, Limit, Miscount, Room, held, miscounts, recount, require
from storage.repositories import remove_repository
from storage.store import Store
from tests.storage.conftest import Opener
from tests.storage.pushing import allow, allow_manifest, edge, push_blob, push_manifest, row

LAYERS = [b"%d" % number * (number + 1) for number in range(6)]
IMAGES = [b"image %d" % number for number in range(6)]
REPOSITORIES = ["a", "b", "ci/a", "ci/b"]
AT_ONCE = Rules(untagged=lambda _: 0, at_once=True)


def counts(store: Store, *patterns: str) -> Amount:
    with closing(store.database.scan()) as connection:
        return held(connection, Limit("", patterns))


def wrong(store: Store) -> list[Miscount]:
    with closing(store.database.scan()) as connection:
        return miscounts(connection)


# -- the sums --------------------------------------------------------------------------------------------


async def test_what_counts(store: Store) -> None:
    """Blobs that are listed, and manifests, in each repository by itself; tags; sessions."""
    for repository in ("a", "ci/b"):
        await push_blob(store, repository, b"layer")
        await push_manifest(store, repository, b"image", [edge(b"layer")], ["x", "y"])
    await store.names.sessions.begin("1", "ci/b", "", "sha256")
    assert counts(store, "a") == Amount(10, 2)
    assert counts(store, "ci/*") == Amount(10, 2, 1)
    assert counts(store) == counts(store, "*") == counts(store, "a", "ci/*", "c*") == Amount(20, 4, 1)
    assert counts(store, "c", "ci", "i/*") == Amount()


async def do_anything(store: Store, choose: random.Random) -> None:
    """One operation out of all that change what a repository holds."""
    names, size = store.names, store.blobs.size
    repository, other = choose.sample(REPOSITORIES, 2)
    layer, raw, tag = choose.choice(LAYERS), choose.choice(IMAGES), choose.choice("xyz")
    digest, image = Digest.of(layer), Digest.of(raw)

    async def lose() -> None:
        await names.links.lose(digest, lambda: True)

    async def rewrite() -> None:
        def change(connection: Connection) -> None:
            values = (choose.randrange(100), image.binary)
            connection.execute("UPDATE manifests SET size = ? WHERE digest = ?", values)
            connection.execute("UPDATE blobs SET size = size + 1 WHERE digest = ?", (digest.binary,))

        await store.database.write(change)

    operations: Sequence[Callable[[], Awaitable[object]]] = [
        *[lambda: push_blob(store, repository, layer)] * 4,
        *[lambda: push_manifest(store, repository, raw, [edge(layer)], choose.sample("xyz", 2))] * 4,
        lambda: names.links.mount(repository, digest, size, source=other),
        lambda: names.links.remove(repository, digest, even_if_referenced=True),
        lambda: names.manifests.remove(repository, image, even_if_referenced=True, check=allow),
        lambda: names.manifests.remove_tag(repository, tag, check=allow),
        lambda: names.manifests.move_tag(repository, tag, image, file_size=size, check=allow),
        lambda: remove_repository(store.database, repository),
        lambda: collect(store, AT_ONCE),
        lose,
        rewrite,
    ]
    with suppress(StorageError):  # what is not there, or no longer
        await choose.choice(operations)()


@pytest.mark.parametrize("seed", range(4))
async def test_sums_are_those_of_a_count_whatever_happens(store: Store, seed: int) -> None:
    choose = random.Random(seed)
    for _ in range(120):
        await do_anything(store, choose)
        assert wrong(store) == []
    assert counts(store).bytes > 0


async def test_a_wrong_sum_is_found_and_mended(store: Store) -> None:
    await push_blob(store, "a", b"layer")
    await push_manifest(store, "b", b"image", tags=["x"])

    def spoil(connection: Connection) -> None:
        connection.execute("UPDATE repositories SET held_bytes = 7, held_tags = 8")

    await store.database.write(spoil)
    assert wrong(store) == [
        Miscount("a", Amount(7, 8), Amount(5, 0)),
        Miscount("b", Amount(7, 8), Amount(5, 1)),
    ]
    await recount(store.database, "a")
    assert [each.repository for each in wrong(store)] == ["b"]


async def test_an_older_index_is_counted_when_it_is_upgraded(opener: Opener) -> None:
    old = opener()
    await push_blob(old, "a", b"layer")
    await push_manifest(old, "a", b"image", [edge(b"layer")], ["x", "y"])
    await push_manifest(old, "b", b"another", tags=["x"])
    await old.database.write(uncount)
    store = opener()
    assert (counts(store, "a"), counts(store, "b")) == (Amount(10, 2), Amount(7, 1))
    await push_blob(store, "b", b"layer")
    assert wrong(store) == []
    assert counts(store) == Amount(22, 3)


def uncount(connection: Connection) -> None:
    """As the index was before it counted."""
    names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for (name,) in names:
        connection.execute(f"DROP TRIGGER {name}")
    for sql in (
        "DROP TABLE figures",
        "DROP TABLE upstreams",
        "ALTER TABLE tags DROP COLUMN checked",
        "DROP INDEX uploads_repository",
        "ALTER TABLE uploads DROP COLUMN state",
        "ALTER TABLE uploads DROP COLUMN idle",
        "ALTER TABLE repositories DROP COLUMN held_bytes",
        "ALTER TABLE repositories DROP COLUMN held_tags",
        "PRAGMA user_version = 3",
    ):
        connection.execute(sql)


# -- limits ----------------------------------------------------------------------------------------------


async def claim(store: Store, repository: str, data: bytes, *limits: Limit) -> None:
    await store.blobs.put(Digest.of(data), data)
    await store.names.links.claim(repository, Digest.of(data), store.blobs.size, limits=limits)


async def put(
    store: Store,
    repository: str,
    raw: bytes,
    tags: Sequence[str],
    *limits: Limit,
    layers: Sequence[bytes] = (),
) -> None:
    await store.blobs.put(Digest.of(raw), raw)
    manifest: ManifestRow = row(raw)
    await store.names.manifests.put(
        repository,
        manifest,
        [edge(layer) for layer in layers],
        tags,
        file_size=store.blobs.size,
        check=allow,
        check_manifest=allow_manifest,
        limits=limits,
    )


async def test_bytes_that_do_not_fit(store: Store) -> None:
    ten = Limit("a", ("a",), bytes=10)
    await claim(store, "a", b"123456", ten)
    with pytest.raises(QuotaExceeded, match=r"of a is 10 bytes, 6 are in use, and this needs 5 more: delete"):
        await claim(store, "a", b"12345", ten)
    await claim(store, "b", b"12345", Limit("b", ("b",), bytes=10))
    with pytest.raises(QuotaExceeded):
        await store.names.links.mount("a", Digest.of(b"12345"), store.blobs.size, source="b", limits=[ten])
    with pytest.raises(QuotaExceeded):
        await put(store, "a", b"image", [], ten)
    assert (counts(store, "a"), counts(store, "b")) == (Amount(6), Amount(5))
    await claim(store, "a", b"1234", ten)
    assert counts(store, "a") == Amount(10)


async def test_what_is_held_already_fits_always(store: Store) -> None:
    await claim(store, "a", b"layer")
    await put(store, "a", b"image", ["x"], layers=[b"layer"])
    await put(store, "a", b"other", ["y"])
    none = Limit("a", ("a",), bytes=0, tags=0)
    await claim(store, "a", b"layer", none)
    await put(store, "a", b"image", ["x", "y"], none, layers=[b"layer"])
    await store.names.links.lose(Digest.of(b"layer"), lambda: True)
    await claim(store, "a", b"layer", none)  # a push heals, whatever the quota
    with pytest.raises(QuotaExceeded):
        await put(store, "a", b"image", ["z"], none, layers=[b"layer"])
    assert counts(store, "a") == Amount(15, 2)


async def test_tags_of_one_push_count_together(store: Store) -> None:
    three = Limit("a", ("a",), tags=3)
    await put(store, "a", b"image", ["x", "y"], three)
    with pytest.raises(QuotaExceeded, match="is 3 tags, 2 are in use, and this needs 2 more"):
        await put(store, "a", b"image", ["x", "z", "w"], three)
    await put(store, "a", b"image", ["x", "z"], three)
    assert counts(store, "a") == Amount(5, 3)


async def test_repositories_together(store: Store) -> None:
    ci, everything = Limit("ci", ("ci/*",), bytes=10), Limit("all", bytes=14)
    await claim(store, "ci/a", b"123456", ci, everything)
    with pytest.raises(QuotaExceeded, match="quota of ci is"):
        await claim(store, "ci/b", b"12345", ci, everything)
    await claim(store, "b", b"1234567", everything)
    with pytest.raises(QuotaExceeded, match="quota of all is"):
        await claim(store, "ci/b", b"12", ci, everything)
    with closing(store.database.scan()) as connection:
        require(connection, [ci, everything], Amount)  # nothing more


async def test_sessions(store: Store) -> None:
    sessions, two = store.names.sessions, Limit("a", ("a",), uploads=2)
    for upload in "12":
        await sessions.begin(upload, "a", "", "sha256", limits=[two])
    with pytest.raises(TooManyUploads, match="is 2 open uploads, 2 are in use"):
        await sessions.begin("3", "a", "", "sha256", limits=[two])
    await sessions.begin("3", "ab", "", "sha256", limits=[Limit("ab", ("ab",), uploads=2)])
    await sessions.end(["1"])
    await sessions.begin("4", "a", "", "sha256", limits=[two])


async def test_room(store: Store) -> None:
    quotas = store.names.quotas
    ten, twelve = Limit("a", ("a",), bytes=10), Limit("all", bytes=12)
    await claim(store, "a", b"layer")
    await claim(store, "b", b"123456789")
    assert await quotas.room([Limit("a", ("a",), tags=1)], "a") is None
    room = await quotas.room([ten, twelve], "a")
    assert room is not None
    assert (room.limit, room.left) == (twelve, -2)
    with pytest.raises(QuotaExceeded, match="is 12 bytes, 14 are in use, and this needs 1 more"):
        room.require(1)
    assert await quotas.room([ten, twelve], "a", Digest.of(b"layer")) == Room(twelve, -2, listed=5)
    assert await quotas.room([ten, twelve], "b", Digest.of(b"layer")) == Room(twelve, -2)


def test_what_is_listed_fits_as_far_as_it_reaches() -> None:
    room = Room(Limit("all", bytes=12), -2, listed=5)
    room.require(5)
    with pytest.raises(QuotaExceeded, match="is 12 bytes, 14 are in use, and this needs 6 more"):
        room.require(6)
    Room(Limit("all", bytes=12), 8, listed=5).require(8)


async def test_changes_at_once_do_not_get_past_a_limit_together(opener: Opener) -> None:
    """From two openings, as workers are."""
    stores, limit = [opener(), opener()], Limit("a", ("a",), bytes=10, tags=4)
    layers = [b"%02d" % number for number in range(20)]
    claims = [claim(stores[n % 2], "a", layer, limit) for n, layer in enumerate(layers)]
    puts = [put(stores[n % 2], "b", b"i", [f"t{n}"], Limit("b", ("b",), tags=4)) for n in range(20)]
    done = await asyncio.gather(*claims, *puts, return_exceptions=True)
    assert [each for each in done if each and not isinstance(each, QuotaExceeded)] == []
    assert (counts(stores[0], "a"), counts(stores[0], "b")) == (Amount(10), Amount(1, 4))
    assert done.count(None) == 5 + 4
