"""Manifests of which the index says something else than their bytes."""

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass

from storage.database import Connection
from storage.digest import Digest
from storage.errors import UNREADABLE, BlobMissing, DigestMismatch
from storage.manifest_rows import COLUMNS, Edge, ManifestRow, manifest_row
from storage.rows import FETCHED, PRESENT, in_ranges
from storage.store import Store

Told = tuple[ManifestRow, Sequence[Edge]]
Read = Callable[[bytes, ManifestRow], Told]
"""Reads a manifest's bytes into what the index should hold of them; raises ValueError if they are none."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A row of `manifests`, and what its bytes tell; None if they are no manifest's, for the reason `why`.

    `fetched`: it came from another registry, so that it may be of any kind, and all that it names absent.
    """

    repository: int
    blob: int
    digest: Digest
    told: Told | None
    why: str
    fetched: bool


async def disagreements(
    store: Store, connection: Connection, read: Read
) -> AsyncGenerator[Disagreement, None]:
    """Those of all repositories. Bytes that are bad, or not here, tell nothing: that is found elsewhere."""
    sql = (
        f"SELECT manifests.rowid, repository, manifests.blob, name, {COLUMNS} FROM manifests"
        f" JOIN blobs ON blobs.id = manifests.blob AND state = {PRESENT}"
        " JOIN repositories ON repositories.id = repository WHERE manifests.rowid > ?"
    )
    for _, repository, blob, name, *rest in in_ranges(connection, sql):
        fetched = name.startswith(FETCHED)
        row = manifest_row(rest)
        told, why = None, "the index holds something else than its bytes say"
        try:
            told = read(await store.blobs.read(row.digest), row)
        except (BlobMissing, DigestMismatch):
            continue
        except OSError as error:
            if error.errno not in UNREADABLE:
                raise
            continue
        except ValueError as error:
            if fetched and not _named(connection, repository, blob):
                continue
            why = f"it is no manifest: {error}"
        if told and told[0] == row and _named(connection, repository, blob) == _naming(told[1]):
            continue
        if _is_there(connection, repository, blob):  # it may have been deleted meanwhile
            yield Disagreement(repository, blob, row.digest, told, why, fetched)


def _named(connection: Connection, repository: int, blob: int) -> set[tuple[bytes, int]]:
    sql = "SELECT digest, kind FROM edges JOIN blobs ON blobs.id = child WHERE repository = ? AND parent = ?"
    return set(connection.execute(sql, (repository, blob)).fetchall())


def _naming(edges: Sequence[Edge]) -> set[tuple[bytes, int]]:
    return {(edge.digest.binary, int(edge.kind)) for edge in edges}


def _is_there(connection: Connection, repository: int, blob: int) -> bool:
    sql = "SELECT 1 FROM manifests WHERE repository = ? AND blob = ?"
    return connection.execute(sql, (repository, blob)).fetchone() is not None
