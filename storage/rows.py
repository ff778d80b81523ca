"""Rows that more than one part of the index needs: repositories and blobs, by name and digest."""

from collections.abc import Callable, Iterator
from typing import Any

from storage.database import Connection
from storage.digest import Digest
from storage.errors import BlobMissing

MISSING, PRESENT = 0, 1
FETCHED = "@"
"""What the names of repositories begin with that hold what upstreams have: no name that is pushed to does."""

HELD = (
    "(EXISTS (SELECT 1 FROM links WHERE blob = blobs.id)"
    " OR EXISTS (SELECT 1 FROM manifests WHERE blob = blobs.id))"
)
"""Of a row of `blobs`, in SQL: whether some repository has it."""

_STEP = 1000  # rows of a range

FileSize = Callable[[Digest], int | None]
"""The size in bytes of a digest's file, None if there is none: one stat, so it may run in a transaction."""


def find_repository(connection: Connection, name: str) -> int | None:
    row = connection.execute("SELECT id FROM repositories WHERE name = ?", (name,)).fetchone()
    return row[0] if row else None


def ensure_repository(connection: Connection, name: str) -> int:
    connection.execute("INSERT INTO repositories (name) VALUES (?) ON CONFLICT DO NOTHING", (name,))
    found = find_repository(connection, name)
    assert found is not None
    return found


def listed_size(connection: Connection, repository: str, digest: Digest) -> int | None:
    """The size of a blob that the repository lists; None if it does not."""
    row = connection.execute(
        "SELECT blobs.size FROM blobs JOIN links ON links.blob = blobs.id"
        " WHERE blobs.digest = ? AND links.repository = (SELECT id FROM repositories WHERE name = ?)",
        (digest.binary, repository),
    ).fetchone()
    return row[0] if row else None


def drop_if_empty(connection: Connection, repository: int) -> bool:
    """A repository without content leaves the catalog in the transaction that emptied it."""
    gone = connection.execute(
        "DELETE FROM repositories WHERE id = :id"
        " AND NOT EXISTS (SELECT 1 FROM links WHERE repository = :id)"
        " AND NOT EXISTS (SELECT 1 FROM manifests WHERE repository = :id)",
        {"id": repository},
    )
    return gone.rowcount > 0


def ensure_blob(connection: Connection, digest: Digest, size: int) -> int:
    """The row of a digest; a new one is `missing` until its bytes are seen."""
    connection.execute(
        "INSERT INTO blobs (digest, size, created, state) VALUES (?, ?, store_time(), ?)"
        " ON CONFLICT DO NOTHING",
        (digest.binary, size, MISSING),
    )
    row = connection.execute("SELECT id FROM blobs WHERE digest = ?", (digest.binary,)).fetchone()
    return int(row[0])


def reveal_blob(connection: Connection, digest: Digest, file_size: FileSize) -> tuple[int, int]:
    """(id, size) of a digest whose file is there, its row present. Raises BlobMissing."""
    size = file_size(digest)
    if size is None:
        raise BlobMissing(digest)
    blob = ensure_blob(connection, digest, size)
    connection.execute("UPDATE blobs SET state = ?, size = ? WHERE id = ?", (PRESENT, size, blob))
    return blob, size


def in_ranges(connection: Connection, sql: str) -> Iterator[tuple[Any, ...]]:
    """Rows in ranges of their first column, so that no read transaction stays open for long."""
    last = 0
    while rows := connection.execute(f"{sql} ORDER BY 1 LIMIT {_STEP}", (last,)).fetchall():
        yield from rows
        last = rows[-1][0]
