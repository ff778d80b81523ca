"""Registries with one rule broken: each must be caught, or the sweeps prove nothing."""

import asyncio
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from unittest.mock import patch

from storage import sweeping
from storage.blobs import BlobStore
from storage.database import Connection, Database
from storage.digest import Digest
from storage.errors import StoreFull
from storage.eviction import Evicted, Evictor
from storage.files import Files
from storage.holdings import Holdings
from storage.least_used import Choice
from storage.links import Links
from storage.manifests import Manifests
from storage.marking import column
from storage.quotas import Limits
from storage.rows import FileSize
from storage.sessions import Sessions
from storage.sweeping import Gone, is_spoken_for
from tests.crash.operations import FRESH

_append, _fsync, _claim, _write = Files.append, Files.fsync, Links.claim, Database.write
_begin, _chmod, _put_bytes, _put_names = Sessions.__init__, Files.chmod, BlobStore.put, Manifests.put
_take = Evictor._take


@contextmanager
def names_before_bytes() -> Iterator[None]:
    """A manifest's row and tags are committed before its bytes are installed."""
    held: list[tuple[BlobStore, Digest, bytes]] = []

    async def hold(self: BlobStore, digest: Digest, data: bytes) -> None:
        held.append((self, digest, data))

    async def put(self: Manifests, *args: Any, file_size: FileSize, **more: Any) -> Any:
        sizes = {digest: len(data) for _, digest, data in held}
        done = await _put_names(self, *args, file_size=lambda it: sizes.get(it) or file_size(it), **more)
        for store, digest, data in held:
            await _put_bytes(store, digest, data)
        return done

    with patch.object(BlobStore, "put", hold), patch.object(Manifests, "put", put):
        yield


@contextmanager
def name_before_complete() -> Iterator[None]:
    """A file gets its final name first, and its bytes then."""

    def write_file(self: Files, temporary: str, final: str, data: bytes) -> None:
        descriptor = self.create(temporary)
        try:
            self.rename(temporary, final)
            self.append(descriptor, [data])
            self.fsync(descriptor, final)
            self.chmod(descriptor, 0o400)
        finally:
            os.close(descriptor)
        self.fsync_folder(os.path.dirname(final))

    with patch.object(Files, "write_file", write_file):
        yield


@contextmanager
def answer_before_commit() -> Iterator[None]:
    """A claim is acknowledged while its transaction is still waiting to be written."""
    running = set()

    async def write(self: Database, change: Callable[[Connection], Any], *, durable: bool = True) -> Any:
        work = asyncio.ensure_future(_write(self, change, durable=durable))
        running.add(work)
        return None if durable else await work

    with patch.object(Database, "write", write):
        yield


@contextmanager
def full_disk_ignored() -> Iterator[None]:
    """A write that found no room counts as done."""

    def append(self: Files, descriptor: int, chunks: Sequence[bytes]) -> None:
        with suppress(StoreFull):
            _append(self, descriptor, chunks)

    with patch.object(Files, "append", append):
        yield


@contextmanager
def fsync_tried_again() -> Iterator[None]:
    """A failed fsync is repeated, and the second one reports no error."""

    def fsync(self: Files, descriptor: int, target: str) -> None:
        try:
            self.call("fsync", target, lambda: os.fsync(descriptor))
        except (OSError, StoreFull):
            os.fsync(descriptor)

    with patch.object(Files, "fsync", fsync):
        yield


@contextmanager
def claim_without_look() -> Iterator[None]:
    """A claim believes that the installed file is still there."""

    async def claim(
        self: Links,
        repository: str,
        digest: Digest,
        file_size: FileSize,
        upload: str = "",
        *,
        limits: Limits = (),
    ) -> None:
        def believed(it: Digest) -> int:
            return file_size(it) or len(FRESH)

        await _claim(self, repository, digest, believed, upload, limits=limits)

    with patch.object(Links, "claim", claim):
        yield


@contextmanager
def no_file_fsync() -> Iterator[None]:
    """A file gets its name while its bytes are only in memory; folders are synced."""

    def fsync(self: Files, descriptor: int, target: str) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            _fsync(self, descriptor, target)

    with patch.object(Files, "fsync", fsync):
        yield


@contextmanager
def files_taken_without_the_lock() -> Iterator[None]:
    """A collector looks which files no row speaks for, and takes them then, while others may write."""

    async def unlink(database: Database, blobs: BlobStore, files: Sequence[Gone]) -> list[Gone]:
        def query(connection: Connection) -> list[Gone]:
            return [file for file in files if not is_spoken_for(connection, file.digest)]

        unclaimed = await database.read(query, long=True)
        for file in unclaimed:
            blobs.unlink(file.digest)
        return unclaimed

    with patch("storage.collect.unlink", unlink):
        yield


@contextmanager
def hash_outlives_its_boot() -> Iterator[None]:
    """What was hashed before a power cut is believed after it, whatever the disk holds now."""

    def begin(self: Sessions, database: Database, _boot: str) -> None:
        _begin(self, database, "always the same")

    with patch.object(Sessions, "__init__", begin):
        yield


@contextmanager
def mode_not_synced() -> Iterator[None]:
    """A file is sealed after its bytes were synced: it may be found open to writing."""

    def fsync(self: Files, descriptor: int, target: str) -> None:
        _fsync(self, descriptor, target)
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            _chmod(self, descriptor, 0o400)

    with patch.object(Files, "chmod", lambda *_: None), patch.object(Files, "fsync", fsync):
        yield


@contextmanager
def no_folder_fsync() -> Iterator[None]:
    """The index may name a file whose own name is only in memory."""
    with patch.object(Files, "fsync_folder", lambda _files, _path: None):
        yield


@contextmanager
def no_index_fsync() -> Iterator[None]:
    """A commit is acknowledged while it is only in memory."""

    async def write(self: Database, change: Callable[[Connection], Any], *, durable: bool = True) -> Any:
        return await _write(self, change, durable=False)

    with patch.object(Database, "write", write):
        yield


@contextmanager
def overwritten_in_place() -> Iterator[None]:
    """A blob that is pushed again is emptied and written anew, instead of replaced as a whole."""

    def install(self: Files, descriptor: int, source: str, temporary: str, final: str) -> None:
        with suppress(FileNotFoundError):
            os.chmod(final, 0o600)
        written = os.open(final, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self.truncate(written, 0)
            self.append(written, [os.pread(descriptor, os.fstat(descriptor).st_size, 0)])
            self.chmod(written, 0o400)
            self.fsync(written, final)
        finally:
            os.close(written)
        self.fsync_folder(os.path.dirname(final))

    with patch.object(Files, "install", install):
        yield


@contextmanager
def evicted_files_first() -> Iterator[None]:
    """What is evicted loses its file before its names."""

    async def take(self: Evictor, holdings: Holdings, choice: Choice, evicted: Evicted) -> None:
        def query(connection: Connection) -> list[Digest]:
            sql = "SELECT digest FROM blobs WHERE id = ?"
            blobs = [blob for _, blob in (*choice.links, *choice.manifests)]
            return [Digest.from_binary(each) for blob in blobs for each in column(connection, sql, blob)]

        for digest in await self._store.database.read(query):
            self._store.blobs.unlink(digest)
        await _take(self, holdings, choice, evicted)

    with patch.object(Evictor, "_take", take):
        yield


@contextmanager
def marks_not_looked_at_again() -> Iterator[None]:
    """A collector takes what it has found to be old, whoever has been told of it since."""
    remembered = {"links": sweeping.sweep_links, "manifests": sweeping.sweep_manifests}

    def believing(table: str) -> Any:
        def sweep(connection: Connection, repository: Any, before: int, blobs: Sequence[int]) -> Any:
            connection.executemany(
                f"UPDATE {table} SET mark = ? WHERE repository = ? AND blob = ?",
                [(before, repository.id, blob) for blob in blobs],
            )
            return remembered[table](connection, repository, before, blobs)

        return sweep

    with (
        patch.object(sweeping, "sweep_links", believing("links")),
        patch.object(sweeping, "sweep_manifests", believing("manifests")),
    ):
        yield
