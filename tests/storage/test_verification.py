"""Reading every file: what is found, in which order, from where, and how fast."""

import ctypes
import errno
import mmap
import os
from contextlib import nullcontext

import pytest

from storage import verification as module
from storage.digest import Digest
from storage.errors import DiskUnreadable
from storage.pace import Pace
from storage.store import Store
from storage.verification import File, Took, condemn, is_still_there, verify, verify_all
from tests.builders import blob
from tests.storage.probes import failure
from tests.storage.pushing import push_blob

DATA = [blob(size, size) for size in (0, 1, 70_000, 2**20, 2**20 + 1)]


class Notes(Pace):
    """A pace that only notes."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: list[int] = []

    async def took(self, count: int) -> None:
        self.counts.append(count)


async def everything(store: Store, *, after: str = "") -> list[File]:
    return [file async for file in verify_all(store, after=after, pace=Pace())]


@pytest.mark.parametrize("batch", [1, 100])
async def test_all_files_in_order_and_from_each_of_them(
    store: Store, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(module, "_BATCH", batch)
    digests = [
        await push_blob(store, "a", data, algorithm) for data in DATA for algorithm in ("sha256", "sha512")
    ]
    os.mkdir(f"{store.layout.root}/blobs/sha256/80/folder")
    files = await everything(store)
    names = [file.name for file in files]
    assert names == sorted(names)
    assert {file.digest for file in files} == {*digests, None}
    assert all(file.intact is (file.digest is not None) for file in files)
    for number, name in enumerate(names):
        assert [file.name for file in await everything(store, after=name)] == names[number + 1 :]
    assert await everything(store, after="blobs/sha512/ff/ff") == [
        file for file in files if file.name > "blobs/sha512/ff/ff"
    ]


@pytest.mark.parametrize("data", DATA, ids=len)
async def test_bytes_are_told_by_the_piece_and_a_small_file_counts_for_more(
    store: Store, data: bytes
) -> None:
    await push_blob(store, "a", data)
    pace, progress = Notes(), list[int]()
    (file,) = [file async for file in verify_all(store, pace=pace, progress=progress.append)]
    assert file.intact
    assert sum(progress) == len(data)
    assert max(progress, default=0) <= 2**20
    assert sum(pace.counts) == max(len(data), 64 * 2**10)


@pytest.mark.parametrize("rotten", [b"", b"dat", b"DATA", b"data and more"])
async def test_bad_bytes_go_and_a_push_heals(store: Store, rotten: bytes) -> None:
    digest = await push_blob(store, "a", b"data")
    path = store.layout.blob(digest)
    os.unlink(path)
    with open(path, "wb") as file:
        file.write(rotten)
    (bad,) = await everything(store)
    assert (bad.digest, bad.intact, is_still_there(store, bad)) == (digest, False, True)
    assert await condemn(store, digest, bad)
    assert await everything(store) == []
    assert await store.names.links.holders(digest, limit=1) == []
    await push_blob(store, "a", b"data")
    assert not is_still_there(store, bad)
    assert not await condemn(store, digest, bad)
    assert [file.intact for file in await everything(store)] == [True]
    assert await store.names.links.holders(digest, limit=1) == ["a"]


async def test_a_file_that_has_gone_is_none(store: Store) -> None:
    digest = Digest.of(b"data")
    name = store.layout.blob(digest).removeprefix(f"{store.layout.root}/")
    assert await verify(store, name, digest, Pace()) is None


@pytest.mark.parametrize("hiccup", [False, failure(errno.EIO)], ids=["other bytes", "EIO"])
@pytest.mark.parametrize("times", [1, 2])
async def test_what_is_bad_is_read_once_more(
    store: Store, monkeypatch: pytest.MonkeyPatch, hiccup: bool | OSError, times: int
) -> None:
    """From the disk: the page cache, a cable or a controller may have been what was bad."""
    digest = await push_blob(store, "a", b"data")
    left, calls, real = iter([hiccup] * times), list[str](), store.blobs.examine

    async def examine(digest: Digest, took: Took) -> bool:
        calls.append("examine")
        if isinstance(first := next(left, True), OSError):
            raise first
        return first and await real(digest, took)

    async def forget(_: Digest) -> None:
        calls.append("forget")

    monkeypatch.setattr(store.blobs, "examine", examine)
    monkeypatch.setattr(store.blobs, "forget", forget)
    (file,) = await everything(store)
    assert (file.digest, file.intact) == (digest, times == 1)
    assert calls == ["examine", "forget", "examine"]


@pytest.mark.parametrize("bad", [7, 8, 20])
async def test_a_disk_that_is_away_is_no_bad_blob(
    store: Store, monkeypatch: pytest.MonkeyPatch, bad: int
) -> None:
    """Those that cannot be read wait for one that can, so that none of them is taken away before."""
    digests = sorted([await push_blob(store, "a", b"%d" % number) for number in range(24)])
    away, real = {*digests[2 : 2 + bad], digests[-1]}, store.blobs.examine

    async def examine(digest: Digest, took: Took) -> bool:
        if digest in away:
            raise failure(errno.EIO)
        return await real(digest, took)

    monkeypatch.setattr(store.blobs, "examine", examine)
    seen: list[File] = []
    with pytest.raises(DiskUnreadable, match="8 files in a row") if bad > 7 else nullcontext():
        async for file in verify_all(store, pace=Pace()):
            seen.append(file)  # noqa: PERF401 — a list made at once would be lost with the error
    assert [file.digest for file in seen] == digests[: 2 if bad > 7 else None]
    assert [file.digest for file in seen if not file.intact] == ([] if bad > 7 else sorted(away))


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="nothing can be told to this kernel")
async def test_pages_that_were_not_cached_are_let_go(store: Store) -> None:
    """Else reading everything would drive out what pulls have read."""
    data = blob(2**20)
    digest = await push_blob(store, "a", data)
    path = store.layout.blob(digest)
    if not _can_forget(path):
        pytest.skip("this file system keeps its files in memory")
    await everything(store)
    assert _cached(path) == 0
    await store.blobs.read(digest)
    cached = _cached(path)
    assert cached
    await everything(store)
    assert _cached(path) == cached
    assert [file.intact async for file in verify_all(store, pace=Pace(), from_disk=True)] == [True]
    assert _cached(path) == 0


def _can_forget(path: str) -> bool:
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return not _cached(path)


def _cached(path: str) -> int:
    """The pages of it that are in memory. A read that must not wait would tell too, and fetch them."""
    size = os.path.getsize(path)
    pages = (ctypes.c_ubyte * -(-size // mmap.PAGESIZE))()
    with open(path, "rb") as file, mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY) as mapped:
        start = ctypes.c_char.from_buffer(mapped)
        assert (
            ctypes.CDLL(None, use_errno=True).mincore(ctypes.byref(start), ctypes.c_size_t(size), pages) == 0
        )
        del start  # or the map could not be closed
    return sum(page & 1 for page in pages)
