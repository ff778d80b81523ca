"""Uploads into one repository: stage, install, claim, drop (ARCHITECTURE.md, "A push")."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from registry.changes import BlobAdded
from registry.names import RepositoryName
from registry.registry import Registry
from storage.contracts import UploadSession
from storage.digest import Bytes, Digest, new_hasher
from storage.errors import (
    BlobMissing,
    DigestMismatch,
    QuotaExceeded,
    StoreDegraded,
    TooManyUploads,
    WrongOffset,
)
from storage.quotas import Amount, Room
from storage.sources import Source

_SIP = 64 * 2**10  # bytes of an unwanted body at once
_INSTALLS = 3  # tries, should a blob's file be taken away between its install and its claim


@dataclass(frozen=True, slots=True)
class Chunk:
    """A body on its way into a session: where it claims to begin, and how many bytes it claims to have.

    `announced` is what HTTP's framing will hold it to; None if its end shows only when it comes.
    """

    body: Source
    start: int | None = None
    length: int | None = None
    announced: int | None = None


class Uploads:
    """`owner` is the actor's name: a session answers only to who began it, and only in its repository."""

    def __init__(self, registry: Registry, repository: RepositoryName, owner: str) -> None:
        self._registry, self._repository, self._owner = registry, repository, owner
        self._sessions, self._store = registry.names.sessions, registry.uploads
        self._limits, self._quotas = registry.limits_of(repository), registry.names.quotas

    async def begin(self, algorithm: str = "sha256") -> str:
        """Begin a session and return its id.

        Raises InvalidDigest for an unknown algorithm, StoreFull, TooManyUploads.
        """
        new_hasher(algorithm)
        await self._quotas.require(self._limits, Amount(uploads=1))
        upload = await self._store.create()
        try:
            await self._sessions.begin(upload, self._repository, self._owner, algorithm, limits=self._limits)
        except TooManyUploads:  # another one was faster
            async with self._store.open(upload) as session:
                await session.remove()
            raise
        return upload

    async def offset(self, upload: str) -> int:
        """How many bytes the session has. Raises UploadMissing."""
        await self._sessions.find(upload, self._repository, self._owner)
        return self._store.size(upload)

    async def append(self, upload: str, chunk: Chunk) -> int:
        """Append and return the new offset.

        Raises UploadMissing, UploadBusy, UploadSealed, WrongOffset, WrongLength, QuotaExceeded.
        """
        row = await self._sessions.find(upload, self._repository, self._owner)
        async with self._store.open(upload) as session:
            _require_start(session, chunk)
            body = await self._fitting(chunk, session.size)
            hashed = await session.append(body, algorithm=row.algorithm, length=chunk.length)
            if hashed:
                await self._sessions.note(upload, hashed, session.size)
            return session.size

    async def finish(self, upload: str, digest: Digest, chunk: Chunk) -> None:
        """Append the last chunk, if it has bytes, and make the session the blob `digest`; durable on return.

        What is refused leaves the session as it was. Raises as `append` does, and DigestMismatch.
        """
        row = await self._sessions.find(upload, self._repository, self._owner)
        async with self._store.open(upload) as session:
            known = row.hashed if row.hashed_size == session.size else None
            if session.sealed:
                # A repeated closing PUT: the bytes are all here, those sent again are not needed.
                await _discard(chunk.body)
                await self._install(session, digest, known)
                return
            _require_start(session, chunk)
            start = session.size
            body = await self._fitting(chunk, start, digest)
            appended = await session.append(body, algorithm=digest.algorithm, length=chunk.length)
            try:
                await self._require_room(session.size, digest)
                await self._install(session, digest, appended or (known if session.size == start else None))
            except (DigestMismatch, QuotaExceeded):
                if not session.sealed:
                    await session.truncate(start)
                raise

    async def push(self, digest: Digest, chunk: Chunk) -> None:
        """A blob in one request; on failure nothing is left. Raises as `finish` does."""
        body = await self._fitting(chunk, 0, digest)
        upload = await self.begin(digest.algorithm)
        async with self._store.open(upload) as session:
            try:
                hashed = await session.append(body, algorithm=digest.algorithm, length=chunk.length)
                await self._require_room(session.size, digest)
                await self._install(session, digest, hashed)
            except BaseException:
                await session.remove()
                await self._sessions.end([upload])
                raise

    async def _install(self, session: UploadSession, digest: Digest, known: Digest | None) -> None:
        links, blobs = self._registry.names.links, self._registry.blobs
        for _ in range(_INSTALLS):
            await session.install(digest, known)
            try:
                await links.claim(self._repository, digest, blobs.size, session.id, limits=self._limits)
                break
            except QuotaExceeded:  # another push was faster
                await links.leave(digest, blobs.size)
                raise
            except BlobMissing:
                continue  # taken away as bad, or as unwanted, since the install: it heals by another
        else:
            raise StoreDegraded(f"the file of {digest} keeps vanishing: something else changes the store")
        await session.remove()
        self._registry.tell(BlobAdded(self._repository, digest, session.size))

    async def _fitting(self, chunk: Chunk, held: int, digest: Digest | None = None) -> Source:
        """The chunk's body, behind the `held` bytes of a session, as far as the quotas have room for it.

        Raises QuotaExceeded before a byte is read if what is announced does not fit.
        """
        room = await self._quotas.room(self._limits, self._repository, digest)
        if room is None:
            return chunk.body
        if chunk.announced is not None:
            room.require(held + chunk.announced)
            return chunk.body
        return Bounded(chunk.body, room, held)

    async def _require_room(self, size: int, digest: Digest) -> None:
        """Before the install: a file that no row speaks for would stay until the next walk of all files."""
        if room := await self._quotas.room(self._limits, self._repository, digest):
            room.require(size)

    async def cancel(self, upload: str) -> None:
        """End a session and forget its bytes. Raises UploadMissing, UploadBusy."""
        await self._sessions.find(upload, self._repository, self._owner)
        async with self._store.open(upload) as session:
            await session.remove()
        await self._sessions.end([upload])


class Bounded:
    """A Source that ends with QuotaExceeded as soon as it has brought more than there is room for."""

    def __init__(self, body: Source, room: Room, held: int) -> None:
        self._body, self._room, self._size = body, room, held

    async def ready(self) -> bool:
        return await self._body.ready()

    def take(self, buffer: bytearray) -> Sequence[Bytes]:
        parts = self._body.take(buffer)
        self._size += sum(map(len, parts))
        self._room.require(self._size)
        return parts


def _require_start(session: UploadSession, chunk: Chunk) -> None:
    if chunk.start is not None and chunk.start != session.size:
        raise WrongOffset(session.id, expected=session.size, actual=chunk.start)


async def _discard(body: Source) -> None:
    buffer = bytearray(_SIP)
    while await body.ready():
        body.take(buffer)
        await asyncio.sleep(0)  # what comes fast enough never waits
