"""Reading every file: what is found, in which order, from where, and how fast."""

import ctypes
import mmap
import os

import pytest

from storage import verification as module
from storage.digest import Digest
from storage.pace import Pace
from storage.store import Store
from storage.verification import File, condemn, is_still_there, verify, verify_all
from tests.builders import blob
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
