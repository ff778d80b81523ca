"""Upload sessions: a file that grows, whose length is the session's offset."""

import fcntl
import os
import stat
import threading
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from time import monotonic

from storage.blobs import BlobStore, hash_from
from storage.digest import Bytes, Digest, Hasher, new_hasher
from storage.errors import DigestMismatch, UploadBusy, UploadMissing, UploadSealed, WrongLength
from storage.files import Files, is_at
from storage.layout import INSTALLING, Layout
from storage.room import require_room
from storage.sources import Source
from storage.threads import Threads

_State = tuple[int, int, int, int]

Idleness = Mapping[str, tuple[str, int]]
"""By session: how it is, as text, and for how many seconds it has been watched so."""

# Bytes that a thread takes of a body in a turn. A sender that is faster stands still while they are hashed
# and written, instead of disturbing that: 512 MiB took 0.61 CPU seconds with 1 MiB, 0.46 with 4 MiB.
_BUFFER = 2**22


class UploadSession:
    """A session, open and locked: one writer at a time, over all workers. Made by `UploadStore.open`."""

    def __init__(self, upload: str, path: str, descriptor: int, store: "UploadStore") -> None:
        self.id = upload
        self._path, self._descriptor = path, descriptor
        self._store = store
        self._files, self._threads, self._blobs = store.files, store.threads, store.blobs
        found = os.fstat(descriptor)
        self.size = found.st_size
        self.sealed = not found.st_mode & stat.S_IWUSR

    async def append(self, body: Source, *, algorithm: str, length: int | None = None) -> Digest | None:
        """Append all of `body`; return the digest of the whole session if it began here, else None.

        What arrived before a broken connection is kept. Raises UploadSealed; WrongLength if `length`
        bytes were announced and others came, and then nothing of the body is kept.
        """
        if self.sealed:
            raise UploadSealed(self.id)
        start = self.size
        hasher = new_hasher(algorithm) if start == 0 else None
        try:
            while await body.ready():
                await self._threads.move(self._move, body, hasher, start, length)
            if length is not None and self.size - start < length:
                raise WrongLength(expected=length, actual=self.size - start)
        except WrongLength:
            await self.truncate(start)
            raise
        return Digest(algorithm, hasher.hexdigest()) if hasher else None

    def _move(self, body: Source, hasher: Hasher | None, start: int, length: int | None) -> None:
        """Move what is there of the body into the file."""
        parts = body.take(self._store.buffer())
        brought = self.size - start + sum(map(len, parts))
        if length is not None and brought > length:
            raise WrongLength(expected=length, actual=brought)
        self._write(parts, hasher)

    def _write(self, parts: Sequence[Bytes], hasher: Hasher | None) -> None:
        self._store.require_room()
        if hasher:
            for part in parts:
                hasher.update(part)
        try:
            self._files.append(self._descriptor, parts)
        finally:
            self.size = os.fstat(self._descriptor).st_size

    async def truncate(self, size: int) -> None:
        """Take back what a refused request appended."""
        await self._threads.run(self._files.truncate, self._descriptor, size)
        self.size = size

    async def digest(self, algorithm: str) -> Digest:
        """Read the whole session and hash it."""
        return await self._threads.run(self._digest, algorithm)

    def _digest(self, algorithm: str) -> Digest:
        hasher = new_hasher(algorithm)
        hash_from(self._descriptor, 0, hasher)
        return Digest(algorithm, hasher.hexdigest())

    async def install(self, digest: Digest, known: Digest | None) -> None:
        """Make the session's bytes the blob `digest`; durable on return, and the session sealed.

        `known` spares the reading if it is of the same algorithm. Raises DigestMismatch.
        """
        actual = (
            known if known and known.algorithm == digest.algorithm else await self.digest(digest.algorithm)
        )
        if actual != digest:
            raise DigestMismatch(expected=digest, actual=actual)
        await self._threads.run(self._blobs.adopt, digest, self._descriptor, self._path)
        self.sealed = True

    async def remove(self) -> None:
        """End the session."""
        await self._threads.run(self._files.unlink, self._path)


class UploadStore:
    def __init__(self, layout: Layout, files: Files, threads: Threads, blobs: BlobStore) -> None:
        self._layout = layout
        self.files, self.threads, self.blobs = files, threads, blobs
        self._local = threading.local()
        self._seen: dict[str, tuple[_State, float]] = {}  # what lies there, and since when
        self._known: Idleness = {}

    def buffer(self) -> bytearray:
        """The calling thread's own: as many as there are threads, however many sessions."""
        try:
            kept: bytearray = self._local.buffer
        except AttributeError:
            kept = self._local.buffer = bytearray(_BUFFER)
        return kept

    async def create(self) -> str:
        """Begin a session and return its id, a version 4 UUID. Raises StoreFull below the floor."""
        return await self.threads.run(self._create)

    def _create(self) -> str:
        self.files.require_sound()
        self.require_room()
        upload = str(uuid.uuid4())
        os.close(self.files.create(self._layout.upload(upload)))
        return upload

    def require_room(self) -> None:
        """Raises StoreFull."""
        require_room(self._layout.root)

    def size(self, upload: str) -> int:
        """The session's offset. Raises UploadMissing."""
        try:
            return os.lstat(self._layout.upload(upload)).st_size
        except FileNotFoundError:
            raise UploadMissing(upload) from None

    def exists(self, upload: str) -> bool:
        return os.path.lexists(self._layout.upload(upload))

    @asynccontextmanager
    async def open(self, upload: str) -> AsyncIterator[UploadSession]:
        """Lock a session. Raises UploadMissing, UploadBusy."""
        self.files.require_sound()
        path = self._layout.upload(upload)
        descriptor = self._lock(upload, path)
        try:
            yield UploadSession(upload, path, descriptor, self)
        finally:
            # Closing does not do: a child that this process is starting has it open, too, until it execs, and
            # the client's next request would find the session locked.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)

    def _lock(self, upload: str, path: str) -> int:
        try:
            descriptor = self.files.open_append(path)
        except FileNotFoundError:
            raise UploadMissing(upload) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Between open and lock another request may have ended the session.
            if not is_at(descriptor, path):
                raise UploadMissing(upload)
        except BlockingIOError:
            os.close(descriptor)
            raise UploadBusy(upload) from None
        except UploadMissing:
            os.close(descriptor)
            raise
        return descriptor

    async def expire(self, idle: float, known: Idleness | None = None) -> list[str]:
        """Remove sessions, and leftovers of crashes, untouched for `idle` seconds; return their ids.

        Counted from when this store first saw them as they are, by a clock that nobody sets: by their files'
        times every session would be old after a jump of the wall clock, or none ever. To what it has not seen
        yet it adds what others are `known` to have watched of the same state.
        """
        self._known = known or {}
        return await self.threads.run(self._expire, idle)

    def idleness(self) -> Idleness:
        """Of the sessions that are left, for who watches them next."""
        now = monotonic()
        return {
            os.path.basename(path): (_written(state), int(now - since))
            for path, (state, since) in self._seen.items()
            if not path.endswith(INSTALLING) and now - since >= 1
        }

    def _expire(self, idle: float) -> list[str]:
        now, seen = monotonic(), self._seen
        self._seen = {}
        with os.scandir(self._layout.uploads) as entries:
            for entry in entries:
                if state := _state_of(entry.path):
                    before, since = seen.get(entry.path) or (state, now - self._watched(entry.name, state))
                    self._seen[entry.path] = state, since if before == state else now
        stale = [(path, state) for path, (state, since) in self._seen.items() if now - since >= idle]
        stale.sort(key=lambda each: not each[0].endswith(INSTALLING))  # a second name before its session
        return [os.path.basename(path) for path, state in stale if self._remove(path, state)]

    def _watched(self, upload: str, state: _State) -> int:
        written, seconds = self._known.get(upload, ("", 0))
        return seconds if written == _written(state) else 0

    def _remove(self, path: str, state: _State) -> bool:
        """Whether a session was ended: it must be as it was seen once it is locked."""
        if path.endswith(INSTALLING):
            if _state_of(path) == state:
                self.files.unlink(path)
            return False
        try:
            descriptor = self._lock(os.path.basename(path), path)
        except (UploadBusy, UploadMissing, OSError):
            return False  # in use, or no session's file, which must not stop the others' expiry
        try:
            # But for the ctime, which changes as a second name goes.
            if (_state_of(path) or ())[:-1] != state[:-1]:
                return False
            self.files.unlink(path)
        finally:
            os.close(descriptor)
        return True


def _state_of(path: str) -> _State | None:
    """Changes with each byte, and with a second name; None if there is no such file."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _written(state: _State) -> str:
    return " ".join(map(str, state))
