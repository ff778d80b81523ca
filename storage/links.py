"""The part of the index that says which repository holds which blob."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from storage.database import Connection, Database
from storage.digest import Digest
from storage.errors import BlobMissing, BlobReferenced
from storage.quotas import Amount, Limits, require
from storage.rows import (
    MISSING,
    PRESENT,
    FileSize,
    drop_if_empty,
    ensure_repository,
    find_repository,
    listed_size,
    reveal_blob,
)

_MOST_PARENTS = 10  # named in a refusal


@dataclass(frozen=True, slots=True)
class LinkRow:
    """`marked`: a collector takes it to be garbage; who shall rely on it has to `keep` it first."""

    size: int
    marked: bool = False


class Links:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, repository: str, digest: Digest) -> LinkRow:
        """Raises BlobMissing unless the repository has the blob."""
        row = await self._database.read(
            lambda connection: connection.execute(
                "SELECT blobs.size, mark IS NOT NULL FROM blobs JOIN links ON links.blob = blobs.id"
                " JOIN repositories ON repositories.id = links.repository"
                " WHERE blobs.digest = ? AND blobs.state = ? AND repositories.name = ?",
                (digest.binary, PRESENT, repository),
            ).fetchall()
        )
        if not row:
            raise BlobMissing(digest)
        size, marked = row[0]
        return LinkRow(size, bool(marked))

    async def keep(self, repository: str, digest: Digest) -> None:
        """Take the mark away: somebody is about to be told that the blob is here. Raises BlobMissing."""

        def change(connection: Connection) -> None:
            kept = connection.execute(
                "UPDATE links SET mark = NULL WHERE repository = ? AND blob ="
                " (SELECT id FROM blobs WHERE digest = ? AND state = ?)",
                (find_repository(connection, repository), digest.binary, PRESENT),
            )
            if not kept.rowcount:
                raise BlobMissing(digest)

        await self._database.write(change, durable=False)

    async def claim(
        self,
        repository: str,
        digest: Digest,
        file_size: FileSize,
        upload: str = "",
        *,
        limits: Limits = (),
    ) -> None:
        """Make an installed blob visible in the repository and end the session that brought it.

        Raises BlobMissing if the file has gone meanwhile: install again. Raises QuotaExceeded.
        """

        def change(connection: Connection) -> None:
            blob, size = reveal_blob(connection, digest, file_size)
            require(connection, limits, lambda: _added(connection, repository, digest, size))
            _link(connection, ensure_repository(connection, repository), blob)
            connection.execute("DELETE FROM uploads WHERE id = ?", (upload,))

        await self._database.write(change)

    async def leave(self, digest: Digest, file_size: FileSize) -> None:
        """Give an installed file that may not be claimed a row, by which the next collection finds it.

        Only the daily walk looks for files that have none. Whoever holds the blob already keeps it.
        """

        def change(connection: Connection) -> None:
            with suppress(BlobMissing):  # taken away meanwhile
                reveal_blob(connection, digest, file_size)

        await self._database.write(change, durable=False, shown=True)

    async def holders(self, digest: Digest, *, limit: int) -> list[str]:
        """Some repositories that have the blob."""
        rows = await self._database.read(
            lambda connection: connection.execute(
                "SELECT repositories.name FROM blobs JOIN links ON links.blob = blobs.id"
                " JOIN repositories ON repositories.id = links.repository"
                " WHERE blobs.digest = ? AND blobs.state = ? LIMIT ?",
                (digest.binary, PRESENT, limit),
            ).fetchall()
        )
        return [name for (name,) in rows]

    async def mount(
        self, repository: str, digest: Digest, file_size: FileSize, *, source: str, limits: Limits = ()
    ) -> int:
        """Link a blob that the source has; return its size. Raises BlobMissing, QuotaExceeded."""

        def change(connection: Connection) -> int:
            row = connection.execute(
                "SELECT blobs.id, blobs.size FROM blobs JOIN links ON links.blob = blobs.id"
                " WHERE blobs.digest = ? AND blobs.state = ? AND links.repository = ?",
                (digest.binary, PRESENT, find_repository(connection, source)),
            ).fetchone()
            # A file of another size is one that a reader will find bad: nobody shall be told that it is here.
            if row is None or file_size(digest) != row[1]:
                raise BlobMissing(digest)
            blob, size = row
            require(connection, limits, lambda: _added(connection, repository, digest, size))
            _link(connection, ensure_repository(connection, repository), blob)
            return int(size)

        return await self._database.write(change)

    async def remove(self, repository: str, digest: Digest, *, even_if_referenced: bool) -> None:
        """Take a blob from the repository. Raises BlobMissing, BlobReferenced."""

        def change(connection: Connection) -> None:
            found = find_repository(connection, repository)
            row = connection.execute(
                "SELECT blobs.id FROM blobs JOIN links ON links.blob = blobs.id"
                " WHERE blobs.digest = ? AND links.repository = ?",
                (digest.binary, found),
            ).fetchone()
            if found is None or row is None:
                raise BlobMissing(digest)
            release(connection, found, row[0], digest, even_if_referenced=even_if_referenced)
            connection.execute("DELETE FROM links WHERE repository = ? AND blob = ?", (found, row[0]))
            drop_if_empty(connection, found)

        await self._database.write(change)

    async def lose(
        self, digest: Digest, is_bad: Callable[[], bool], discard: Callable[[], None] = lambda: None
    ) -> bool:
        """Mark a blob missing everywhere if it `is_bad` still, asked under the write lock; return whether.

        Links stay: any upload of the digest, to any repository, brings it back. `discard` takes the name
        from the bad bytes, and comes after the commit: the other way round a crash in between would leave
        a row that promises a file. A push that has healed the blob meanwhile keeps its file.
        """

        def mark(connection: Connection) -> bool:
            if not is_bad():
                return False
            connection.execute(
                "UPDATE blobs SET state = ? WHERE digest = ? AND state = ?",
                (MISSING, digest.binary, PRESENT),
            )
            return True

        def take_away(connection: Connection) -> None:
            row = connection.execute("SELECT state FROM blobs WHERE digest = ?", (digest.binary,)).fetchone()
            # Bad still: a push that is about to claim has its file there already.
            if row != (PRESENT,) and is_bad():
                discard()

        lost = await self._database.write(mark, even_if_degraded=True)
        if lost:
            await self._database.write(take_away, durable=False)  # it changes no row
        return lost


def release(
    connection: Connection, repository: int, blob: int, digest: Digest, *, even_if_referenced: bool
) -> None:
    """Let content of the repository go. Raises BlobReferenced, naming the manifests whose bytes name it."""
    if even_if_referenced:
        connection.execute(
            "UPDATE edges SET optional = 1 WHERE repository = ? AND child = ?", (repository, blob)
        )
        return
    parents = connection.execute(
        "SELECT DISTINCT blobs.digest FROM edges JOIN blobs ON blobs.id = edges.parent"
        " WHERE edges.repository = ? AND edges.child = ? LIMIT ?",
        (repository, blob, _MOST_PARENTS),
    ).fetchall()
    if parents:
        raise BlobReferenced(digest, [Digest.from_binary(parent) for (parent,) in parents])


def _added(connection: Connection, repository: str, digest: Digest, size: int) -> Amount:
    """What a link adds: nothing if the repository has it."""
    return Amount(bytes=size) if listed_size(connection, repository, digest) is None else Amount()


def _link(connection: Connection, repository: int, blob: int) -> None:
    connection.execute(
        "INSERT INTO links (repository, blob) VALUES (?, ?) ON CONFLICT DO UPDATE SET mark = NULL",
        (repository, blob),
    )
    connection.execute("UPDATE repositories SET active = store_time() WHERE id = ?", (repository,))
