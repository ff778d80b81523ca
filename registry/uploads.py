"""Uploads into one repository: stage, install, claim, drop (ARCHITECTURE.md, "A push")."""

import asyncio
from dataclasses import dataclass

from registry.changes import BlobAdded
from registry.names import RepositoryName
from registry.registry import Registry
from storage.contracts import UploadSession
from storage.digest import Digest, new_hasher
from storage.errors import BlobMissing, DigestMismatch, StoreDegraded, WrongOffset
from storage.sources import Source

_SIP = 64 * 2**10  # bytes of an unwanted body at once
_INSTALLS = 3  # tries, should a blob's file be taken away between its install and its claim


@dataclass(frozen=True, slots=True)
class Chunk:
    """A body on its way into a session: where it claims to begin, and how many bytes it claims to have."""

    body: Source
    start: int | None = None
    length: int | None = None


class Uploads:
    """`owner` is the actor's name: a session answers only to who began it, and only in its repository."""

    def __init__(self, registry: Registry, repository: RepositoryName, owner: str) -> None:
        self._registry, self._repository, self._owner = registry, repository, owner
        self._sessions, self._store = registry.names.sessions, registry.uploads

    async def begin(self, algorithm: str = "sha256") -> str:
        """Begin a session and return its id. Raises InvalidDigest for an unknown algorithm, StoreFull."""
        new_hasher(algorithm)
        upload = await self._store.create()
        await self._sessions.begin(upload, self._repository, self._owner, algorithm)
        return upload

    async def offset(self, upload: str) -> int:
        """How many bytes the session has. Raises UploadMissing."""
        await self._sessions.find(upload, self._repository, self._owner)
        return self._store.size(upload)

    async def append(self, upload: str, chunk: Chunk) -> int:
        """Append and return the new offset.

        Raises UploadMissing, UploadBusy, UploadSealed, WrongOffset, WrongLength.
        """
        row = await self._sessions.find(upload, self._repository, self._owner)
        async with self._store.open(upload) as session:
            _require_start(session, chunk)
            hashed = await session.append(chunk.body, algorithm=row.algorithm, length=chunk.length)
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
            appended = await session.append(chunk.body, algorithm=digest.algorithm, length=chunk.length)
            try:
                await self._install(session, digest, appended or (known if session.size == start else None))
            except DigestMismatch:
                await session.truncate(start)
                raise

    async def push(self, digest: Digest, chunk: Chunk) -> None:
        """A blob in one request; on failure nothing is left. Raises as `finish` does."""
        upload = await self.begin(digest.algorithm)
        async with self._store.open(upload) as session:
            try:
                hashed = await session.append(chunk.body, algorithm=digest.algorithm, length=chunk.length)
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
                await links.claim(self._repository, digest, blobs.size, session.id)
                break
            except BlobMissing:
                continue  # taken away as bad, or as unwanted, since the install: it heals by another
        else:
            raise StoreDegraded(f"the file of {digest} keeps vanishing: something else changes the store")
        await session.remove()
        self._registry.tell(BlobAdded(self._repository, digest, session.size))

    async def cancel(self, upload: str) -> None:
        """End a session and forget its bytes. Raises UploadMissing, UploadBusy."""
        await self._sessions.find(upload, self._repository, self._owner)
        async with self._store.open(upload) as session:
            await session.remove()
        await self._sessions.end([upload])


def _require_start(session: UploadSession, chunk: Chunk) -> None:
    if chunk.start is not None and chunk.start != session.size:
        raise WrongOffset(session.id, expected=session.size, actual=chunk.start)


async def _discard(body: Source) -> None:
    buffer = bytearray(_SIP)
    while await body.ready():
        body.take(buffer)
        await asyncio.sleep(0)  # what comes fast enough never waits
