"""Manifests of which the index says something else than their bytes: written anew from the bytes."""

from collections.abc import Callable, Sequence
from contextlib import aclosing

from storage.database import Connection
from storage.disagreements import Read, disagreements
from storage.manifest_rows import Edge, ManifestRow
from storage.rows import PRESENT, ensure_blob
from storage.store import Store


async def rewrite(store: Store, connection: Connection, read: Read) -> list[str]:
    """The digests of those that were; `connection` is one to read with."""
    done = []
    async with aclosing(disagreements(store, connection, read)) as found:
        async for each in found:
            if each.told:
                change = _rewriting(each.repository, each.blob, *each.told, sparse=each.fetched)
                await store.database.write(change)
                done.append(str(each.digest))
    return done


def _rewriting(
    repository: int, blob: int, row: ManifestRow, edges: Sequence[Edge], *, sparse: bool
) -> Callable[[Connection], None]:
    """What the repository lacks becomes optional; all, if it is `sparse`.

    It gets no link: that would show it the blobs of others.
    """
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
            optional = sparse or not (edge.required and _has(connection, repository, child, edge.size))
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
