"""What the registry asks of a store: bytes on one side, names on the other.

The embedded pair is files and SQLite. Nothing above may assume a path or SQL; the contract suite
(tests/storage/test_contract.py) holds every implementation to these. What each call means and raises is
said where the embedded one defines it. Calls of `Blobs` that are not async, and the callables that `Names`
takes, run inside the transaction that they guard, so each is one look at one object.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from storage.digest import Digest
from storage.history import Move
from storage.links import LinkRow
from storage.manifests import Edge, ManifestRow, TagCheck
from storage.quotas import Amount, Limits, Room
from storage.rows import FileSize
from storage.sessions import SessionRow
from storage.sources import Source
from storage.uploads import Idleness


class BlobFile(Protocol):
    """A blob of which all is there, or which still lands: then its calls wait for what they are to give.

    `ready` is for who takes bytes from `descriptor`: it waits for the byte at `start`, and tells how many of
    the `length` from there on can be taken. What can't land any more raises, and no answer may end as whole.
    """

    @property
    def size(self) -> int: ...
    @property
    def descriptor(self) -> int | None: ...
    async def ready(self, start: int, length: int) -> int: ...
    async def read(self, pieces: Sequence[tuple[int, int]]) -> list[bytes]: ...
    def chunks(self, start: int, length: int) -> AsyncIterator[bytes]: ...


class Blobs(Protocol):
    def open(self, digest: Digest) -> AbstractAsyncContextManager[BlobFile]: ...
    async def read(self, digest: Digest) -> bytes: ...
    async def put(self, digest: Digest, data: bytes) -> None: ...
    def size(self, digest: Digest) -> int | None: ...
    def quarantine(self, digest: Digest) -> None: ...
    def verify(self, digest: Digest) -> bool: ...


class UploadSession(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def sealed(self) -> bool: ...
    async def append(self, body: Source, *, algorithm: str, length: int | None = None) -> Digest | None: ...
    async def truncate(self, size: int) -> None: ...
    async def install(self, digest: Digest, known: Digest | None) -> None: ...
    async def remove(self) -> None: ...


class Uploads(Protocol):
    async def create(self) -> str: ...
    def size(self, upload: str) -> int: ...
    def open(self, upload: str) -> AbstractAsyncContextManager[UploadSession]: ...
    async def expire(self, idle: float, known: Idleness | None = None) -> list[str]: ...
    def idleness(self) -> Idleness: ...


class Links(Protocol):
    async def find(self, repository: str, digest: Digest) -> LinkRow: ...
    async def keep(self, repository: str, digest: Digest) -> None: ...
    async def claim(
        self,
        repository: str,
        digest: Digest,
        file_size: FileSize,
        upload: str = "",
        *,
        limits: Limits = (),
    ) -> None: ...
    async def leave(self, digest: Digest, file_size: FileSize) -> None: ...
    async def holders(self, digest: Digest, *, limit: int) -> list[str]: ...
    async def mount(
        self, repository: str, digest: Digest, file_size: FileSize, *, source: str, limits: Limits = ()
    ) -> int: ...
    async def remove(self, repository: str, digest: Digest, *, even_if_referenced: bool) -> None: ...
    async def lose(
        self, digest: Digest, is_bad: Callable[[], bool], discard: Callable[[], None] = ...
    ) -> bool: ...


class Sessions(Protocol):
    async def begin(
        self, upload: str, repository: str, owner: str, algorithm: str, *, limits: Limits = ()
    ) -> None: ...
    async def find(self, upload: str, repository: str, owner: str) -> SessionRow: ...
    async def note(self, upload: str, hashed: Digest, size: int) -> None: ...
    async def end(self, uploads: Sequence[str]) -> None: ...
    async def ids(self) -> list[str]: ...
    async def idleness(self) -> Idleness: ...
    async def note_idleness(self, idleness: Idleness) -> None: ...


class Manifests(Protocol):
    async def put(
        self,
        repository: str,
        manifest: ManifestRow,
        edges: Sequence[Edge],
        tags: Sequence[str],
        *,
        file_size: FileSize,
        check: TagCheck,
        check_manifest: Callable[[bool], None],
        limits: Limits = (),
        who: str = "",
    ) -> list[tuple[str, Digest | None]]: ...
    async def examine(
        self,
        repository: str,
        manifest: ManifestRow,
        edges: Sequence[Edge],
        tags: Sequence[str],
        *,
        check: TagCheck,
        check_manifest: Callable[[bool], None],
        limits: Limits = (),
    ) -> None: ...
    async def find(self, repository: str, digest: Digest) -> ManifestRow: ...
    async def keep(self, repository: str, digest: Digest) -> None: ...
    async def resolve(self, repository: str, tag: str) -> ManifestRow: ...
    async def note_pulls(self, pulls: Sequence[tuple[str, Digest]]) -> None: ...
    async def remove(
        self,
        repository: str,
        digest: Digest,
        *,
        even_if_referenced: bool,
        check: TagCheck,
        check_manifest: Callable[[bool], None] = ...,
        who: str = "",
    ) -> list[str]: ...
    async def move_tag(
        self,
        repository: str,
        tag: str,
        digest: Digest,
        *,
        file_size: FileSize,
        check: TagCheck,
        who: str = "",
    ) -> Digest | None: ...
    async def remove_tag(
        self, repository: str, tag: str, *, check: TagCheck, who: str = "", moved: int | None = None
    ) -> Digest: ...


class Listings(Protocol):
    async def repositories(self, *, after: str, limit: int) -> list[str]: ...
    async def tags(self, repository: str, *, after: str, limit: int) -> list[str]: ...
    async def moves(self, repository: str, tag: str | None = None, *, limit: int) -> list[Move]: ...
    async def referrers(
        self,
        repository: str,
        subject: Digest,
        *,
        artifact_type: str | None,
        after: tuple[str, bytes],
        limit: int,
        budget: int,
    ) -> tuple[list[ManifestRow], bool]: ...


class Quotas(Protocol):
    async def room(self, limits: Limits, repository: str, digest: Digest | None = None) -> Room | None: ...
    async def require(self, limits: Limits, added: Amount) -> None: ...


class Generation(Protocol):
    @property
    def current(self) -> int | None: ...


@dataclass(frozen=True, slots=True)
class Names:
    links: Links
    sessions: Sessions
    manifests: Manifests
    listings: Listings
    quotas: Quotas
    generation: Generation
