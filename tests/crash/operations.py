"""What a crash test's root holds before, and every operation that is killed or made to fail on it."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from unittest.mock import patch

from registry import retention
from registry.names import RepositoryName, Tag
from registry.registry import Registry
from registry.reindex import READER
from registry.repository import Repository
from registry.retention_rules import Rule
from registry.uploads import Chunk, Uploads
from storage import eviction, recovery
from storage.blobs import BlobStore
from storage.collect import collect
from storage.database import Connection
from storage.digest import Digest
from storage.errors import (
    BlobMissing,
    DigestMismatch,
    ManifestMissing,
    RepositoryMissing,
    StorageError,
    UploadMissing,
)
from storage.eviction import Evictor
from storage.garbage import DAY, HOUR, Rules
from storage.recovery import Recovery
from storage.repositories import remove_repository
from storage.sources import Pieces
from storage.store import Store
from tests.builders import OCI_CONFIG, OCI_IMAGE, OCI_INDEX, blob, descriptor, image, index

FOREIGN_LAYER = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"

_MARK = Rules(grace=DAY, untagged=lambda _: -DAY)  # at the next boot the store's time may be a second behind
SWEEP = Rules(grace=HOUR // 2, patience=HOUR // 2, untagged=lambda _: -DAY)
"""Also in "app", although an upload is on its way into it."""
_all_shards = BlobStore.shards

CONFIG = b'{"architecture":"amd64","os":"linux"}'
EMPTY = b"{}"
BASE, TOP, SPARE, FRESH = (blob(3000 + seed, seed) for seed in range(4))
PART, REST = blob(2500, 4), blob(1500, 5)
WHOLE = PART + REST
_CONFIG = descriptor(CONFIG, OCI_CONFIG)
_ABSENT = descriptor(b"kept elsewhere", FOREIGN_LAYER, urls=["https://example.test/layer"])

ONE = image(_CONFIG, [descriptor(BASE)])
TWO = image(_CONFIG, [descriptor(BASE), descriptor(TOP), _ABSENT])
LONE = image(_CONFIG, [descriptor(TOP)], annotations={"alone": "yes"})
BOTH = index([descriptor(ONE, OCI_IMAGE), descriptor(TWO, OCI_IMAGE)])
SIGNED = image(subject=descriptor(ONE, OCI_IMAGE), artifact_type="application/vnd.example.signature")

# No tag leads to these; an hour before an operation begins, all but the last two were marked.
WAS = image(_CONFIG, [descriptor(blob(3004, 4))])
OUTER = index([descriptor(WAS, OCI_IMAGE)])
SIGNATURE = image(_CONFIG, [descriptor(EMPTY)], annotations={"signs": str(Digest.of(WAS))})
STRAY, LATE = blob(3005, 5), blob(3006, 6)
FORGOTTEN = image(_CONFIG, [descriptor(BASE)], annotations={"org.opencontainers.image.ref.name": "back"})
FORGOTTEN_INDEX = index([descriptor(FORGOTTEN, OCI_IMAGE)])

NEW = image(_CONFIG, [descriptor(SPARE)])
NEW_INDEX = index([descriptor(ONE, OCI_IMAGE), descriptor(LONE, OCI_IMAGE)])
NEW_REFERRER = image(subject=descriptor(TWO, OCI_IMAGE), artifact_type="application/vnd.example.sbom")


@dataclass(frozen=True, slots=True)
class World:
    """An open store; `session` is the upload that preparation left with the bytes of PART."""

    store: Store
    session: str = ""

    @property
    def registry(self) -> Registry:
        return Registry(self.store.names, self.store.blobs, self.store.uploads)

    @property
    def app(self) -> Repository:
        return Repository(self.registry, RepositoryName("app"))

    @property
    def lib(self) -> Repository:
        return Repository(self.registry, RepositoryName("lib"))

    @property
    def old(self) -> Repository:
        return Repository(self.registry, RepositoryName("old"))

    def uploads(self, repository: str = "app") -> Uploads:
        return Uploads(self.registry, RepositoryName(repository), "")


Verb = Callable[[World], Awaitable[None]]


async def _nothing(_: World) -> None:
    """Whoever began the session begins another, which no name tells of."""


@dataclass(frozen=True, slots=True)
class Operation:
    """`again` is what a client does that has seen no answer; `grows` the most that the session may hold.

    `anew`: what it does if its session turns out to be lost. `checkpoints`: begins with an empty WAL and
    copies its own back, which may fail unseen. `gradual`: changes names in more than one transaction.
    """

    run: Verb
    again: Verb
    grows: bytes = PART
    checkpoints: bool = False
    anew: Verb = _nothing
    gradual: bool = False


def chunk(data: bytes = b"", start: int | None = None) -> Chunk:
    async def body() -> AsyncIterator[bytes]:
        if data:
            yield data

    return Chunk(Pieces(body()), start)


async def prepare(world: World) -> str:
    """Fill an empty root; return the id of the session left open."""
    for data in (CONFIG, EMPTY, BASE, TOP, SPARE):
        await world.uploads().push(Digest.of(data), chunk(data))
    for raw, tags in ((ONE, ("one", "stable")), (TWO, ("two",)), (LONE, ("lone", "alone"))):
        for tag in tags:
            await world.app.put_manifest(Tag(tag), raw, OCI_IMAGE)
    await world.app.put_manifest(Tag("both"), BOTH, OCI_INDEX)
    await world.app.put_manifest(Digest.of(SIGNED), SIGNED, OCI_IMAGE)
    await _leave_garbage(world)
    session = await world.uploads().begin()
    await world.uploads().append(session, chunk(PART))
    return session


async def _leave_garbage(world: World) -> None:
    """Marked: an index without a tag, its image and what signs that, and SPARE. And files without a row."""
    for data in (CONFIG, EMPTY, blob(3004, 4)):
        await world.uploads("old").push(Digest.of(data), chunk(data))
    await world.old.put_manifest(Digest.of(WAS), WAS, OCI_IMAGE)
    await world.old.put_manifest(Tag("outer"), OUTER, OCI_INDEX)
    await world.old.put_manifest(Tag(f"sha256-{Digest.of(WAS).encoded}.sig"), SIGNATURE, OCI_IMAGE)
    await world.old.delete_tag(Tag("outer"))
    for data in (STRAY, FORGOTTEN, FORGOTTEN_INDEX):
        await world.store.blobs.put(Digest.of(data), data)
    assert (await collect(world.store, _MARK, walk=False)).waiting == 7
    await world.store.database.write(_make_old)


def _make_old(connection: Connection) -> None:
    for table, column in (("links", "mark"), ("manifests", "mark"), ("repositories", "active")):
        connection.execute(f"UPDATE {table} SET {column} = {column} - ?", (HOUR,))


async def _begin(world: World) -> None:
    await world.uploads().begin()


async def _append(world: World) -> None:
    await world.uploads().append(world.session, chunk(REST, len(PART)))


async def _resume(world: World) -> None:
    offset = await world.uploads().offset(world.session)
    if offset < len(WHOLE):
        offset = await world.uploads().append(world.session, chunk(WHOLE[offset:], offset))
    assert offset == len(WHOLE)


def _finish(data: bytes) -> Verb:
    async def run(world: World) -> None:
        await world.uploads().finish(world.session, Digest.of(data), chunk(data[len(PART) :]))

    return run


def _finish_again(data: bytes) -> Verb:
    async def run(world: World) -> None:
        try:
            offset = await world.uploads().offset(world.session)
        except UploadMissing:
            await world.uploads().push(Digest.of(data), chunk(data))
            return
        await world.uploads().finish(world.session, Digest.of(data), chunk(data[offset:]))

    return run


async def _mismatch(world: World) -> None:
    with suppress(DigestMismatch):
        await world.uploads().finish(world.session, Digest.of(b"other bytes"), chunk(REST))
        raise AssertionError("wrong bytes were taken")


def _push(repository: str, data: bytes) -> Verb:
    async def run(world: World) -> None:
        await world.uploads(repository).push(Digest.of(data), chunk(data))

    return run


async def _fetch(world: World) -> None:
    """What a worker does with a blob of an upstream, which sends two pieces of it."""
    digest = Digest.of(FRESH)
    async with world.store.fetches.open("lib", digest) as fetch:
        assert fetch.lock()
        begun = await fetch.resume()
        await fetch.announce(len(FRESH))
        for end in (len(FRESH) // 2, len(FRESH)):
            if begun < end and not fetch.look().sealed:
                begun = await fetch.append(FRESH[begun:end])
        await fetch.install()
        await world.store.names.links.claim("lib", digest, world.store.blobs.size)
        await fetch.remove()


async def _fetch_anew(world: World) -> None:
    """The power may have taken bytes of what was there."""
    async with world.store.fetches.open("lib", Digest.of(FRESH)) as fetch:
        await fetch.remove()
    await _fetch(world)


async def _mount(world: World) -> None:
    await world.lib.mount(Digest.of(BASE), source="app", readable=lambda name: name == "app")


def _put(reference: Tag | Digest, raw: bytes, *tags: str, media_type: str = OCI_IMAGE) -> Verb:
    async def run(world: World) -> None:
        await world.app.put_manifest(reference, raw, media_type, tags=[Tag(tag) for tag in tags])

    return run


async def _put_and_checkpoint(world: World) -> None:
    """The WAL is copied back into the database after the commit, whatever its length."""
    await world.app.put_manifest(Tag("new"), NEW, OCI_IMAGE)
    await world.store.database.checkpoint()


async def _move_back(world: World) -> None:
    size = world.store.blobs.size
    await world.store.names.manifests.move_tag(
        "app", "stable", Digest.of(TWO), file_size=size, check=lambda *_: None
    )


async def _delete_tag(world: World) -> None:
    await world.app.delete_tag(Tag("stable"))


async def _delete_manifest(world: World) -> None:
    await world.app.delete_manifest(Digest.of(LONE))


async def _delete_blob(world: World) -> None:
    await world.app.delete_blob(Digest.of(SPARE))


async def _cancel(world: World) -> None:
    await world.uploads().cancel(world.session)


async def _expire(world: World) -> None:
    await world.registry.expire_uploads(0)


async def _remove(world: World) -> None:
    await remove_repository(world.store.database, "app")


async def _retain(world: World) -> None:
    """In a commit for each tag: how many share one depends on the moment."""
    with patch.object(retention, "_TOGETHER", 1):
        await retention.retain(world.store, [Rule(("app",), keep_tags=("one",))], [])


async def _recover(world: World) -> None:
    """What `registry reindex` does to a sound index, beside its server; in the same commits each time."""
    with patch.object(recovery, "_together", _in_turn):
        await Recovery(world.store, READER, "found", lambda _: None).run()


async def _in_turn(calls: Iterable[Awaitable[object]]) -> None:
    for call in calls:
        await call


async def _mark(world: World) -> None:
    await world.uploads().push(Digest.of(LATE), chunk(LATE))
    await collect(world.store, _MARK, walk=False)


async def _mark_again(world: World) -> None:
    await world.uploads().push(Digest.of(LATE), chunk(LATE))
    assert (await collect(world.store, _MARK, walk=False)).waiting == 8


async def _sweep(world: World) -> None:
    await collect(world.store, SWEEP, walk=False)


async def _sweep_again(world: World) -> None:
    """Those who looked have taken marks off; what a death has left without a row goes too."""
    with patch.object(BlobStore, "shards", _filled_shards):
        await collect(world.store, replace(SWEEP, at_once=True))
    assert {digest for digest, _ in world.store.blobs.walk()} == await present(world.store)


async def evict(world: World) -> None:
    """As of an upstream's repository: names go in commits of their own, the last used ones at last."""

    def chosen(name: str) -> bool:
        return name == "old"

    with patch.object(eviction, "_LOAD", 1):
        await Evictor(world.store).make_room(chosen, chosen, lambda _: 0)


def _filled_shards(blobs: BlobStore) -> Iterator[tuple[Digest, Digest]]:
    """Those that are empty, nearly all, would take most of the time."""
    return (each for each in _all_shards(blobs) if os.listdir(os.path.dirname(blobs._layout.blob(each[0]))))


async def present(store: Store) -> set[Digest]:
    """What the index says is here."""
    sql = "SELECT digest FROM blobs WHERE state = 1"
    rows = await store.database.read(lambda connection: connection.execute(sql).fetchall())
    return {Digest.from_binary(found) for (found,) in rows}


def _unless(gone: type[StorageError], verb: Verb) -> Verb:
    async def run(world: World) -> None:
        with suppress(gone):
            await verb(world)

    return run


def _repeatable(verb: Verb) -> Operation:
    return Operation(verb, verb)


OPERATIONS: Mapping[str, Operation] = {
    "begin an upload": _repeatable(_begin),
    "append a chunk": Operation(_append, _resume, WHOLE),
    "close an upload": Operation(_finish(PART), _finish_again(PART), anew=_push("app", PART)),
    "close an upload with a last chunk": Operation(
        _finish(WHOLE), _finish_again(WHOLE), WHOLE, anew=_push("app", WHOLE)
    ),
    "close an upload with wrong bytes": Operation(_mismatch, _mismatch, WHOLE + REST),
    "push a blob in one request": _repeatable(_push("lib", FRESH)),
    "push a blob that is there": _repeatable(_push("lib", BASE)),
    "fetch a blob": Operation(_fetch, _fetch, anew=_fetch_anew),
    "mount a blob": _repeatable(_mount),
    "put a manifest by tag": _repeatable(_put(Tag("new"), NEW)),
    "put a manifest by digest with two tags": _repeatable(_put(Digest.of(NEW), NEW, "new", "stable")),
    "put an index": _repeatable(_put(Tag("new"), NEW_INDEX, media_type=OCI_INDEX)),
    "put a manifest with a subject": _repeatable(_put(Digest.of(NEW_REFERRER), NEW_REFERRER)),
    "put a manifest and check point": Operation(_put_and_checkpoint, _put_and_checkpoint, checkpoints=True),
    "move a tag": _repeatable(_put(Tag("stable"), TWO)),
    "move a tag back": _repeatable(_move_back),
    "delete a tag": Operation(_delete_tag, _unless(ManifestMissing, _delete_tag)),
    "delete a manifest": Operation(_delete_manifest, _unless(ManifestMissing, _delete_manifest)),
    "delete a blob": Operation(_delete_blob, _unless(BlobMissing, _delete_blob)),
    "cancel an upload": Operation(_cancel, _unless(UploadMissing, _cancel)),
    "expire uploads": _repeatable(_expire),
    "retain tags": Operation(_retain, _retain, gradual=True),
    "recover manifests": Operation(_recover, _recover, gradual=True),
    "collect: mark": Operation(_mark, _mark_again),
    "collect: sweep": Operation(_sweep, _sweep_again, gradual=True),
    "evict": Operation(evict, evict, gradual=True),
    "remove a repository": Operation(_remove, _unless(RepositoryMissing, _remove)),
}
