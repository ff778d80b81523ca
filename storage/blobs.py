"""Blobs: immutable files named by their digest."""

import asyncio
import errno
import os
import stat
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import FileIO
from typing import BinaryIO

from aiofiles.threadpool import wrap

from storage.digest import ALGORITHMS, Digest
from storage.errors import UNREADABLE, BlobMissing, DigestMismatch, InvalidDigest
from storage.files import Files
from storage.layout import INSTALLING, SHARDS, Layout
from storage.threads import Threads, settle

# Bytes that the event loop reads itself, if they are cached. Through TLS, pieces of 64 to 256 KiB of a large
# blob went out equally fast, in two thirds of the CPU time of mebibytes that a thread had read.
_AT_ONCE = 128 * 2**10
_NOWAIT: int = getattr(os, "RWF_NOWAIT", 0)
_CHUNK = 2**20  # one thread hop a mebibyte: smaller reads cost more in hops than in copying


@dataclass(frozen=True, slots=True)
class BlobFile:
    """An open blob: whatever happens to its name, these are its bytes."""

    size: int
    descriptor: int  # for sendfile; valid as long as the blob is open
    _threads: Threads

    async def read(self, pieces: Sequence[tuple[int, int]]) -> list[bytes]:
        """Small pieces, (start, length) each. Raises EOFError where the file ends early.

        At once if the page cache has them, for a hop costs several times as much; else in one hop.
        """
        cached = _read_cached(self.descriptor, pieces)
        if cached is not None:
            return cached
        return await self._threads.read(_read_pieces, self.descriptor, pieces)

    async def chunks(self, start: int, length: int) -> AsyncIterator[bytes]:
        """`length` bytes from `start`, 1 MiB at most a time. Raises EOFError where the file ends early.

        What the page cache has is read at once, a smaller piece at a time; the rest in a thread.
        """
        plain = FileIO(self.descriptor, closefd=False)
        file = wrap(plain, executor=self._threads.readers)
        end = start + length
        while start < end:
            cached = _read_cached(self.descriptor, [(start, min(_AT_ONCE, end - start))])
            if cached:
                chunk = cached[0]
                await asyncio.sleep(0)  # other connections' turn
            else:
                plain.seek(start)
                chunk = await settle(file.read(min(_CHUNK, end - start)))
            if not chunk:
                raise EOFError(f"{end - start} bytes short")
            start += len(chunk)
            yield chunk


class BlobStore:
    def __init__(self, layout: Layout, files: Files, threads: Threads) -> None:
        self._layout, self._files, self._threads = layout, files, threads

    @asynccontextmanager
    async def open(self, digest: Digest) -> AsyncIterator[BlobFile]:
        """Raises BlobMissing unless a regular file has that name."""
        try:
            descriptor = _open_plain(self._layout.blob(digest), os.O_RDONLY)
        except FileNotFoundError:
            raise BlobMissing(digest) from None
        try:
            yield BlobFile(os.fstat(descriptor).st_size, descriptor, self._threads)
        finally:
            os.close(descriptor)

    async def read(self, digest: Digest) -> bytes:
        """A small blob whole, verified. Raises BlobMissing, DigestMismatch."""
        return await self._threads.read(self._read, digest)

    def _read(self, digest: Digest) -> bytes:
        with self._open(digest) as file:
            data = file.read()
        actual = Digest.of(data, digest.algorithm)
        if actual != digest:
            raise DigestMismatch(expected=digest, actual=actual)
        return data

    def _open(self, digest: Digest) -> BinaryIO:
        try:
            return open(_open_plain(self._layout.blob(digest), os.O_RDONLY), "rb", buffering=0)
        except FileNotFoundError:
            raise BlobMissing(digest) from None

    async def put(self, digest: Digest, data: bytes) -> None:
        """Store small bytes whose digest the caller has computed; durable on return."""
        await self._threads.run(self._put, digest, data)

    def _put(self, digest: Digest, data: bytes) -> None:
        self._files.require_sound()
        temporary = os.path.join(self._layout.uploads, str(uuid.uuid4()) + INSTALLING)
        self._files.write_file(temporary, self._layout.blob(digest), data)

    def adopt(self, digest: Digest, descriptor: int, source: str) -> None:
        """Make a finished session's file the blob; durable on return. Blocking: call it in a thread."""
        self._files.require_sound()
        self._files.install(descriptor, source, source + INSTALLING, self._layout.blob(digest))

    def size(self, digest: Digest) -> int | None:
        """The file's size in bytes, None if there is none. One stat: it may run inside a transaction."""
        try:
            found = os.lstat(self._layout.blob(digest))
        except (FileNotFoundError, InvalidDigest):
            return None
        return found.st_size if stat.S_ISREG(found.st_mode) else None

    def quarantine(self, digest: Digest) -> None:
        """Take the name from bytes that failed verification, and keep them aside."""
        path = self._layout.blob(digest)
        try:
            self._files.rename(path, self._layout.quarantined(digest, f"{time.time():.6f}"))
        except FileNotFoundError:
            return
        self._files.fsync_folder(os.path.dirname(path))

    def verify(self, digest: Digest) -> bool:
        """Read every byte and compare. Raises BlobMissing."""
        hasher = ALGORITHMS[digest.algorithm].new()
        for chunk in self.pieces(digest):
            hasher.update(chunk)
        return hasher.hexdigest() == digest.encoded

    def pieces(self, digest: Digest) -> Iterator[bytes]:
        """Every byte in order, unverified; blocking. Raises BlobMissing."""
        with self._open(digest) as file:
            while chunk := file.read(_CHUNK):
                yield chunk

    def intact(self, digest: Digest) -> bool:
        """Whether all of its bytes are there and can be read."""
        try:
            return self.verify(digest)
        except BlobMissing:
            return False
        except OSError as error:
            if error.errno not in UNREADABLE:
                raise
            return False

    def walk(self) -> Iterator[tuple[Digest | None, os.DirEntry[str]]]:
        """Every entry of every shard in the order of the names; None stands for a name that is no digest."""
        for algorithm in ALGORITHMS:
            for shard in SHARDS:
                folder = os.path.join(self._layout.root, "blobs", algorithm, shard)
                with os.scandir(folder) as entries:
                    for entry in sorted(entries, key=lambda entry: entry.name):
                        yield _digest_of(algorithm, shard, entry.name), entry


def _read_cached(descriptor: int, pieces: Sequence[tuple[int, int]]) -> list[bytes] | None:
    """None where some of it would have to come from the disk, and where the platform can't tell."""
    if not _NOWAIT or sum(length for _, length in pieces) > _AT_ONCE:
        return None
    found = []
    for start, length in pieces:
        buffer = bytearray(length)
        try:
            if os.preadv(descriptor, [buffer], start, _NOWAIT) < length:
                return None
        except OSError:
            return None
        found.append(bytes(buffer))
    return found


def _read_pieces(descriptor: int, pieces: Sequence[tuple[int, int]]) -> list[bytes]:
    found = [os.pread(descriptor, length, start) for start, length in pieces]
    if any(len(data) < length for data, (_, length) in zip(found, pieces, strict=True)):
        raise EOFError("the file ends early")
    return found


def _open_plain(path: str, flags: int) -> int:
    """Raises FileNotFoundError for all but a regular file: a link, a folder or a pipe is no blob."""
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise FileNotFoundError(path) from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(path)
    return descriptor


def _digest_of(algorithm: str, shard: str, name: str) -> Digest | None:
    try:
        digest = Digest(algorithm, name)
    except InvalidDigest:
        return None
    return digest if name.startswith(shard) else None
