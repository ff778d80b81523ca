"""A repository's verbs without HTTP: what listeners hear, what guards refuse, what damage does."""

import asyncio
import errno
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack

import pytest

from registry.access import Action
from registry.changes import BlobAdded, BlobRemoved, ManifestAdded, ManifestRemoved, TagMoved
from registry.conditions import Condition
from registry.errors import Denied, ManifestInvalid
from registry.manifests import ManifestKind, read_manifest
from registry.names import RepositoryName, Tag
from registry.repository import Repository, describe
from storage.collect import collect
from storage.database import Connection
from storage.digest import Digest
from storage.errors import (
    BlobMissing,
    BlobReferenced,
    DigestMismatch,
    ManifestMissing,
    PreconditionFailed,
    ReferencesMissing,
    StorageError,
    StoreDegraded,
)
from storage.garbage import Rules
from storage.locks import held
from storage.manifest_rows import EdgeKind
from storage.store import Store
from tests.builders import EMPTY_JSON, OCI_CONFIG, OCI_IMAGE, OCI_INDEX, descriptor, image, index
from tests.registry.listening import NAME, Keeps, listened, push, tagged

FIRST, SECOND = index(annotations={"n": "1"}), index(annotations={"n": "2"})
ONE, TWO = Digest.of(FIRST), Digest.of(SECOND)
LATEST, OTHER = Tag("latest"), Tag("other")


# -- what is told -----------------------------------------------------------------------------------------


async def test_every_change_is_told_once_and_in_order(store: Store) -> None:
    registry, heard = listened(store)
    repository = Repository(registry, NAME)
    elsewhere = RepositoryName("elsewhere")
    blob = await push(registry, b"blob", elsewhere)
    await repository.mount(blob, source=elsewhere, readable=lambda name: True)
    await repository.delete_blob(blob)
    await repository.put_manifest(LATEST, FIRST, None)
    await repository.put_manifest(TWO, SECOND, None, tags=[LATEST, OTHER])
    await repository.delete_tag(OTHER)
    await repository.delete_manifest(TWO)
    assert heard == [
        BlobAdded(elsewhere, blob, 4),
        BlobAdded(NAME, blob, 4, mounted=True),
        BlobRemoved(NAME, blob),
        ManifestAdded(NAME, ONE, OCI_INDEX, len(FIRST)),
        TagMoved(NAME, LATEST, None, ONE),
        ManifestAdded(NAME, TWO, OCI_INDEX, len(SECOND)),
        TagMoved(NAME, LATEST, ONE, TWO),
        TagMoved(NAME, OTHER, None, TWO),
        TagMoved(NAME, OTHER, TWO, None),
        TagMoved(NAME, LATEST, TWO, None),
        ManifestRemoved(NAME, TWO),
    ]


async def test_what_fails_is_not_told(store: Store) -> None:
    registry, heard = listened(store, guards=[Keeps(["kept"])])
    repository = Repository(registry, NAME)
    absent = Digest.of(b"absent")
    failing = [
        (repository.mount(absent, source=NAME, readable=lambda name: True), BlobMissing),
        (repository.mount(absent, source=None, readable=lambda name: True), BlobMissing),
        (repository.delete_blob(absent), BlobMissing),
        (repository.put_manifest(ONE, SECOND, None), DigestMismatch),
        (repository.put_manifest(LATEST, b"{", None), ManifestInvalid),
        (repository.put_manifest(LATEST, image(), None), ReferencesMissing),
        (
            repository.put_manifest(LATEST, FIRST, None, condition=Condition(match=frozenset({"x"}))),
            PreconditionFailed,
        ),
        (repository.put_manifest(Tag("kept"), FIRST, None), Denied),
        (repository.delete_manifest(absent), ManifestMissing),
        (repository.delete_tag(LATEST), ManifestMissing),
    ]
    for call, fact in failing:
        with pytest.raises(fact):
            await call
    assert heard == []
    assert await registry.catalog(after="", limit=10) == []
    assert [name for _, _, names in os.walk(os.path.join(store.layout.root, "blobs")) for name in names] == []


# -- guards -----------------------------------------------------------------------------------------------


async def test_a_guard_holds_a_tag(store: Store) -> None:
    """Against a push to it, a push of `?tag=`, its delete, and the delete of its manifest; all or nothing."""
    keeps = Keeps()
    registry, _ = listened(store, guards=[keeps])
    repository = Repository(registry, NAME)
    await repository.put_manifest(LATEST, FIRST, None, tags=[OTHER])
    keeps.tags, keeps.asked[:] = [LATEST], []
    refused = [
        repository.put_manifest(LATEST, SECOND, None),
        repository.put_manifest(OTHER, SECOND, None, tags=[LATEST]),
        repository.put_manifest(TWO, SECOND, None, tags=[OTHER, LATEST]),
        repository.delete_tag(LATEST),
        repository.delete_manifest(ONE),
    ]
    for call in refused:
        with pytest.raises(Denied):
            await call
    assert await tagged(repository) == [LATEST, OTHER]
    for tag in (LATEST, OTHER):
        assert (await repository.manifest_row(tag)).digest == ONE
    with pytest.raises(ManifestMissing):
        await repository.manifest_row(TWO)
    assert {TagMoved(NAME, LATEST, ONE, TWO), TagMoved(NAME, LATEST, ONE, None)} <= set(keeps.asked)
    await repository.put_manifest(TWO, SECOND, None, tags=[OTHER])
    assert (await repository.manifest_row(OTHER)).digest == TWO


# -- blobs ------------------------------------------------------------------------------------------------


async def test_mounts(store: Store) -> None:
    registry, _ = listened(store)
    repository = Repository(registry, NAME)
    blob = await push(registry, b"x", RepositoryName("source"))
    for source, readable in (("source", False), ("none", True), (None, False)):
        with pytest.raises(BlobMissing):
            await repository.mount(blob, source=source, readable=lambda name, answer=readable: answer)  # type: ignore[misc]
    await repository.mount(blob, source=None, readable=lambda name: name == "source")
    assert await repository.blob_size(blob) == 1
    # What is in the repository itself needs nobody's leave.
    await repository.mount(blob, source=None, readable=lambda name: False)


async def test_a_blob_in_use_stays(store: Store) -> None:
    registry, _ = listened(store)
    repository = Repository(registry, NAME)
    for data in (b"{}", b"layer"):
        await push(registry, data)
    raw = image(layers=[descriptor(b"layer")])
    await repository.put_manifest(LATEST, raw, None)
    with pytest.raises(BlobReferenced) as raised:
        await repository.delete_blob(Digest.of(b"layer"))
    assert raised.value.parents == [str(Digest.of(raw))]
    sparse, _ = listened(store, sparse=True)
    await Repository(sparse, NAME).delete_blob(Digest.of(b"layer"))
    with pytest.raises(BlobMissing):
        await repository.blob_size(Digest.of(b"layer"))


async def test_an_open_blob_outlives_its_delete(store: Store) -> None:
    registry, _ = listened(store)
    repository = Repository(registry, NAME)
    blob = await push(registry, b"still here")
    async with repository.blob(blob, 10) as file:
        await repository.delete_blob(blob)
        os.unlink(store.layout.blob(blob))
        assert b"".join([chunk async for chunk in file.chunks(0, file.size)]) == b"still here"


@pytest.mark.parametrize("content", [b"", b"not the content", None])
async def test_bad_bytes_lose_their_name_everywhere(store: Store, content: bytes | None) -> None:
    """None: no file at all. The bytes are kept aside; a push to any repository heals them all."""
    registry, _ = listened(store)
    names = [NAME, RepositoryName("elsewhere")]
    for name in names:
        blob = await push(registry, b"content", name)
    path = store.layout.blob(blob)
    os.unlink(path)
    if content is not None:
        with open(path, "wb") as file:
            file.write(content)
    for name in names:
        with pytest.raises(BlobMissing):
            await Repository(registry, name).blob_size(blob)
    assert len(os.listdir(store.layout.quarantine)) == (content is not None)
    await push(registry, b"content")
    for name in names:
        assert await Repository(registry, name).blob_size(blob) == 7


# -- manifests --------------------------------------------------------------------------------------------


async def test_a_file_that_vanishes_is_written_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between its install and its claim another process may take it away."""
    registry, _ = listened(store)
    put = store.blobs.put
    vanished: list[Digest] = []

    async def vanishing(digest: Digest, data: bytes) -> None:
        await put(digest, data)
        if len(vanished) < 2:
            vanished.append(digest)
            os.unlink(store.layout.blob(digest))

    monkeypatch.setattr(store.blobs, "put", vanishing)
    repository = Repository(registry, NAME)
    await repository.put_manifest(LATEST, FIRST, None)
    assert vanished == [ONE, ONE]
    assert await repository.manifest_bytes(await repository.manifest_row(LATEST)) == FIRST


async def test_a_file_that_keeps_vanishing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """To a client it is no missing blob, which it could push."""
    registry, _ = listened(store)
    put = store.blobs.put

    async def vanishing(digest: Digest, data: bytes) -> None:
        await put(digest, data)
        os.unlink(store.layout.blob(digest))

    monkeypatch.setattr(store.blobs, "put", vanishing)
    with pytest.raises(StoreDegraded, match="keeps vanishing"):
        await Repository(registry, NAME).put_manifest(LATEST, FIRST, None)


async def test_a_manifest_with_other_bytes_is_missing(store: Store) -> None:
    registry, _ = listened(store)
    repository = Repository(registry, NAME)
    await repository.put_manifest(LATEST, FIRST, None)
    row = await repository.manifest_row(LATEST)
    os.unlink(store.layout.blob(ONE))
    with open(store.layout.blob(ONE), "wb") as file:
        file.write(b"!" * len(FIRST))
    with pytest.raises(ManifestMissing):
        await repository.manifest_bytes(row)
    with pytest.raises(ManifestMissing):
        await repository.manifest_row(LATEST)


async def test_racing_tag_moves_end_in_one_of_them(store: Store) -> None:
    registry, heard = listened(store)
    repository = Repository(registry, NAME)
    raws = [index(annotations={"racer": str(number)}) for number in range(20)]
    await asyncio.gather(*(repository.put_manifest(LATEST, raw, None) for raw in raws))
    final = (await repository.manifest_row(LATEST)).digest
    moves = {change.old: change.new for change in heard if isinstance(change, TagMoved)}
    # The moves are one chain from nothing to what the tag names now: none was lost or told twice.
    here, chain = None, []
    while here in moves:
        here = moves[here]
        chain.append(here)
    assert (len(chain), chain[-1]) == (20, final)


@pytest.mark.parametrize("sparse", [True, False])
async def test_a_deleted_child(store: Store, sparse: bool) -> None:
    registry, _ = listened(store, sparse=sparse)
    repository = Repository(registry, NAME)
    await repository.put_manifest(ONE, FIRST, None)
    await repository.put_manifest(LATEST, index([descriptor(FIRST, OCI_INDEX)]), None)
    if sparse:
        await repository.delete_manifest(ONE)
    else:
        with pytest.raises(BlobReferenced):
            await repository.delete_manifest(ONE)


def test_what_the_index_keeps_of_a_manifest() -> None:
    layer, foreign = (
        descriptor(b"layer"),
        descriptor(b"f", "application/vnd.docker.image.rootfs.foreign.diff.tar"),
    )
    raw = image(
        descriptor(b"c", OCI_CONFIG),
        [layer, foreign],
        subject=descriptor(b"s", OCI_IMAGE),
        annotations={"é": "\n"},
    )
    manifest = read_manifest(raw, None, Digest.of(raw))
    assert manifest.kind is ManifestKind.IMAGE
    row, edges = describe(manifest, sparse=False)
    assert (row.digest, row.size, row.media_type) == (Digest.of(raw), len(raw), OCI_IMAGE)
    assert (row.artifact_type, row.annotations) == (OCI_CONFIG, '{"é":"\\n"}')
    assert row.subject == Digest.of(b"s")
    assert [(edge.kind, edge.digest, edge.required) for edge in edges] == [
        (EdgeKind.CONFIG, Digest.of(b"c"), True),
        (EdgeKind.LAYER, Digest.of(b"layer"), True),
        (EdgeKind.LAYER, Digest.of(b"f"), False),
    ]
    assert {edge.required for edge in describe(manifest, sparse=True)[1]} == {False}
    outer = index([descriptor(raw, OCI_IMAGE), descriptor(b"{}", EMPTY_JSON)])
    _, children = describe(read_manifest(outer, None, Digest.of(outer)), sparse=False)
    assert {edge.kind for edge in children} == {EdgeKind.CHILD}


@pytest.mark.parametrize("error", [StorageError("no write"), OSError(errno.EIO, "no rename")])
async def test_a_read_survives_a_disk_that_takes_no_write(
    store: Store, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """What is bad is missing, even if that cannot be written down."""
    registry, _ = listened(store)
    blob = await push(registry, b"x")
    os.unlink(store.layout.blob(blob))

    async def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(store.names.links, "lose", fails)
    with pytest.raises(BlobMissing):
        await Repository(registry, NAME).blob_size(blob)


async def test_a_manifest_whose_bytes_are_lost_can_be_deleted(store: Store) -> None:
    """Or nothing that it names could ever be deleted."""
    repository = Repository(listened(store)[0], NAME)
    await repository.put_manifest(LATEST, FIRST, None)
    os.unlink(store.layout.blob(ONE))
    with pytest.raises(ManifestMissing):
        await repository.manifest_row(ONE)
    await repository.delete_manifest(ONE)
    assert await store.names.listings.repositories(after="", limit=1) == []


# -- pulls ------------------------------------------------------------------------------------------------


async def pulled(store: Store) -> list[Digest]:
    sql = "SELECT digest FROM manifests WHERE pulled IS NOT NULL"
    rows = await store.database.read(lambda connection: connection.execute(sql).fetchall())
    return [Digest.from_binary(digest) for (digest,) in rows]


async def test_who_asks_for_a_manifest_pulls_it(store: Store) -> None:
    registry, _ = listened(store)
    repository = Repository(registry, NAME)
    await repository.put_manifest(LATEST, FIRST, None)
    await repository.put_manifest(OTHER, SECOND, None)
    await repository.put_manifest(ONE, FIRST, None)
    with pytest.raises(ManifestMissing):
        await repository.manifest_row(Tag("absent"))
    await repository.tags(after="", limit=9)
    await registry.pulls.flush()
    assert await pulled(store) == []
    await repository.manifest_row(LATEST)
    await registry.pulls.flush()
    assert await pulled(store) == [ONE]
    await repository.manifest_row(TWO)
    await registry.pulls.flush()
    assert sorted(await pulled(store)) == sorted([ONE, TWO])


# -- what a collector has marked ---------------------------------------------------------------------------

GARBAGE = b"a blob that no manifest names"
Asked = Callable[[Repository], Awaitable[object]]


async def ask_blob(repository: Repository) -> object:
    return await repository.blob_size(Digest.of(GARBAGE))


async def ask_manifest(repository: Repository) -> object:
    return (await repository.manifest_row(ONE)).size


# What is asked, what the answer is, and what says that there is none.
MARKED: dict[str, tuple[Asked, int, type[StorageError]]] = {
    "a blob": (ask_blob, len(GARBAGE), BlobMissing),
    "a manifest": (ask_manifest, len(FIRST), ManifestMissing),
}
marked_content = pytest.mark.parametrize(("ask", "answer", "fact"), MARKED.values(), ids=MARKED)


async def mark(store: Store) -> Repository:
    """Content without a use in a repository, and a pass of a collector."""
    registry, _ = listened(store)
    repository = Repository(registry, NAME)
    await push(registry, GARBAGE)
    await repository.put_manifest(LATEST, FIRST, None)
    await repository.delete_tag(LATEST)
    await collect(store, Rules(untagged=lambda _: -1))
    assert await marks(store) == [True, True]
    return repository


async def marks(store: Store) -> list[bool]:
    """Of the blob and of the manifest."""
    blob = await store.names.links.find(NAME, Digest.of(GARBAGE))
    return [blob.marked, (await store.names.manifests.find(NAME, ONE)).marked]


@marked_content
async def test_who_may_push_takes_a_mark_off(
    store: Store, ask: Asked, answer: int, fact: type[StorageError]
) -> None:
    repository = await mark(store)
    assert await ask(repository) == answer
    assert await marks(store) == [ask is not ask_blob, ask is not ask_manifest]


@marked_content
async def test_who_may_only_pull_leaves_it(
    store: Store, ask: Asked, answer: int, fact: type[StorageError]
) -> None:
    repository = await mark(store)
    reading = Repository(repository._registry, NAME, allows=lambda _: False)
    assert await ask(reading) == answer
    assert await marks(store) == [True, True]


async def test_the_right_to_push_is_looked_at_for_marks_alone(store: Store) -> None:
    """Most answers are about what has none."""
    repository = await mark(store)
    await ask_blob(repository)
    await ask_manifest(repository)

    def may_push(_: Action) -> bool:
        raise AssertionError("asked without a need")

    other = Repository(repository._registry, NAME, allows=may_push)
    assert (await ask_blob(other), await ask_manifest(other)) == (len(GARBAGE), len(FIRST))


@marked_content
async def test_a_mark_that_stays_on_is_an_absence_to_who_may_push(
    store: Store, ask: Asked, answer: int, fact: type[StorageError]
) -> None:
    """Another process keeps the index for itself: "not here" lets the client push, which is always right."""
    repository = await mark(store)
    reading = Repository(repository._registry, NAME, allows=lambda _: False)
    with held(store.layout.write_lock, "a test"):
        begun = time.monotonic()
        with pytest.raises(fact):
            await ask(repository)
        assert 0.9 < time.monotonic() - begun < 10
        assert await ask(reading) == answer
        assert await marks(store) == [True, True]
    assert await ask(repository) == answer
    assert await marks(store) == [ask is not ask_blob, ask is not ask_manifest]


@marked_content
async def test_what_is_swept_between_the_look_and_the_writers_turn_is_missing(
    store: Store, ask: Asked, answer: int, fact: type[StorageError]
) -> None:
    repository = await mark(store)
    with ExitStack() as stack:
        stack.enter_context(held(store.layout.write_lock, "a test"))
        sweep = asyncio.create_task(store.database.write(_sweep))
        await asyncio.sleep(0)  # it is queued
        asked = asyncio.create_task(_fact_of(ask(repository)))
        await asyncio.sleep(0)
        stack.close()
        await sweep
        assert await asked is fact


def _sweep(connection: Connection) -> None:
    for table in ("links", "manifests"):
        connection.execute(f"DELETE FROM {table} WHERE mark IS NOT NULL")


async def _fact_of(call: Awaitable[object]) -> type[StorageError] | None:
    try:
        await call
    except StorageError as error:
        return type(error)
    return None


@marked_content
async def test_a_degraded_store_says_what_it_has(
    store: Store, ask: Asked, answer: int, fact: type[StorageError]
) -> None:
    """Marks are bookkeeping: to take one off needs no disk that keeps its word. Nothing is swept there."""
    repository = await mark(store)
    store.files.latch("a test")
    assert await ask(repository) == answer
    assert await marks(store) == [ask is not ask_blob, ask is not ask_manifest]
