"""Blobs: immutable files named by their digest."""

import asyncio
import errno
import os
import stat
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from typing import BinaryIO

from aiofiles.threadpool import wrap

from storage.below import open_below, require_plain
from storage.digest import ALGORITHMS, Digest, Hasher
from storage.errors import UNREADABLE, BlobMissing, DigestMismatch, InvalidDigest
from storage.files import Files
from storage.layout import INSTALLING, SHARDS, Layout
from storage.threads import Threads, settle

# Bytes that the event loop reads itself, if they are cached. Through TLS, pieces of 64 to 256 KiB of a large
# blob went out equally fast, in two thirds of the CPU time of mebibytes that a thread had read.
_AT_ONCE = 128 * 2**10
_NOWAIT: int = getattr(os, "RWF_NOWAIT", 0)
_ADVISES = hasattr(os, "posix_fadvise")
_CHUNK = 2**20  # one thread hop a mebibyte: smaller reads cost more in hops than in copying
_FOLDERS = [
    (f"blobs/{algorithm}/{shard}", algorithm, shard) for algorithm in sorted(ALGORITHMS) for shard in SHARDS
]


@dataclass(frozen=True, slots=True)
class BlobFile:
    """An open blob: whatever happens to its name, these are its bytes."""

    size: int
    descriptor: int  # for sendfile; valid as long as the blob is open
    _threads: Threads

    async def ready(self, start: int, length: int) -> int:
        """All of it, whatever was asked for: it has landed."""
        return length

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
            descriptor = _open_plain(self._layout.root, self._layout.blob(digest))
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
            return open(_open_plain(self._layout.root, self._layout.blob(digest)), "rb", buffering=0)
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
        if self._is_unmade(os.path.dirname(path)):
            return
        require_plain(self._layout.root, path)
        try:
            self._files.rename(path, self._layout.quarantined(digest, f"{time.time():.6f}"))
        except FileNotFoundError:
            return
        self._files.fsync_folder(os.path.dirname(path))

    # -- for collectors: blocking ---------------------------------------------------------------------

    def hold(self, digests: Sequence[Digest], opened: list[int]) -> None:
        """Open those that can be, and add their descriptors; `let_go` closes them."""
        for digest in digests:
            with suppress(OSError):
                opened.append(_open_plain(self._layout.root, self._layout.blob(digest)))

    def let_go(self, opened: Sequence[int]) -> None:
        for descriptor in opened:
            os.close(descriptor)

    def unlink(self, digest: Digest) -> None:
        """Take a file that nothing needs. Under the write lock, or a push could claim it just then.

        Raises StoreDegraded: what the index says of it may be lost.
        """
        self._files.require_sound()
        path = self._layout.blob(digest)
        if self._is_unmade(os.path.dirname(path)):
            return
        require_plain(self._layout.root, path)
        self._files.unlink(path)

    def shards(self) -> Iterator[tuple[Digest, Digest]]:
        """The first and the last digest of each."""
        for name, algorithm in ALGORITHMS.items():
            for shard in SHARDS:
                rest = algorithm.hex_length - len(shard)
                yield Digest(name, shard + "0" * rest), Digest(name, shard + "f" * rest)

    def list_shard(self, low: Digest, *, idle: float) -> dict[Digest, int]:
        """The blobs of the shard of `low` that have had their names for `idle` seconds, with their sizes."""
        folder, shard = os.path.dirname(self._layout.blob(low)), low.encoded[:2]
        found: dict[Digest, int] = {}
        if self._is_unmade(folder):
            return found
        require_plain(self._layout.root, self._layout.blob(low))
        with os.scandir(folder) as entries:
            for entry in entries:
                digest = _digest_of(low.algorithm, shard, entry.name)
                with suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    is_old = time.time() - status.st_ctime >= idle
                    if digest and is_old and stat.S_ISREG(status.st_mode):
                        found[digest] = status.st_size
        return found

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

    async def forget(self, digest: Digest) -> None:
        """Let its cached pages go, so that what is read next is what the disk has. Raises BlobMissing."""
        if _ADVISES:
            await self._threads.read(self._forget, digest)

    def _forget(self, digest: Digest) -> None:
        with self._open(digest) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    async def examine(self, digest: Digest, took: Callable[[int], Awaitable[None]]) -> bool:
        """`verify` beside a server: a piece at a time, in a thread, and the page cache left as it was.

        `took` is awaited with the bytes of each piece. Raises BlobMissing.
        """
        hasher, offset = ALGORITHMS[digest.algorithm].new(), 0
        with self._open(digest) as file:
            descriptor, size = file.fileno(), os.fstat(file.fileno()).st_size
            buffer = memoryview(bytearray(min(_CHUNK, size)))
            if _ADVISES:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)  # what it reads ahead would stay
            while offset < size:
                piece = buffer[: size - offset]
                count = await self._threads.read(_hash_piece, descriptor, piece, offset, hasher)
                if not count:
                    break
                offset += count
                await took(count)
        return hasher.hexdigest() == digest.encoded

    def walk(
        self, after: str = "", *, unlisted: Callable[[str], None] | None = None
    ) -> Iterator[tuple[Digest | None, os.DirEntry[str]]]:
        """Every entry of every shard in the order of the names; None stands for a name that is no digest.

        From the first `after` that path, which is one below the root. A shard that the disk does not give, or
        that is no folder, is passed over if there is `unlisted` to tell of it.
        """
        for folder, algorithm, shard in _FOLDERS:
            if folder < after[: len(folder)]:
                continue
            path = os.path.join(self._layout.root, folder)
            if self._is_unmade(path):
                continue
            try:
                require_plain(self._layout.root, f"{path}/")
                with os.scandir(path) as entries:
                    ordered = sorted(entries, key=lambda entry: entry.name)
            except OSError as error:
                if not unlisted or error.errno not in {*UNREADABLE, errno.ENOTDIR}:
                    raise
                if folder != after:
                    unlisted(folder)
                continue
            for entry in ordered:
                if f"{folder}/{entry.name}" > after:
                    yield _digest_of(algorithm, shard, entry.name), entry

    def _is_unmade(self, shard: str) -> bool:
        """In a lean store, a shard waits for its first blob."""
        return self._files.lean and not os.path.lexists(shard)


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


def hash_from(descriptor: int, offset: int, hasher: Hasher, most: int | None = None) -> int:
    """Hash what is there from `offset` on, about `most` bytes of it; return where that ends. Blocking."""
    start = offset
    while (most is None or offset - start < most) and (chunk := os.pread(descriptor, _CHUNK, offset)):
        hasher.update(chunk)
        offset += len(chunk)
    return offset


def _hash_piece(descriptor: int, buffer: memoryview, offset: int, hasher: Hasher) -> int:
    """Hash the next piece; return its bytes.

    Pages that were not there before are let go again: who reads everything would drive out what pulls have
    read. In 300 MB of memory beside 100 MB that had been read four times, a plain reader of 2.4 GB left
    nothing of them cached in 4 of 6 runs, this one all of them in 6 of 6.
    """
    count = _read_if_cached(descriptor, buffer, offset)
    if not count:
        count = os.preadv(descriptor, [buffer], offset)
        if _ADVISES:
            os.posix_fadvise(descriptor, offset, count, os.POSIX_FADV_DONTNEED)
    hasher.update(buffer[:count])
    return count


def _read_if_cached(descriptor: int, buffer: memoryview, offset: int) -> int:
    """The bytes read; 0 if not all of them were in the page cache."""
    if not _NOWAIT:
        return 0
    try:
        count = os.preadv(descriptor, [buffer], offset, _NOWAIT)
    except OSError:
        return 0
    return count if count == len(buffer) else 0


def _open_plain(root: str, path: str) -> int:
    """Raises FileNotFoundError for all but a regular file: a link, a folder or a pipe is no blob."""
    try:
        descriptor = open_below(root, path, os.O_RDONLY | os.O_NONBLOCK)
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
