"""Blob files: what has the name of a digest, and what is done about files that should not have it."""

import asyncio
import os
import stat
from collections.abc import Callable

import pytest

from storage.blobs import BlobFile
from storage.digest import ALGORITHMS, Digest
from storage.errors import BlobMissing, DigestMismatch, InvalidDigest, StoreDegraded
from storage.store import Store
from tests.builders import blob
from tests.storage.conftest import Opener
from tests.storage.probes import Recorder

MIB = 2**20


async def put(store: Store, data: bytes, algorithm: str = "sha256") -> tuple[Digest, str]:
    """Returns its digest and path."""
    digest = Digest.of(data, algorithm)
    await store.blobs.put(digest, data)
    return digest, store.layout.blob(digest)


def spoil(path: str, data: bytes) -> None:
    os.chmod(path, 0o600)
    with open(path, "wb") as file:
        file.write(data)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("size", [0, 1, MIB, 2 * MIB + 1])
async def test_what_was_put_can_be_read(store: Store, algorithm: str, size: int) -> None:
    data = blob(size)
    digest, path = await put(store, data, algorithm)
    assert store.blobs.size(digest) == size
    assert await store.blobs.read(digest) == data
    assert store.blobs.verify(digest)
    async with store.blobs.open(digest) as file:
        chunks = [chunk async for chunk in file.chunks(0, file.size)]
    assert b"".join(chunks) == data
    assert max(map(len, chunks), default=0) <= MIB
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o400
    assert os.listdir(store.layout.uploads) == []


async def test_pieces_come_in_the_order_asked(store: Store) -> None:
    data = blob(3000)
    digest, _ = await put(store, data)
    pieces = [(2990, 10), (0, 0), (5, 1000), (0, 3000), (6, 1), (3000, 0)]
    async with store.blobs.open(digest) as file:
        expected = [data[start : start + length] for start, length in pieces]
        assert await file.read(pieces) == expected == await file.read(pieces)
        assert await file.read([]) == []
        assert os.pread(file.descriptor, 9, 1000) == data[1000:1009]
        for short in ([(0, 1), (2999, 2)], [(3000, 1)]):
            with pytest.raises(EOFError):
                await file.read(short)


@pytest.mark.parametrize("nowait", [None, 0], ids=["cached", "by a thread"])
@pytest.mark.parametrize(
    ("start", "length"), [(0, 0), (0, 1), (5, 10), (MIB - 1, 2), (0, 2 * MIB), (2 * MIB, 5), (2 * MIB + 5, 0)]
)
async def test_parts(
    store: Store, monkeypatch: pytest.MonkeyPatch, start: int, length: int, nowait: int | None
) -> None:
    if nowait is not None:
        monkeypatch.setattr("storage.blobs._NOWAIT", nowait)
    data = blob(2 * MIB + 5)
    digest, _ = await put(store, data)
    async with store.blobs.open(digest) as file:
        for _ in range(2):
            assert (
                b"".join([chunk async for chunk in file.chunks(start, length)])
                == data[start : start + length]
            )


async def test_a_file_that_ends_early_is_an_error_not_a_short_answer(store: Store) -> None:
    digest, path = await put(store, b"0123456789")
    async with store.blobs.open(digest) as file:
        os.chmod(path, 0o600)
        os.truncate(path, 4)
        chunks = file.chunks(0, file.size)
        assert await anext(chunks) == b"0123"
        with pytest.raises(EOFError, match="6 bytes short"):
            await anext(chunks)


PLANTED: dict[str, Callable[[str], object]] = {
    "nothing": lambda path: None,
    "link": lambda path: os.symlink(__file__, path),
    "link to nothing": lambda path: os.symlink("nowhere", path),
    "folder": os.mkdir,
    "pipe": os.mkfifo,
}


@pytest.mark.parametrize("plant", PLANTED.values(), ids=PLANTED)
async def test_only_a_regular_file_is_a_blob(store: Store, plant: Callable[[str], object]) -> None:
    digest = Digest.of(b"data")
    plant(store.layout.blob(digest))
    descriptors = len(os.listdir("/dev/fd"))
    assert store.blobs.size(digest) is None
    with pytest.raises(BlobMissing, match=str(digest)):
        await store.blobs.read(digest)
    with pytest.raises(BlobMissing):
        store.blobs.verify(digest)
    with pytest.raises(BlobMissing):
        async with store.blobs.open(digest):
            pytest.fail("it was opened")
    assert len(os.listdir("/dev/fd")) == descriptors


async def test_other_errors_are_not_taken_for_absence(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    digest, _ = await put(store, b"data")
    real = os.open

    def failing(path: str, flags: int, mode: int = 0o777) -> int:
        if path == store.layout.blob(digest):
            raise PermissionError(13, "Permission denied")
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", failing)
    with pytest.raises(PermissionError):
        await store.blobs.read(digest)
    with pytest.raises(PermissionError):
        async with store.blobs.open(digest):
            pytest.fail("it was opened")


async def test_digests_without_files(store: Store) -> None:
    digest = Digest.parse_any("blake3:abc")
    assert store.blobs.size(digest) is None
    with pytest.raises(InvalidDigest):
        await store.blobs.put(digest, b"data")


@pytest.mark.parametrize("rotten", [b"", b"dat", b"DATA", b"data and more"])
async def test_bad_bytes_are_found_taken_away_and_healed(store: Store, rotten: bytes) -> None:
    digest, path = await put(store, b"data")
    spoil(path, rotten)
    assert not store.blobs.verify(digest)
    with pytest.raises(DigestMismatch) as caught:
        await store.blobs.read(digest)
    assert (caught.value.expected, caught.value.actual) == (str(digest), str(Digest.of(rotten)))
    store.blobs.quarantine(digest)
    assert store.blobs.size(digest) is None
    (kept,) = os.listdir(store.layout.quarantine)
    assert kept.startswith(f"sha256-{digest.encoded}.")
    with open(os.path.join(store.layout.quarantine, kept), "rb") as file:
        assert file.read() == rotten
    await put(store, b"data")
    assert await store.blobs.read(digest) == b"data"


async def test_putting_heals_without_a_quarantine_too(store: Store) -> None:
    digest, path = await put(store, b"data")
    spoil(path, b"rotten")
    await put(store, b"data")
    assert await store.blobs.read(digest) == b"data"


async def test_a_quarantine_is_durable_and_of_what_is_there(opener: Opener) -> None:
    probe = Recorder()
    store = opener(probe=probe)
    digest, path = await put(store, b"data")
    probe.calls.clear()
    store.blobs.quarantine(digest)
    store.blobs.quarantine(digest)
    assert probe.names == ["rename", "fsync"]
    assert probe.calls[1][1] == os.path.basename(os.path.dirname(path))


async def test_an_open_blob_outlives_its_name(store: Store) -> None:
    digest, _ = await put(store, b"data")
    async with store.blobs.open(digest) as file:
        store.blobs.quarantine(digest)
        await put(store, b"data")
        assert [chunk async for chunk in file.chunks(0, file.size)] == [b"data"]


async def test_a_degraded_store_takes_no_bytes(store: Store) -> None:
    digest, _ = await put(store, b"data")
    store.files.latch("a test")
    with pytest.raises(StoreDegraded):
        await store.blobs.put(digest, b"data")
    with pytest.raises(StoreDegraded):
        store.blobs.adopt(digest, -1, "unused")
    assert await store.blobs.read(digest) == b"data"


async def test_the_same_blob_many_times_at_once(opener: Opener) -> None:
    one, other = opener(), opener()
    data = blob(5000)
    await asyncio.gather(*(put(store, data) for store in [one, other] * 8))
    assert await other.blobs.read(Digest.of(data)) == data
    assert os.listdir(one.layout.uploads) == []


class SlowFile:
    """An open file whose every call takes until `go`."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.events: list[str] = []

    async def seek(self, offset: int) -> int:
        return offset

    async def read(self, size: int) -> bytes:
        self.events.append("read begins")
        await self.go.wait()
        self.events.append("read ends")
        return bytes(size)


async def test_a_cancelled_reader_goes_on_only_after_its_read_has_ended(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = SlowFile()
    monkeypatch.setattr("storage.blobs.wrap", lambda file, executor: slow)
    file = BlobFile(10, os.open(os.devnull, os.O_RDONLY), store.threads)

    async def reader() -> None:
        try:
            async for _ in file.chunks(0, 10):
                pytest.fail("a chunk came")
        finally:
            slow.events.append("closed")

    task = asyncio.create_task(reader())
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.sleep(0.01)
    slow.go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    os.close(file.descriptor)
    assert slow.events == ["read begins", "read ends", "closed"]


async def test_the_walk_sees_every_entry_in_order(store: Store) -> None:
    digests = [(await put(store, b"%d" % number))[0] for number in range(20)]
    digests.append((await put(store, b"long", "sha512"))[0])
    shard = os.path.join(store.layout.root, "blobs", "sha256", "ab")
    strays = ["ab" + "0" * 61 + "g", "cd" + "0" * 62, "note.txt"]
    for name in strays:
        with open(os.path.join(shard, name), "wb"):
            pass
    found = list(store.blobs.walk())
    assert [digest for digest, _ in found if digest] == sorted(digests)
    assert sorted(entry.name for digest, entry in found if digest is None) == sorted(strays)
    assert all(entry.name == digest.encoded for digest, entry in found if digest)
