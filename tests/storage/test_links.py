"""What the SQLite index adds to the contract of links: what happens under its lock, and how much."""

import errno
import fcntl
import os
from collections.abc import Callable

import pytest

from storage.collect import collect
from storage.database import Connection
from storage.digest import Digest
from storage.errors import BlobMissing, BlobReferenced, StoreDegraded
from storage.garbage import Rules
from storage.links import LinkRow
from storage.store import Store
from tests.storage.conftest import Opener
from tests.storage.probes import Recorder, failure
from tests.storage.pushing import edge, push_blob, push_manifest


def is_locked(store: Store) -> bool:
    """Whether somebody holds the write lock."""
    descriptor = os.open(store.layout.write_lock, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


async def test_files_are_looked_at_under_the_write_lock(store: Store) -> None:
    """Else what was seen might be gone, or healed, when the row is written."""
    digest = await push_blob(store, "a", b"data")
    locked: list[bool] = []

    def file_size(digest: Digest) -> int | None:
        locked.append(is_locked(store))
        return store.blobs.size(digest)

    def is_bad() -> bool:
        locked.append(is_locked(store))
        return True

    await store.names.links.claim("a", digest, file_size)
    await store.names.links.mount("b", digest, file_size, source="a")
    await store.names.links.lose(digest, is_bad, lambda: locked.append(is_locked(store)))
    assert locked == [True] * 5
    assert not is_locked(store)


async def test_what_was_left_goes_with_the_next_collection_unless_somebody_holds_it(store: Store) -> None:
    held, left, gone = await push_blob(store, "a", b"held"), Digest.of(b"left"), Digest.of(b"gone")
    await store.blobs.put(left, b"left")
    for digest in (held, left, gone):
        await store.names.links.leave(digest, store.blobs.size)
    assert await store.names.listings.repositories(after="", limit=9) == ["a"]
    with pytest.raises(BlobMissing):
        await store.names.links.find("a", left)
    report = await collect(store, Rules(untagged=lambda _: 0), walk=False)
    assert (report.files, report.freed) == (1, 4)
    assert (store.blobs.size(left), store.blobs.size(held)) == (None, 4)


async def test_what_was_left_can_be_claimed(store: Store) -> None:
    digest = Digest.of(b"data")
    await store.blobs.put(digest, b"data")
    await store.names.links.leave(digest, store.blobs.size)
    await push_blob(store, "b", b"data")
    await collect(store, Rules(untagged=lambda _: 0), walk=False)
    assert (await store.names.links.find("b", digest)).size == store.blobs.size(digest) == 4


async def test_a_claim_notes_the_size_of_the_file_not_of_a_rumour(store: Store) -> None:
    digest = Digest.of(b"data")
    await push_manifest(store, "a", b"one", [edge(digest, required=False)])
    await push_blob(store, "a", b"data")
    assert await store.names.links.find("a", digest) == LinkRow(4)


async def test_a_mount_whose_file_has_gone(store: Store) -> None:
    digest = await push_blob(store, "a", b"data")
    store.blobs.quarantine(digest)
    with pytest.raises(BlobMissing):
        await store.names.links.mount("b", digest, store.blobs.size, source="a")
    assert await store.names.listings.repositories(after="", limit=9) == ["a"]


async def test_a_refusal_names_a_bounded_number_of_parents(store: Store) -> None:
    digest = await push_blob(store, "a", b"data")
    for number in range(15):
        await push_manifest(store, "a", b"%d" % number, [edge(b"data")])
    with pytest.raises(BlobReferenced) as caught:
        await store.names.links.remove("a", digest, even_if_referenced=False)
    assert len(set(caught.value.parents)) == 10


async def test_what_was_let_go_on_purpose_is_noted(store: Store) -> None:
    digest = await push_blob(store, "a", b"data")
    await push_manifest(store, "a", b"one", [edge(b"data")])
    await push_blob(store, "b", b"data")
    await push_manifest(store, "b", b"one", [edge(b"data")])
    await store.names.links.remove("a", digest, even_if_referenced=True)
    rows = await store.database.read(
        lambda connection: connection.execute(
            "SELECT name, optional FROM edges JOIN repositories ON id = repository ORDER BY name"
        ).fetchall()
    )
    assert rows == [("a", 1), ("b", 0)]


async def test_all_that_is_answered_for_is_durable(opener: Opener) -> None:
    """Only what must be durable asks whether the store is sound."""
    store = opener()
    digest = await push_blob(store, "a", b"data")
    store.files.latch("a test")
    links = store.names.links
    for call in (
        links.claim("b", digest, store.blobs.size),
        links.mount("b", digest, store.blobs.size, source="a"),
        links.remove("a", digest, even_if_referenced=False),
    ):
        with pytest.raises(StoreDegraded):
            await call
    assert await links.find("a", digest) == LinkRow(4)


async def test_that_bytes_are_gone_is_noted_in_a_degraded_store_too(opener: Opener) -> None:
    store = opener()
    digest = await push_blob(store, "a", b"data")
    store.files.latch("a test")
    await store.names.links.lose(digest, lambda: True)
    with pytest.raises(BlobMissing):
        await store.names.links.find("a", digest)


async def test_a_row_says_missing_before_its_file_loses_its_name(opener: Opener) -> None:
    """Else a crash between the two would leave a row that promises a file."""
    probe = Recorder()
    store = opener(probe=probe)
    digest = await push_blob(store, "a", b"data")
    probe.calls.clear()
    await store.names.links.lose(digest, lambda: True, lambda: store.blobs.quarantine(digest))
    assert probe.names == ["commit", "rename", "fsync", "commit"]


async def test_a_name_that_cannot_be_taken_leaves_the_blob_missing(opener: Opener) -> None:
    probe = Recorder()
    store = opener(probe=probe)
    digest = await push_blob(store, "a", b"data")
    probe.failing = {("before", "rename"): failure(errno.EIO)}
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        await store.names.links.lose(digest, lambda: True, lambda: store.blobs.quarantine(digest))
    probe.failing = {}
    assert await store.names.links.holders(digest, limit=1) == []
    await push_blob(store, "a", b"data")
    assert await store.names.links.holders(digest, limit=1) == ["a"]


async def test_a_blob_that_was_healed_before_the_discard_keeps_its_file(
    opener: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, pusher = opener(), opener()
    digest = await push_blob(store, "a", b"data")
    write = store.database.write

    async def push_after(change: Callable[[Connection], bool], **how: bool) -> bool:
        result = await write(change, **how)
        await push_blob(pusher, "b", b"data")
        return result

    monkeypatch.setattr(store.database, "write", push_after)
    assert await store.names.links.lose(digest, lambda: True, lambda: pytest.fail("it was discarded"))
    assert await store.names.links.holders(digest, limit=9) == ["a", "b"]


async def test_what_a_collector_sweeps_stays_his(store: Store) -> None:
    """Only a row that is present can be lost: another state says who has the file in hand."""
    digest = await push_blob(store, "a", b"data")
    sweeping = 2
    await store.database.write(lambda index: index.execute("UPDATE blobs SET state = ?", (sweeping,)))
    await store.names.links.lose(digest, lambda: True)
    rows = await store.database.read(lambda index: index.execute("SELECT state FROM blobs").fetchall())
    assert rows == [(sweeping,)]


async def test_a_claim_does_no_file_work_but_a_look(opener: Opener) -> None:
    probe = Recorder()
    store = opener(probe=probe)
    await store.blobs.put(Digest.of(b"data"), b"data")
    probe.calls.clear()
    await store.names.links.claim("a", Digest.of(b"data"), store.blobs.size)
    assert probe.names == ["commit"]
