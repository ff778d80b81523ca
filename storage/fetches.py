"""Fetches: files that grow while blobs come from elsewhere. Who has one locked fetches, others read along."""

import fcntl
import os
import re
import stat
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass

from storage.below import open_below
from storage.blobs import BlobFile, BlobStore, hash_from
from storage.digest import Digest, new_hasher
from storage.errors import DigestMismatch
from storage.files import Files, is_at
from storage.layout import ANNOUNCED, INSTALLING, Layout
from storage.room import require_room
from storage.threads import Threads

_SIZE, _LONGEST = re.compile(rb"(\d{1,19})\n"), 21
_HASHED = 64 * 2**20  # bytes that are read again in one hop: a stop waits for its end


@dataclass(frozen=True, slots=True)
class Landing:
    """A fetch as it is. Unsealed without a name: its bytes were bad. `kept`: they are durable, and a blob's.

    Sealed alone does not say so after a power cut: the mode may have outlived the bytes.
    """

    size: int
    sealed: bool
    named: bool
    kept: bool


class Fetch:
    """A fetch, open. Made by `FetchStore.open`; what changes it is for who has it locked."""

    def __init__(self, digest: Digest, path: str, descriptor: int, store: "FetchStore") -> None:
        self.digest = digest
        self._path, self._descriptor = path, descriptor
        self._root, self._files, self._threads, self._blobs = (
            store.layout.root,
            store.files,
            store.threads,
            store.blobs,
        )
        self._hasher, self._hashed = new_hasher(digest.algorithm), 0

    def look(self) -> Landing:
        found = os.fstat(self._descriptor)
        sealed = not found.st_mode & stat.S_IWUSR
        return Landing(found.st_size, sealed, is_at(self._descriptor, self._path), found.st_nlink > 1)

    @contextmanager
    def share(self) -> Iterator[BlobFile]:
        """What is there, for a reader who may stay longer than the fetch is open."""
        descriptor = os.dup(self._descriptor)
        try:
            yield BlobFile(os.fstat(descriptor).st_size, descriptor, self._threads)
        finally:
            os.close(descriptor)

    def lock(self) -> bool:
        """Whether it is ours now. A process that dies lets go of it."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(self) -> None:
        """Readers' descriptors are of the same opening, and would keep it locked."""
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def announced(self) -> int | None:
        """How many bytes it will have, as who fetches has learnt it."""
        try:
            descriptor = open_below(self._root, self._path + ANNOUNCED, os.O_RDONLY)
        except FileNotFoundError:
            return None
        with open(descriptor, "rb") as file:
            found = _SIZE.fullmatch(file.read(_LONGEST))
        return int(found[1]) if found else None

    async def announce(self, size: int) -> None:
        if self.announced() != size:
            await self._threads.run(self._announce, size)

    def _announce(self, size: int) -> None:
        path = self._path + ANNOUNCED
        self._files.unlink(path)
        descriptor = self._files.create(path)
        try:
            self._files.append(descriptor, [f"{size}\n".encode()])
        finally:
            os.close(descriptor)

    async def resume(self) -> int:
        """Hash what was there before, unless it has been; return how much that is."""
        while self._hashed < os.fstat(self._descriptor).st_size:
            self._hashed = await self._threads.move(self._hash)
        return self._hashed

    def _hash(self) -> int:
        return hash_from(self._descriptor, self._hashed, self._hasher, _HASHED)

    async def append(self, part: bytes) -> int:
        """Return how many bytes there are now. Raises StoreFull; what it wrote until then counts."""
        return await self._threads.move(self._append, part)

    def _append(self, part: bytes) -> int:
        require_room(self._root)
        try:
            self._files.append(self._descriptor, [part])
        finally:
            written = os.fstat(self._descriptor).st_size - self._hashed
            self._hasher.update(memoryview(part)[:written])
            self._hashed += written
        return self._hashed

    def verify(self) -> None:
        """Raises DigestMismatch."""
        actual = Digest(self.digest.algorithm, self._hasher.hexdigest())
        if actual != self.digest:
            raise DigestMismatch(expected=self.digest, actual=actual)

    async def install(self) -> None:
        """Make its bytes the blob; durable on return, and the fetch sealed. Raises DigestMismatch."""
        self.verify()
        await self._threads.run(self._blobs.adopt, self.digest, self._descriptor, self._path)

    async def remove(self) -> None:
        """End it. Readers who see it unsealed take it for bad."""
        await self._threads.run(self._remove)

    def _remove(self) -> None:
        if is_at(self._descriptor, self._path):
            self._files.unlink(self._path + ANNOUNCED)
            self._files.unlink(self._path)


class FetchStore:
    def __init__(self, layout: Layout, files: Files, threads: Threads, blobs: BlobStore) -> None:
        self.layout, self.files, self.threads, self.blobs = layout, files, threads, blobs

    @asynccontextmanager
    async def open(self, repository: str, digest: Digest) -> AsyncIterator[Fetch]:
        """The one that is under way, or a new one; not locked. Raises StoreFull, StoreDegraded."""
        path = self.layout.fetch(repository, digest)
        descriptor = self._open(path)
        fetch = Fetch(digest, path, descriptor, self)
        try:
            yield fetch
        finally:
            fetch.unlock()
            os.close(descriptor)

    def _open(self, path: str) -> int:
        self.files.require_sound()
        while True:
            with suppress(FileNotFoundError):
                return self.files.open_append(path)
            require_room(self.layout.root)
            with suppress(FileExistsError):
                return self.files.create(path)

    async def expire(self, idle: float) -> list[str]:
        """Remove what nobody has open to fetch, and has not changed for `idle` seconds; return the names.

        By the wall clock: a jump of it costs no more than some bytes that have to be fetched again.
        """
        return await self.threads.run(self._expire, idle)

    def _expire(self, idle: float) -> list[str]:
        with os.scandir(self.layout.fetches) as entries:
            old = {entry.path for entry in entries if _is_old(entry.path, idle)}
        names = {path.removesuffix(ANNOUNCED).removesuffix(INSTALLING) for path in old}
        return [os.path.basename(path) for path in sorted(names) if self._remove(path, old, idle)]

    def _remove(self, path: str, old: set[str], idle: float) -> bool:
        """Whether a fetch was ended. What a crash has left of one that has no file any more goes as well."""
        try:
            descriptor = self.files.open_append(path)
        except FileNotFoundError:
            for each in sorted(old & {path + ANNOUNCED, path + INSTALLING}):
                self.files.unlink(each)
            return False
        except OSError:
            return False  # no fetch's file, which must not stop the others' expiry
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not is_at(descriptor, path) or not _is_old(path, idle):
                return False
            for each in (path + ANNOUNCED, path + INSTALLING, path):
                self.files.unlink(each)
        except BlockingIOError:
            return False
        finally:
            os.close(descriptor)
        return True


def _is_old(path: str, idle: float) -> bool:
    """A time that is yet to come is as good as one long ago."""
    with suppress(FileNotFoundError):
        return abs(time.time() - os.lstat(path).st_mtime) >= idle
    return False
