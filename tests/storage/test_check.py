"""fsck: nothing to say of a sound store, everything that is wrong with another, and what repair does."""

import errno
import os
import shutil
import stat
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from storage import check as module
from storage.check import check, expected_bytes
from storage.database import Connection
from storage.digest import Digest
from storage.errors import BlobMissing, IndexFailed, ManifestMissing, StoreDegraded
from storage.findings import Finding, Position, Report
from storage.links import LinkRow
from storage.manifest_rows import Edge, EdgeKind, ManifestRow
from storage.store import Store
from tests.storage.conftest import Opener
from tests.storage.probes import failure
from tests.storage.pushing import begin, body, edge, install, push_blob, push_manifest, row

CONFIG, LAYER, IMAGE, LIST = b"{}", b"layer bytes", b"image", b"list"
CONTENT: dict[bytes, list[Edge]] = {
    IMAGE: [edge(CONFIG, EdgeKind.CONFIG), edge(LAYER), edge(b"foreign", required=False)],
    LIST: [edge(IMAGE, EdgeKind.CHILD)],
}
DIGESTS = {data: Digest.of(data) for data in (CONFIG, LAYER, IMAGE, LIST)}

Took = Callable[[int], Awaitable[None]]


def read(raw: bytes, manifest: ManifestRow) -> tuple[ManifestRow, Sequence[Edge]]:
    """What the manifests above say."""
    if raw not in CONTENT:
        raise ValueError("no manifest at all")
    return replace(manifest, digest=Digest.of(raw), size=len(raw), annotations="{}"), CONTENT[raw]


async def fill(store: Store) -> None:
    for data in (CONFIG, LAYER):
        await push_blob(store, "a", data)
    await push_manifest(store, "a", IMAGE, CONTENT[IMAGE], ["t"])
    await push_manifest(store, "a", LIST, CONTENT[LIST])
    await push_blob(store, "b", LAYER)


def path_of(store: Store, data: bytes) -> str:
    return store.layout.blob(DIGESTS[data])


def spoil(store: Store, data: bytes, new: bytes) -> None:
    os.chmod(path_of(store, data), 0o600)
    with open(path_of(store, data), "wb") as file:
        file.write(new)
    os.chmod(path_of(store, data), 0o400)


async def sql(store: Store, *statements: str) -> None:
    """Changes that no method makes; the foreign keys do not hold them up."""
    store.database._writer.execute("PRAGMA foreign_keys=OFF")

    def change(connection: Connection) -> None:
        for statement in statements:
            connection.execute(statement)

    await store.database.write(change)


async def found(store: Store, *, repair: bool = False) -> Report:
    return await check(store, read=read, repair=repair)


def kinds(report: Report) -> list[tuple[str, str]]:
    return sorted((finding.kind, finding.subject) for finding in report.findings)


async def test_a_sound_store(store: Store) -> None:
    await fill(store)
    await begin(store, b"half")
    async with store.fetches.open("@up.example/app", DIGESTS[LAYER]) as fetch:
        await fetch.announce(len(LAYER))
    progress: list[int] = []
    report = await check(store, read=read, progress=progress.append)
    size = len(CONFIG + LAYER + IMAGE + LIST)
    assert report == Report(blobs=4, bytes=size, repositories=2, manifests=2, tags=1, uploads=1, fetches=1)
    assert report.sound
    assert sum(progress) == size


async def test_the_disk_is_checked_and_not_the_page_cache(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(store)
    calls: list[tuple[str, Digest]] = []
    examine, forget = store.blobs.examine, store.blobs.forget

    async def noting(digest: Digest) -> None:
        calls.append(("forget", digest))
        await forget(digest)

    async def reading(digest: Digest, took: Took) -> bool:
        calls.append(("examine", digest))
        return await examine(digest, took)

    monkeypatch.setattr(store.blobs, "forget", noting)
    monkeypatch.setattr(store.blobs, "examine", reading)
    assert (await found(store)).sound
    assert calls == [(call, digest) for digest in sorted(DIGESTS.values()) for call in ("forget", "examine")]


async def test_an_empty_store(store: Store) -> None:
    assert await found(store) == Report()


async def test_more_rows_than_one_range(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.rows._STEP", 2)
    await fill(store)
    assert (await found(store)).sound
    for data in DIGESTS:
        os.unlink(path_of(store, data))
    assert [kind for kind, _ in kinds(await found(store))] == ["lost"] * 4


async def test_what_nobody_needs_is_counted_and_does_no_harm(store: Store) -> None:
    await fill(store)
    await store.blobs.put(Digest.of(b"never claimed"), b"never claimed")
    digest = await push_blob(store, "a", b"deleted")
    await store.names.links.remove("a", digest, even_if_referenced=False)
    report = await found(store)
    assert (report.unreferenced, report.unreferenced_bytes) == (2, len(b"never claimed" + b"deleted"))
    assert report.sound


async def test_a_row_that_nobody_needs_may_lack_its_file(store: Store) -> None:
    """A link that was removed leaves it; what an edge still names is another matter."""
    await fill(store)
    digest = await push_blob(store, "a", b"deleted")
    await store.names.links.remove("a", digest, even_if_referenced=False)
    os.unlink(store.layout.blob(digest))
    assert (await found(store, repair=True)).sound
    for repository in ("a", "b"):
        await store.names.links.remove(repository, DIGESTS[LAYER], even_if_referenced=True)
    os.unlink(path_of(store, LAYER))
    assert kinds(await found(store)) == [("lost", LAYER_NAME)]


Damage = Callable[[Store], Awaitable[object]]


async def corrupt_layer(store: Store) -> None:
    spoil(store, LAYER, b"layer BYTES")


async def corrupt_manifest(store: Store) -> None:
    spoil(store, IMAGE, b"IMAGE")


async def lose_layer(store: Store) -> None:
    os.unlink(path_of(store, LAYER))


async def replace_by_link(store: Store) -> None:
    os.rename(path_of(store, LAYER), f"{store.layout.root}/elsewhere")
    os.symlink(f"{store.layout.root}/elsewhere", path_of(store, LAYER))


async def plant_stranger(store: Store) -> None:
    os.mkdir(f"{store.layout.root}/blobs/sha256/00/folder")


async def make_writable(store: Store) -> None:
    os.chmod(path_of(store, LAYER), 0o600)


async def latch(store: Store) -> None:
    store.files.latch("fsync of x failed")


LAYER_LINKS = f"SELECT id FROM blobs WHERE digest = x'{DIGESTS[LAYER].binary.hex()}'"
IMAGE_ID = f"SELECT id FROM blobs WHERE digest = x'{DIGESTS[IMAGE].binary.hex()}'"
LAYER_NAME, IMAGE_NAME, LIST_NAME = (str(DIGESTS[data]) for data in (LAYER, IMAGE, LIST))
FILE = f"blobs/sha256/{DIGESTS[LAYER].encoded[:2]}/{DIGESTS[LAYER].encoded}"

DAMAGES: dict[str, tuple[Damage, list[tuple[str, str]]]] = {
    "other bytes": (corrupt_layer, [("corrupt", LAYER_NAME)]),
    "other bytes of a manifest": (corrupt_manifest, [("corrupt", IMAGE_NAME)]),
    "no file": (lose_layer, [("lost", LAYER_NAME)]),
    "a link": (replace_by_link, [("lost", LAYER_NAME), ("stray", FILE)]),
    "a stranger": (plant_stranger, [("stray", "blobs/sha256/00/folder")]),
    "a writable file": (make_writable, [("writable", FILE)]),
    "a failed sync": (latch, [("degraded", "ROOT")]),
    "another size": (
        lambda store: sql(store, f"UPDATE blobs SET size = 5 WHERE id = ({LAYER_LINKS})"),
        [("lost", LAYER_NAME)],
    ),
    "marked missing": (
        lambda store: sql(store, f"UPDATE blobs SET state = 0 WHERE id = ({LAYER_LINKS})"),
        [("dangling", LAYER_NAME)] * 2,
    ),
    "no link": (
        lambda store: sql(store, f"DELETE FROM links WHERE blob = ({LAYER_LINKS})"),
        [("dangling", LAYER_NAME)],
    ),
    "no child": (
        lambda store: sql(
            store,
            "DELETE FROM tags",
            f"DELETE FROM edges WHERE parent = ({IMAGE_ID})",
            f"DELETE FROM manifests WHERE blob = ({IMAGE_ID})",
        ),
        [("dangling", IMAGE_NAME)],
    ),
    "no edge": (
        lambda store: sql(store, f"DELETE FROM edges WHERE child = ({LAYER_LINKS})"),
        [("disagrees", IMAGE_NAME)],
    ),
    "another kind of edge": (
        lambda store: sql(store, f"UPDATE edges SET kind = 1 WHERE child = ({LAYER_LINKS})"),
        [("disagrees", IMAGE_NAME)],
    ),
    "other annotations": (
        lambda store: sql(store, f"UPDATE manifests SET annotations = '[]' WHERE blob = ({IMAGE_ID})"),
        [("disagrees", IMAGE_NAME)],
    ),
    "no manifest": (
        lambda store: push_manifest(store, "a", b"noise"),
        [("disagrees", str(Digest.of(b"noise")))],
    ),
    "a wrong sum": (
        lambda store: sql(store, "UPDATE repositories SET held_tags = held_tags + 1 WHERE name = 'a'"),
        [("miscounted", "a")],
    ),
    "a tag on nothing": (lambda store: sql(store, "UPDATE tags SET manifest = 999"), [("index", "index.db")]),
}


@pytest.mark.parametrize(("damage", "expected"), DAMAGES.values(), ids=DAMAGES)
async def test_damage_is_found(store: Store, damage: Damage, expected: list[tuple[str, str]]) -> None:
    await fill(store)
    await damage(store)
    before = sorted(os.listdir(store.layout.root))
    report = await found(store)
    assert not report.sound
    assert kinds(report) == [
        (kind, store.layout.root if subject == "ROOT" else subject) for kind, subject in expected
    ]
    assert all(finding.message and not finding.repaired for finding in report.findings)
    assert kinds(await found(store)) == kinds(report)
    assert sorted(os.listdir(store.layout.root)) == before


async def test_a_broken_index_is_found(store: Store) -> None:
    await fill(store)
    await sql(
        store,
        "PRAGMA writable_schema=ON",
        "UPDATE sqlite_master SET rootpage = (SELECT rootpage FROM sqlite_master WHERE name = 'edges_child')"
        " WHERE name = 'tags_manifest'",
    )
    assert ("index", "index.db") in kinds(await found(store))


async def test_repair_takes_bad_bytes_away_and_a_push_heals(store: Store) -> None:
    await fill(store)
    await corrupt_layer(store)
    await corrupt_manifest(store)
    report = await found(store, repair=True)
    assert kinds(report) == sorted([("corrupt", LAYER_NAME), ("corrupt", IMAGE_NAME), *DANGLING])
    assert report.quarantined == 2
    with pytest.raises(BlobMissing):
        await store.names.links.find("b", DIGESTS[LAYER])
    with pytest.raises(ManifestMissing):
        await store.names.manifests.resolve("a", "t")
    assert kinds(await found(store)) == sorted(DANGLING)
    await push_blob(store, "c", LAYER)
    await push_manifest(store, "a", IMAGE, CONTENT[IMAGE])
    assert (await found(store)).sound
    assert (await store.names.manifests.resolve("a", "t")) == row(IMAGE)


# Each repository that lists them: the layer in a and b, the image in a.
DANGLING = [("dangling", LAYER_NAME), ("dangling", LAYER_NAME), ("dangling", IMAGE_NAME)]


async def test_repair_hides_what_is_lost(store: Store) -> None:
    await fill(store)
    await lose_layer(store)
    report = await found(store, repair=True)
    assert Finding("lost", LAYER_NAME, "the index says 11 bytes, the file has none", repaired=True) in (
        report.findings
    )
    with pytest.raises(BlobMissing):
        await store.names.links.find("a", DIGESTS[LAYER])


async def test_repair_of_a_degraded_store_trusts_it_again_at_its_end(opener: Opener) -> None:
    store, server = opener(), opener()
    await fill(store)
    await corrupt_layer(store)
    await latch(store)
    report = await found(store, repair=True)
    assert ("corrupt", LAYER_NAME) in kinds(report)
    assert Finding("degraded", store.layout.root, "fsync of x failed", repaired=True) in report.findings
    assert store.blobs.size(DIGESTS[LAYER]) is None
    assert os.path.getsize(f"{store.layout.index}-wal") == 0
    await push_blob(server, "a", LAYER)
    assert (await found(store)).sound


async def test_a_repair_that_fails_leaves_the_store_degraded(opener: Opener) -> None:
    store, server = opener(), opener()
    await fill(store)
    await latch(store)
    shutil.rmtree(os.path.dirname(path_of(store, LAYER)))
    try:
        with pytest.raises(FileNotFoundError):
            await found(store, repair=True)
        for each in (store, server):
            with pytest.raises(StoreDegraded):
                await push_blob(each, "a", b"more")
    finally:
        os.mkdir(os.path.dirname(path_of(store, LAYER)), 0o700)


async def test_a_sync_that_fails_during_the_repair_keeps_the_store_degraded(opener: Opener) -> None:
    store, server = opener(), opener()
    await fill(store)
    await latch(store)

    def fail_again(size: int) -> None:
        server.files.latch("fsync of y failed")

    report = await check(store, read=read, repair=True, progress=fail_again)
    assert Finding("degraded", store.layout.root, "fsync of x failed") in report.findings
    with pytest.raises(StoreDegraded):
        await push_blob(server, "a", b"more")
    assert (await found(store, repair=True)).findings[0].repaired
    await push_blob(server, "a", b"more")


async def test_sessions_outlive_every_repair(store: Store) -> None:
    upload = await begin(store, b"half")
    await latch(store)
    await found(store, repair=True)
    async with store.uploads.open(upload) as session:
        await session.append(body(b" and half"), algorithm="sha256")
        assert await store.blobs.read(await install(session, b"half and half")) == b"half and half"


@pytest.mark.parametrize("code", [errno.EIO, errno.EBADMSG, errno.EMFILE, errno.ENOMEM, errno.EACCES])
async def test_bytes_that_the_disk_cannot_read_are_bad(
    store: Store, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    await fill(store)
    examine = store.blobs.examine

    async def failing(digest: Digest, took: Took) -> bool:
        if digest == DIGESTS[LAYER]:
            raise failure(code)
        return await examine(digest, took)

    monkeypatch.setattr(store.blobs, "examine", failing)
    if code in (errno.EIO, errno.EBADMSG):
        assert ("corrupt", LAYER_NAME) in kinds(await found(store, repair=True))
        assert store.blobs.size(DIGESTS[LAYER]) is None
        return
    with pytest.raises(OSError, match=os.strerror(code)):
        await found(store, repair=True)
    assert await store.blobs.read(DIGESTS[LAYER]) == LAYER


async def test_what_heals_meanwhile_is_let_be(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A push may come between the suspicion and the repair."""
    await fill(store)
    await corrupt_layer(store)
    lose = store.names.links.lose

    async def push_first(digest: Digest, is_bad: Callable[[], bool], discard: Callable[[], None]) -> bool:
        await push_blob(store, "a", LAYER)
        return await lose(digest, is_bad, discard)

    monkeypatch.setattr(store.names.links, "lose", push_first)
    assert (await found(store, repair=True)).sound
    assert await store.names.links.find("b", DIGESTS[LAYER]) == LinkRow(len(LAYER))
    assert os.listdir(store.layout.quarantine) == []
    assert (await found(store)).sound


async def test_what_was_healed_while_it_was_read_is_no_finding(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(store)
    await corrupt_layer(store)
    examine = store.blobs.examine

    async def healing(digest: Digest, took: Took) -> bool:
        intact = await examine(digest, took)
        if not intact:
            await push_blob(store, "a", LAYER)
        return intact

    monkeypatch.setattr(store.blobs, "examine", healing)
    assert (await found(store)).sound


async def test_rows_that_heal_meanwhile_are_let_be(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(store)
    await lose_layer(store)
    lose = store.names.links.lose

    async def push_first(digest: Digest, is_bad: Callable[[], bool]) -> bool:
        await push_blob(store, "a", LAYER)
        return await lose(digest, is_bad)

    monkeypatch.setattr(store.names.links, "lose", push_first)
    assert (await found(store, repair=True)).sound


async def test_what_vanishes_meanwhile_is_lost_not_corrupt(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(store)
    await corrupt_layer(store)
    lose = store.names.links.lose

    async def quarantine_first(
        digest: Digest, is_bad: Callable[[], bool], discard: Callable[[], None]
    ) -> bool:
        store.blobs.quarantine(digest)
        return await lose(digest, is_bad, discard)

    monkeypatch.setattr(store.names.links, "lose", quarantine_first)
    await found(store, repair=True)
    with pytest.raises(BlobMissing):
        await store.names.links.find("b", DIGESTS[LAYER])


async def test_a_file_that_vanishes_before_it_is_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(store)
    examine = store.blobs.examine

    async def vanishing(digest: Digest, took: Took) -> bool:
        if digest == DIGESTS[LAYER]:
            store.blobs.quarantine(digest)
        return await examine(digest, took)

    monkeypatch.setattr(store.blobs, "examine", vanishing)
    report = await found(store)
    assert kinds(report) == [("lost", LAYER_NAME)]
    assert report.blobs == 3


async def test_a_file_that_vanishes_before_it_is_looked_at(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(store)
    walk = store.blobs.walk

    def vanishing(
        after: str, *, unlisted: Callable[[str], None]
    ) -> Iterator[tuple[Digest | None, os.DirEntry[str]]]:
        for digest, entry in walk(after, unlisted=unlisted):
            if digest == DIGESTS[LAYER]:
                os.unlink(entry.path)
            yield digest, entry

    monkeypatch.setattr(store.blobs, "walk", vanishing)
    report = await found(store)
    assert kinds(report) == [("lost", LAYER_NAME)]
    assert report.blobs == 3


async def test_rows_are_looked_at_twice(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A push may come between the row and the look at its file."""
    await fill(store)
    looks: list[Digest] = []
    size = store.blobs.size

    def late(digest: Digest) -> int | None:
        looks.append(digest)
        return size(digest) if looks.count(digest) > 1 else None

    monkeypatch.setattr(store.blobs, "size", late)
    assert (await found(store)).sound
    assert len(looks) == 2 * len(DIGESTS)


async def test_modes_are_left_to_the_owner(store: Store) -> None:
    await fill(store)
    await make_writable(store)
    await found(store, repair=True)
    assert stat.S_IMODE(os.stat(path_of(store, LAYER)).st_mode) == 0o600


async def test_a_reader_that_keeps_the_wal_keeps_the_latch(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAUSE", 0)
    reader = store.database.scan()
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM blobs").fetchall()
    await fill(store)
    store.files.latch("a test")
    report = await check(store, read=read, repair=True)
    assert [(finding.kind, finding.repaired) for finding in report.findings] == [("degraded", False)]
    reader.close()
    report = await check(store, read=read, repair=True)
    assert [(finding.kind, finding.repaired) for finding in report.findings] == [("degraded", True)]
    assert (await check(store, read=read)).sound


async def test_a_checkpoint_that_fails_keeps_the_latch(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(store)
    store.files.latch("a test")
    checkpoint = store.database.checkpoint

    async def failing() -> bool:
        store.files.latch("its fsync failed")
        return await checkpoint()

    monkeypatch.setattr("storage.database.Database.checkpoint", lambda _: failing())
    report = await check(store, read=read, repair=True)
    assert [(finding.kind, finding.repaired) for finding in report.findings] == [("degraded", False)]
    assert os.path.exists(store.layout.degraded)


# -- interrupted and gone on with --------------------------------------------------------------------------


class Interrupted(Exception):
    pass


async def interrupted(store: Store, *, files: int, repair: bool = False) -> Position:
    """The position that a check leaves which is stopped behind so many files."""
    kept: list[Position] = []
    examine, seen = store.blobs.examine, set[Digest]()

    async def stopping(digest: Digest, took: Took) -> bool:
        seen.add(digest)
        if len(seen) > files:
            raise Interrupted
        return await examine(digest, took)

    with pytest.MonkeyPatch.context() as patch, suppress(Interrupted):
        patch.setattr(store.blobs, "examine", stopping)
        await check(store, read=read, repair=repair, keep=kept.append)
    return kept[-1] if kept else Position()


@pytest.mark.parametrize("files", range(5))
async def test_a_check_that_goes_on_finds_what_a_whole_one_finds(store: Store, files: int) -> None:
    await fill(store)
    await plant_stranger(store)
    await corrupt_manifest(store)
    await make_writable(store)
    spoil(store, CONFIG, b"[]")
    await store.blobs.put(Digest.of(b"never claimed"), b"never claimed")
    whole = await found(store)
    assert len(whole.findings) > 3
    position = await interrupted(store, files=files)
    assert position.report.blobs == files
    progress: list[int] = []
    report = await check(store, read=read, start=position, progress=progress.append)
    assert report == whole
    assert position.report.bytes + sum(progress) == whole.bytes


async def test_a_check_that_ends_has_kept_that_all_is_read(store: Store) -> None:
    await fill(store)
    kept: list[Position] = []
    whole = await check(store, read=read, keep=kept.append)
    progress: list[int] = []
    report = await check(store, read=read, start=kept[-1], progress=progress.append)
    assert (report, progress) == (whole, [])


async def test_positions_are_kept_now_and_then(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(store)
    kept: list[Position] = []
    await check(store, read=read, keep=kept.append)
    assert len(kept) == 1
    monkeypatch.setattr("storage.reading._KEEP", 0)
    await check(store, read=read, keep=kept.append)
    assert len(kept) == 1 + len(DIGESTS) + 1


@pytest.mark.parametrize("healed", [True, False])
async def test_a_repair_that_goes_on_repairs_what_was_found_before(store: Store, healed: bool) -> None:
    await fill(store)
    await corrupt_layer(store)
    await corrupt_manifest(store)
    position = await interrupted(store, files=4)
    if healed:
        await push_blob(store, "a", LAYER)
    report = await check(store, read=read, repair=True, start=position)
    corrupt = {finding.subject: finding.repaired for finding in report.findings if finding.kind == "corrupt"}
    assert corrupt == {IMAGE_NAME: True} if healed else {IMAGE_NAME: True, LAYER_NAME: True}
    assert report.quarantined == len(corrupt)
    assert (await store.names.links.holders(DIGESTS[LAYER], limit=1) == []) is not healed


@pytest.mark.parametrize("repair", [False, True])
async def test_old_findings_are_looked_at_again(store: Store, repair: bool) -> None:
    """They may be of a week ago."""
    await fill(store)
    await plant_stranger(store)
    await corrupt_layer(store)
    await corrupt_manifest(store)
    os.chmod(path_of(store, CONFIG), 0o600)
    position = await interrupted(store, files=4)
    assert len(position.report.findings) == 4
    os.rmdir(f"{store.layout.root}/blobs/sha256/00/folder")
    os.chmod(path_of(store, CONFIG), 0o400)
    await push_blob(store, "a", LAYER)
    await push_manifest(store, "a", IMAGE, CONTENT[IMAGE])
    assert (await check(store, read=read, repair=repair, start=position)).sound


async def test_what_is_as_it_was_is_found_again(store: Store) -> None:
    await fill(store)
    await plant_stranger(store)
    await corrupt_layer(store)
    os.chmod(path_of(store, CONFIG), 0o600)
    whole = await found(store)
    position = await interrupted(store, files=4)
    assert await check(store, read=read, start=position) == whole
    assert await check(store, read=read, start=position) == whole


async def test_the_begin_of_the_first_part_is_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(store)
    monkeypatch.setattr("time.time", lambda: 1_700_000_000.5)
    position = await interrupted(store, files=2)
    monkeypatch.setattr("time.time", lambda: 1_800_000_000.5)
    kept: list[Position] = []
    await check(store, read=read, start=position, keep=kept.append)
    assert {each.begun for each in (position, *kept)} == {1_700_000_000}


async def test_a_shard_that_the_disk_does_not_give_is_a_finding(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the others nor their repair wait for it, and nothing in it is lost for that."""
    await fill(store)
    await corrupt_manifest(store)
    shard = os.path.dirname(path_of(store, LAYER))
    scandir, lstat = os.scandir, os.lstat

    def failing(call: Callable[[str], Any]) -> Callable[[str], Any]:
        def act(path: str) -> object:
            if str(path).startswith(shard):
                raise failure(errno.EIO)
            return call(path)

        return act

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", failing(scandir))
        patch.setattr(os, "lstat", failing(lstat))
        report = await found(store, repair=True)
    name = shard.removeprefix(f"{store.layout.root}/")
    assert ("unreadable", name) in kinds(report)
    assert ("corrupt", IMAGE_NAME) in kinds(report)
    assert report.blobs == len(DIGESTS) - 1
    assert await store.names.links.find("b", DIGESTS[LAYER]) == LinkRow(len(LAYER))


async def test_an_fsync_that_failed_after_the_begin_asks_for_a_whole_check(store: Store) -> None:
    await fill(store)
    position = await interrupted(store, files=2)
    store.files.latch("fsync of x failed")
    report = await check(store, read=read, repair=True, start=position)
    ((kind, repaired, message),) = [(each.kind, each.repaired, each.message) for each in report.findings]
    assert (kind, repaired) == ("degraded", False)
    assert "check everything again" in message
    assert os.path.exists(store.layout.degraded)
    position = await interrupted(store, files=2, repair=True)
    report = await check(store, read=read, repair=True, start=position)
    assert [(each.kind, each.repaired) for each in report.findings] == [("degraded", True)]


async def test_an_index_that_cannot_be_read_is_a_fact(store: Store) -> None:
    with pytest.raises(IndexFailed, match="put it back"), store.database.scanning() as connection:
        connection.execute("SELECT * FROM nothing")


async def test_what_there_will_be_to_read(store: Store) -> None:
    assert expected_bytes(store) == 0
    await fill(store)
    assert expected_bytes(store) == len(CONFIG + LAYER + IMAGE + LIST)
