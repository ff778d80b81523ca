"""The index made anew from blobs, or mended: what is found, what it lacks, what cannot be known."""

import asyncio
import errno
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from registry.names import RepositoryName, Tag
from registry.registry import Registry
from registry.reindex import READER
from registry.repository import Repository
from storage import reindex as module
from storage.blobs import BlobStore
from storage.database import Connection
from storage.digest import Digest
from storage.errors import StoreBusy, StoreUnusable
from storage.files import Files
from storage.layout import Layout
from storage.locks import held
from storage.recovery import Recovery, Report
from storage.reindex import reindex
from storage.store import Store, open_store
from tests import builders
from tests.builders import DOCKER_IMAGE, OCI_IMAGE, OCI_INDEX, OCI_LAYER, descriptor
from tests.crash.evidence import Names, look, names_in
from tests.storage.test_snapshot import damage_a_page

REF_NAME = "org.opencontainers.image.ref.name"
FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"

CONFIG = b'{"config":{"Cmd":["sh"]},"rootfs":{"type":"layers","diff_ids":[]}}'
LAYER, OTHER, LOOSE = b"layer" * 100, b"other" * 100, b"nobody's" * 100
IMAGE = builders.image(descriptor(CONFIG), [descriptor(LAYER)])
UNTYPED = IMAGE.replace(f'"mediaType": "{OCI_IMAGE}", '.encode(), b"", 1)
DOCKER = builders.image(descriptor(CONFIG), [descriptor(OTHER)], media_type=DOCKER_IMAGE)
INDEX = builders.index([descriptor(IMAGE, OCI_IMAGE), descriptor(DOCKER, DOCKER_IMAGE)])
CACHE = builders.index([descriptor(LAYER, OCI_LAYER), descriptor(CONFIG)])  # as BuildKit pushes it
SIGNED = builders.image(descriptor(b"{}"), subject=descriptor(IMAGE, OCI_IMAGE), artifact_type="a/b")
FAR = builders.image(descriptor(CONFIG), [descriptor(b"elsewhere", FOREIGN)])
TAGGED = builders.image(descriptor(CONFIG), annotations={REF_NAME: "v1.2"})
SHORT = builders.image(descriptor(CONFIG), [descriptor(LAYER), descriptor(b"gone")])
OF_SHORT = builders.index([descriptor(SHORT, OCI_IMAGE)])


@pytest.fixture
def layout(store: Store) -> Layout:
    """Of a root whose server is gone, and its index with it."""
    for suffix in ("", "-wal", "-shm"):
        os.unlink(store.layout.index + suffix)
    return store.layout


@pytest.fixture
def lost(root: str) -> Layout:
    """A root without an index, and nobody has it open."""
    open_store(root, durable=False).close()
    os.unlink(f"{root}/index.db")
    return Layout(root)


def put(layout: Layout, *blobs: bytes) -> None:
    """Bytes alone, as a lost index leaves them."""
    for data in blobs:
        path = layout.blob(Digest.of(data))
        with open(path, "wb") as file:
            file.write(data)
        os.chmod(path, 0o400)


def run(layout: Layout, *, into: str = "recovered", dry_run: bool = False) -> Report:
    files = Files(layout.degraded, durable=False)
    return reindex(layout, files, READER, into=into, dry_run=dry_run)


def names(layout: Layout) -> Names:
    seen = look(layout.root)
    assert not [problem for problem in seen.problems if "is in the root" not in problem], seen.problems
    return seen.names


def manifests(layout: Layout) -> set[str]:
    return {str(row[1]) for row in names(layout).manifests}


def digests(*blobs: bytes) -> set[str]:
    return {str(Digest.of(data)) for data in blobs}


async def fill(store: Store, repository: str, *manifests: bytes, blobs: tuple[bytes, ...] = ()) -> None:
    """By pushes; a manifest's media type is an index's if it has children."""
    for data in blobs:
        await store.blobs.put(Digest.of(data), data)
        await store.names.links.claim(repository, Digest.of(data), store.blobs.size)
    app = Repository(Registry(store.names, store.blobs, store.uploads), RepositoryName(repository))
    for raw in manifests:
        kind = (
            OCI_INDEX
            if b'"manifests"' in raw
            else DOCKER_IMAGE
            if DOCKER_IMAGE.encode() in raw
            else OCI_IMAGE
        )
        await app.put_manifest(Tag(f"t{Digest.of(raw).encoded[:8]}"), raw, kind)


# -- an index that is lost -----------------------------------------------------------------------------


async def test_what_was_pushed_is_found_again_without_its_names(root: str) -> None:
    with closing(open_store(root, durable=False)) as store:
        await fill(store, "a", IMAGE, DOCKER, INDEX, SIGNED, blobs=(CONFIG, LAYER, OTHER, b"{}"))
        await fill(store, "b", IMAGE, CACHE, blobs=(CONFIG, LAYER))
    layout = Layout(root)
    before = names(layout)
    os.unlink(layout.index)
    report = await asyncio.to_thread(run, layout)
    after = names(layout)

    def merged(rows: frozenset[tuple[str | int, ...]]) -> set[tuple[str | int, ...]]:
        return {("recovered", *row[1:]) for row in rows}

    assert after.links == merged(before.links)
    # The last column of a manifest says that it never was untagged: it stays for as long as anyone wants.
    assert after.manifests == merged(before.manifests)
    assert after.edges == merged(before.edges)
    assert after.tags == set()
    assert (report.manifests, report.recovered, report.nothing) == (5, 5, 0)
    assert (report.incomplete, report.tags, report.bad) == ({}, {}, [])


SEEN: dict[str, tuple[bytes, bool]] = {
    "an image": (IMAGE, True),
    "without a media type": (UNTYPED, True),
    "Docker's": (DOCKER, True),
    "an index": (INDEX, True),
    "a referrer": (SIGNED, True),
    "a config": (CONFIG, False),
    "no JSON": (b"{no", False),
    "JSON of something else": (b'{"schemaVersion": 2}', False),
    "one brace": (b"{", False),
    "Docker's schema 1": (b'{"schemaVersion": 1, "name": "a", "fsLayers": []}', False),
    "ambiguous": (IMAGE.replace(b'"layers"', b'"Layers"'), False),
    "a layer": (LAYER, False),
    "nothing": (b"", False),
    "too large": (IMAGE[:-1] + b" " * 4 * 2**20 + b"}", False),
}


@pytest.mark.parametrize(("data", "seen"), SEEN.values(), ids=SEEN)
def test_what_is_taken_for_a_manifest(lost: Layout, data: bytes, seen: bool) -> None:
    put(lost, data, CONFIG, LAYER)
    report = run(lost)
    assert report.manifests == seen
    assert {str(row[1]) for row in names_in(lost.root).manifests} == (digests(data) if seen else set())


def test_only_the_bytes_of_its_digest_are_believed(lost: Layout) -> None:
    put(lost, IMAGE, DOCKER, CONFIG, LAYER, OTHER, INDEX)
    with open(lost.blob(Digest.of(DOCKER)), "r+b") as file:
        file.write(b"{ ")
    report = run(lost)
    assert report.bad == [str(Digest.of(DOCKER))]
    assert report.recovered == 2
    assert report.incomplete == {str(Digest.of(INDEX)): [str(Digest.of(DOCKER))]}


def test_a_disk_that_does_not_read_is_bad_bytes(lost: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    put(lost, IMAGE, CONFIG, LAYER)
    code = errno.EIO

    async def read(_: BlobStore, __: Digest) -> bytes:
        raise OSError(code, "")

    monkeypatch.setattr(BlobStore, "read", read)
    report = run(lost, dry_run=True)
    assert set(report.bad) == digests(IMAGE, CONFIG)
    code = errno.EMFILE
    with pytest.raises(OSError):
        run(lost, dry_run=True)


# -- what is not there ---------------------------------------------------------------------------------


def test_an_incomplete_image_is_listed_and_a_push_completes_it(lost: Layout) -> None:
    put(lost, SHORT, OF_SHORT, CONFIG, LAYER)
    report = run(lost)
    assert report.incomplete == {
        str(Digest.of(SHORT)): [str(Digest.of(b"gone"))],
        str(Digest.of(OF_SHORT)): [str(Digest.of(SHORT))],
    }
    assert report.recovered == 2
    with closing(open_store(lost.root, durable=False)) as store:
        asyncio.run(fill(store, "recovered", SHORT, blobs=(b"gone",)))
    assert digests(b"gone") < {str(row[1]) for row in names(lost).links}
    assert run(lost).incomplete == {}


def test_content_of_another_size_is_not_it(lost: Layout) -> None:
    wrong = builders.image(descriptor(CONFIG), [{**descriptor(LAYER), "size": 7}])
    put(lost, wrong, CONFIG, LAYER)
    report = run(lost)
    assert report.incomplete == {str(Digest.of(wrong)): [str(Digest.of(LAYER))]}
    assert (report.nothing, report.nothing_bytes) == (1, len(LAYER))


def test_what_may_be_elsewhere_lacks_nothing(lost: Layout) -> None:
    put(lost, FAR, CONFIG)
    assert run(lost).incomplete == {}


def test_blobs_that_belong_to_nothing_are_counted_and_left(lost: Layout) -> None:
    put(lost, IMAGE, CONFIG, LAYER, LOOSE, OTHER)
    report = run(lost)
    assert (report.blobs, report.bytes) == (5, len(IMAGE + CONFIG + LAYER + LOOSE + OTHER))
    assert (report.nothing, report.nothing_bytes) == (2, len(LOOSE + OTHER))
    assert os.path.exists(lost.blob(Digest.of(LOOSE)))


# -- tags ----------------------------------------------------------------------------------------------


def claiming(tag: str, number: int = 0) -> bytes:
    return builders.image(descriptor(CONFIG), annotations={REF_NAME: tag, "number": str(number)})


CLAIMS: dict[str, tuple[list[bytes], list[str]]] = {
    "one": ([TAGGED], ["v1.2"]),
    "two of one": ([claiming("v1"), claiming("v1", 1)], []),
    "two of two": ([claiming("v1"), claiming("v2")], ["v1", "v2"]),
    "no tag": ([claiming("docker.io/library/alpine:3"), claiming(""), claiming("-x")], []),
}


@pytest.mark.parametrize(("images", "tags"), CLAIMS.values(), ids=CLAIMS)
def test_tags_that_one_manifest_claims(lost: Layout, images: list[bytes], tags: list[str]) -> None:
    put(lost, CONFIG, *images)
    report = run(lost)
    assert sorted(report.tags) == tags
    assert sorted((str(tag), str(digest)) for _, tag, digest in names(lost).tags) == sorted(
        report.tags.items()
    )


def test_a_tag_that_is_there_does_not_move(lost: Layout) -> None:
    put(lost, CONFIG, claiming("v1"))
    run(lost)
    put(lost, claiming("v1", 1))
    report = run(lost)
    assert (report.recovered, report.tags) == (1, {})
    assert {str(digest) for _, _, digest in names(lost).tags} == digests(claiming("v1"))


# -- the old index -------------------------------------------------------------------------------------


def garbage(index: str) -> None:
    with open(index, "wb") as file:
        file.write(os.urandom(10_000))


BAD: dict[str, tuple[Callable[[str], object], bool]] = {
    "missing": (os.unlink, False),
    "empty": (lambda index: os.truncate(index, 0), True),
    "garbage": (garbage, True),
    "a damaged page": (damage_a_page, True),
}


@pytest.mark.parametrize(("damage", "kept"), BAD.values(), ids=BAD)
def test_a_bad_index_is_put_aside(
    root: str, damage: Callable[[str], object], kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: 1700000000.5)
    open_store(root, durable=False).close()
    layout = Layout(root)
    put(layout, IMAGE, CONFIG, LAYER)
    for number in range(2):
        damage(layout.index)
        old = Path(layout.index).read_bytes() if kept else b""
        report = run(layout)
        assert report.replaced
        assert report.aside == (f"{root}/index.db.bad-{1700000000 + number}" if kept else "")
        if kept:
            assert Path(report.aside).read_bytes() == old
        assert manifests(layout) == digests(IMAGE)
    assert not [name for name in os.listdir(root) if name.startswith("index.db.new")]


def test_a_wal_goes_aside_with_its_index(lost: Layout) -> None:
    """SQLite would apply it to the new one."""
    put(lost, IMAGE, CONFIG, LAYER)
    for suffix in ("", "-wal", "-shm", "-journal"):
        with open(lost.index + suffix, "wb") as file:
            file.write(b"of the old one" * 1000)
    aside = os.path.basename(run(lost).aside)
    assert {aside + suffix for suffix in ("", "-wal", "-shm", "-journal")} <= set(os.listdir(lost.root))
    assert manifests(lost) == digests(IMAGE)


def test_a_root_that_someone_has_open_keeps_its_index(store: Store) -> None:
    damage_a_page(store.layout.index)
    with pytest.raises(StoreBusy, match="a server, or another command, has the root open: stop it"):
        run(store.layout)
    assert not [name for name in os.listdir(store.layout.root) if name.startswith("index.db.bad")]


def test_a_newer_programs_index_is_left(root: str) -> None:
    with closing(open_store(root, durable=False)) as store:
        store.database._writer.execute("PRAGMA user_version=99")
    with pytest.raises(StoreUnusable, match="use the newer program"):
        run(Layout(root))


def test_a_death_before_the_end_leaves_no_half_index(lost: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """With half an index, a server would collect what the other half names."""
    put(lost, IMAGE, DOCKER, CONFIG, LAYER, OTHER)
    monkeypatch.setattr("storage.recovery._BATCH", 1)
    real = Recovery._record
    left = iter([True])

    async def record(*arguments: object) -> None:
        if not next(left, False):
            raise KeyboardInterrupt
        await real(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Recovery, "_record", record)
        with pytest.raises(KeyboardInterrupt):
            run(lost)
    with pytest.raises(StoreUnusable, match="missing"):
        open_store(lost.root)
    assert not [name for name in os.listdir(lost.root) if name.startswith("index.db")]
    assert run(lost).recovered == 2
    assert manifests(lost) == digests(IMAGE, DOCKER)


@pytest.mark.parametrize("lock", ["gc_lock", "evict_lock"])
def test_collector_and_evictor_wait(lost: Layout, monkeypatch: pytest.MonkeyPatch, lock: str) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    with held(getattr(lost, lock), ""), pytest.raises(StoreBusy, match="a collection or an eviction"):
        run(lost)


# -- an index that is sound ----------------------------------------------------------------------------


async def forget(store: Store, *raws: bytes) -> None:
    """As an index from an older backup: rows of manifests that came later are not in it."""

    def change(connection: Connection) -> None:
        for raw in raws:
            found = "(SELECT id FROM blobs WHERE digest = ?)"
            for table, column in (("tags", "manifest"), ("manifests", "blob")):
                connection.execute(f"DELETE FROM {table} WHERE {column} = {found}", (Digest.of(raw).binary,))
            connection.execute("DELETE FROM tag_history WHERE new = ?", (Digest.of(raw).binary,))

    await store.database.write(change)


def test_manifests_that_no_repository_lists_are_added_beside_a_server(store: Store) -> None:
    asyncio.run(fill(store, "a", IMAGE, DOCKER, INDEX, blobs=(CONFIG, LAYER, OTHER)))
    before = names(store.layout)
    asyncio.run(forget(store, INDEX, DOCKER))
    report = run(store.layout, into="found/again")
    after = names(store.layout)
    assert (report.replaced, report.manifests, report.recovered) == ("", 3, 2)
    assert {row for row in after.manifests if row[0] == "a"} < before.manifests
    # The index came back, and what it names with it: in one repository, it is whole.
    held_there = {str(row[1]) for row in after.manifests if row[0] == "found/again"}
    assert held_there == digests(IMAGE, DOCKER, INDEX)
    assert run(store.layout, into="found/again").recovered == 0


def test_a_sound_index_is_left_as_it_is(store: Store) -> None:
    asyncio.run(fill(store, "a", IMAGE, DOCKER, INDEX, CACHE, SIGNED, blobs=(CONFIG, LAYER, OTHER, b"{}")))
    generation = store.database.generation.current
    report = run(store.layout)
    assert (report.manifests, report.recovered, report.rewritten) == (5, 0, [])
    assert store.database.generation.current == generation
    assert {row[0] for row in names(store.layout).manifests} == {"a"}


# -- a dry run -----------------------------------------------------------------------------------------


def test_a_dry_run_says_the_same_and_changes_nothing(store: Store, folder: str) -> None:
    asyncio.run(fill(store, "a", IMAGE, DOCKER, INDEX, blobs=(CONFIG, LAYER, OTHER)))
    asyncio.run(forget(store, INDEX))
    before = names(store.layout)
    told = run(store.layout, dry_run=True)
    assert names(store.layout) == before
    assert told == run(store.layout)


def test_a_dry_run_without_an_index(lost: Layout) -> None:
    put(lost, IMAGE, TAGGED, SHORT, CONFIG, LAYER, LOOSE)
    before = sorted(os.listdir(lost.root))
    told = run(lost, dry_run=True)
    assert sorted({*os.listdir(lost.root)} - {"gc.lock", "evict.lock"}) == before
    assert told == run(lost)


# -- graphs --------------------------------------------------------------------------------------------


def test_indexes_nest_at_will(lost: Layout) -> None:
    """Each level names the one below twice: a walk that forgets what it has seen would not end."""
    raws = [builders.index([], annotations={"level": "0"})]
    for level in range(1, 40):
        below = descriptor(raws[-1], OCI_INDEX)
        raws.append(
            builders.index(
                [below, {**below, "platform": {"os": "linux", "architecture": "a"}}],
                annotations={"level": str(level)},
            )
        )
    put(lost, *raws)
    report = run(lost)
    assert (report.recovered, report.incomplete) == (40, {})
    assert manifests(lost) == digests(*raws)
