"""Blob files: what has the name of a digest, and what is done about files that should not have it."""

import asyncio
import errno
import itertools
import os
import stat
from collections.abc import Callable

import pytest

from storage import blobs
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

    def failing(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == digest.encoded:
            raise PermissionError(13, "Permission denied")
        return real(path, flags, mode, dir_fd=dir_fd)

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


async def test_the_walk_passes_over_a_shard_that_the_disk_does_not_give(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = sorted([(await put(store, b"%d" % number))[0] for number in range(20)])
    shard = f"blobs/sha256/{digests[3].encoded[:2]}"
    real, code = os.scandir, errno.EIO

    def scandir(path: str) -> object:
        if path.endswith(shard):
            raise OSError(code, os.strerror(code), path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    told: list[str] = []
    found = [digest for digest, _ in store.blobs.walk(unlisted=told.append)]
    assert (found, told) == ([*digests[:3], *digests[4:]], [shard])
    assert list(store.blobs.walk(shard, unlisted=told.append))
    assert told == [shard]  # who goes on behind it knows
    for code, how in ((errno.EIO, None), (errno.EMFILE, told.append)):
        with pytest.raises(OSError, match=os.strerror(code)):
            list(store.blobs.walk(unlisted=how))


# -- for collectors ----------------------------------------------------------------------------------------


async def test_what_is_held_open_outlives_its_name(store: Store) -> None:
    """The room is given back when it is let go, which needs no lock."""
    digest, path = await put(store, b"bytes")
    other, _ = await put(store, b"others", "sha512")
    descriptors = len(os.listdir("/dev/fd"))
    opened: list[int] = []
    store.blobs.hold([digest, Digest.of(b"absent"), other], opened)
    assert [os.pread(descriptor, 9, 0) for descriptor in opened] == [b"bytes", b"others"]
    store.blobs.unlink(digest)
    assert not os.path.exists(path)
    assert os.pread(opened[0], 9, 0) == b"bytes"
    store.blobs.let_go(opened)
    assert len(os.listdir("/dev/fd")) == descriptors


async def test_only_regular_files_are_held(store: Store) -> None:
    digest, path = await put(store, b"bytes")
    os.unlink(path)
    os.symlink("/etc/hostname", path)
    opened: list[int] = []
    store.blobs.hold([digest], opened)
    assert opened == []


async def test_what_cannot_be_opened_is_not_held_and_nothing_leaks(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few descriptors are no reason to collect nothing: a file that is not held goes all the same."""
    one, two = (await put(store, b"one"))[0], (await put(store, b"two"))[0]
    opening = blobs._open_plain

    def scarce(root: str, path: str) -> int:
        if path == store.layout.blob(one):
            raise OSError(errno.EMFILE, "too many")
        return opening(root, path)

    monkeypatch.setattr(blobs, "_open_plain", scarce)
    opened: list[int] = []
    store.blobs.hold([one, two], opened)
    assert len(opened) == 1
    store.blobs.let_go(opened)


async def test_unlinking_is_one_call_and_may_be_repeated(opener: Opener) -> None:
    recorder = Recorder()
    store = opener(probe=recorder)
    digest, path = await put(store, b"bytes")
    recorder.calls.clear()
    store.blobs.unlink(digest)
    store.blobs.unlink(digest)
    assert recorder.calls == [("unlink", os.path.basename(path))]  # the second found nothing
    assert store.blobs.size(digest) is None


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_shards_cover_every_digest_once(store: Store, algorithm: str) -> None:
    shards = [(low, high) for low, high in store.blobs.shards() if low.algorithm == algorithm]
    assert len(shards) == 256
    length = ALGORITHMS[algorithm].hex_length
    numbers = [(int(low.encoded, 16), int(high.encoded, 16)) for low, high in shards]
    assert (numbers[0][0], numbers[-1][1]) == (0, 16**length - 1)
    assert all(high + 1 == low for (_, high), (low, _) in itertools.pairwise(numbers))
    assert all(
        {os.path.dirname(store.layout.blob(low)), os.path.dirname(store.layout.blob(high))}
        == {os.path.join(store.layout.root, "blobs", algorithm, low.encoded[:2])}
        for low, high in shards
    )


async def test_lists_say_what_a_shard_holds(store: Store) -> None:
    sizes = {(await put(store, bytes(number)))[0]: number for number in range(20)}
    sizes[(await put(store, b"long", "sha512"))[0]] = 4
    some = next(iter(sizes))
    folder = os.path.dirname(store.layout.blob(some))
    for name in ("note.txt", some.encoded[:2] + "0" * 61 + "g", "ff" + "0" * 61):
        with open(os.path.join(folder, name), "wb"):
            pass
    listed = [(low, high, store.blobs.list_shard(low, idle=0)) for low, high in store.blobs.shards()]
    assert {digest: size for _, _, found in listed for digest, size in found.items()} == sizes
    assert all(low <= digest <= high for low, high, found in listed for digest in found)


@pytest.mark.parametrize(
    ("age", "idle", "listed"),
    [(0, 0, True), (0, 60, False), (59, 60, False), (61, 60, True), (-3600, 60, False), (-3600, 0, False)],
)
async def test_lists_leave_out_what_is_new(
    store: Store, monkeypatch: pytest.MonkeyPatch, age: float, idle: float, listed: bool
) -> None:
    """By when the file got its name, and never one of the future: the clock was set back."""
    digest, path = await put(store, b"bytes")
    named = os.stat(path).st_ctime
    monkeypatch.setattr("storage.blobs.time.time", lambda: named + age)
    assert store.blobs.list_shard(digest, idle=idle) == ({digest: 5} if listed else {})
