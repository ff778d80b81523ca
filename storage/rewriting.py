"""Manifests of which the index says something else than their bytes: written anew from the bytes."""

from collections.abc import Callable, Sequence

from storage.check import Read
from storage.database import Connection
from storage.errors import UNREADABLE, BlobMissing, DigestMismatch
from storage.manifests import COLUMNS, Edge, ManifestRow, manifest_row
from storage.rows import PRESENT, ensure_blob
from storage.store import Store

_STEP = 1000  # rows at a time


async def rewrite(store: Store, connection: Connection, read: Read) -> list[str]:
    """The digests of those that were; `connection` is one to read with."""
    sql = (
        f"SELECT manifests.rowid, repository, manifests.blob, {COLUMNS} FROM manifests"
        f" JOIN blobs ON blobs.id = manifests.blob AND state = {PRESENT} WHERE manifests.rowid > ?"
        f" ORDER BY 1 LIMIT {_STEP}"
    )
    done, last = [], 0
    while rows := connection.execute(sql, (last,)).fetchall():
        for _, repository, blob, *rest in rows:
            row = manifest_row(rest)
            told = await _told(store, row, read)
            if told is None or (told[0] == row and _named(connection, repository, blob) == _naming(told[1])):
                continue
            await store.database.write(_rewriting(repository, blob, *told))
            done.append(str(row.digest))
        last = rows[-1][0]
    return done


async def _told(store: Store, row: ManifestRow, read: Read) -> tuple[ManifestRow, Sequence[Edge]] | None:
    """What the bytes say; None where there are none, or no manifest's: fsck tells of that."""
    try:
        return read(await store.blobs.read(row.digest), row)
    except (BlobMissing, DigestMismatch, ValueError):
        return None
    except OSError as error:
        if error.errno not in UNREADABLE:
            raise
        return None


def _named(connection: Connection, repository: int, blob: int) -> set[tuple[bytes, int]]:
    sql = "SELECT digest, kind FROM edges JOIN blobs ON blobs.id = child WHERE repository = ? AND parent = ?"
    return set(connection.execute(sql, (repository, blob)).fetchall())


def _naming(edges: Sequence[Edge]) -> set[tuple[bytes, int]]:
    return {(edge.digest.binary, int(edge.kind)) for edge in edges}


def _rewriting(
    repository: int, blob: int, row: ManifestRow, edges: Sequence[Edge]
) -> Callable[[Connection], None]:
    """What the repository lacks becomes optional. It gets no link: that would show it the blobs of others."""
    values = {
        "repository": repository,
        "blob": blob,
        "media_type": row.media_type,
        "artifact_type": row.artifact_type,
        "subject": row.subject.binary if row.subject else None,
        "size": row.size,
        "annotations": row.annotations,
    }

    def change(connection: Connection) -> None:
        found = connection.execute(
            "UPDATE manifests SET media_type = :media_type, artifact_type = :artifact_type,"
            " subject = :subject, size = :size, annotations = :annotations"
            " WHERE repository = :repository AND blob = :blob",
            values,
        )
        if not found.rowcount:
            return  # deleted meanwhile
        connection.execute("DELETE FROM edges WHERE repository = ? AND parent = ?", (repository, blob))
        for edge in edges:
            child = ensure_blob(connection, edge.digest, edge.size)
            optional = not (edge.required and _has(connection, repository, child, edge.size))
            connection.execute(
                "INSERT INTO edges (repository, parent, child, kind, optional) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET optional = min(optional, excluded.optional)",
                (repository, blob, child, edge.kind, optional),
            )

    return change


def _has(connection: Connection, repository: int, blob: int, size: int) -> bool:
    row = connection.execute(
        "SELECT 1 FROM blobs WHERE id = :blob AND size = :size AND state = :present AND"
        " (EXISTS (SELECT 1 FROM links WHERE repository = :repository AND blob = :blob)"
        " OR EXISTS (SELECT 1 FROM manifests WHERE repository = :repository AND blob = :blob))",
        {"blob": blob, "size": size, "present": PRESENT, "repository": repository},
    ).fetchone()
    return row is not None
