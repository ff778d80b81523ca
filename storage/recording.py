"""Within a change: what has to hold before a manifest comes; its rows, which come and go."""

from collections.abc import Callable, Sequence

from storage.database import Connection
from storage.digest import Digest
from storage.errors import ReferencesMissing
from storage.manifest_rows import Edge, EdgeKind, ManifestRow
from storage.quotas import Amount, Limits, require
from storage.rows import HELD, MISSING, PRESENT
from storage.tags import TagCheck, tagged

_FORGET = (  # a digest that was only ever named, once nothing names it
    f"DELETE FROM blobs WHERE id = ? AND state = {MISSING}"
    " AND NOT EXISTS (SELECT 1 FROM edges WHERE child = blobs.id)"
    f" AND NOT {HELD}"
)


def examine(
    connection: Connection,
    repository: int,
    manifest: ManifestRow,
    edges: Sequence[Edge],
    tags: Sequence[str],
    check: TagCheck,
    check_manifest: Callable[[bool], None],
    limits: Limits,
) -> list[tuple[str, Digest | None]]:
    """Every check of a push; each tag with the digest that it names now."""
    _require_edges(connection, repository, edges)
    exists = _has_manifest(connection, repository, manifest.digest)
    check_manifest(exists)
    moves = [(tag, tagged(connection, repository, tag)) for tag in tags]
    for tag, old in moves:
        check(tag, old, manifest.digest)
    new = sum(old is None for _, old in moves)
    require(connection, limits, lambda: Amount(0 if exists else manifest.size, new))
    return moves


def _require_edges(connection: Connection, repository: int, edges: Sequence[Edge]) -> None:
    """Raises ReferencesMissing with every edge that is required and not here, or of another size."""
    missing: dict[Digest, str] = {}
    for edge in edges:
        if not edge.required:
            continue
        size = _visible_size(connection, repository, edge)
        if size is None:
            missing[edge.digest] = "the repository does not have it: push it first"
        elif size != edge.size:
            missing[edge.digest] = f"it has {size} bytes here, the manifest says {edge.size}"
    if missing:
        raise ReferencesMissing(list(missing.items()))


def _visible_size(connection: Connection, repository: int, edge: Edge) -> int | None:
    tables = ("links", "manifests") if edge.kind is EdgeKind.CHILD else ("links",)
    for table in tables:
        row = connection.execute(
            f"SELECT blobs.size FROM blobs JOIN {table} ON {table}.blob = blobs.id"
            f" WHERE blobs.digest = ? AND blobs.state = ? AND {table}.repository = ?",
            (edge.digest.binary, PRESENT, repository),
        ).fetchone()
        if row:
            return int(row[0])
    return None


def _has_manifest(connection: Connection, repository: int, digest: Digest) -> bool:
    row = connection.execute(
        "SELECT 1 FROM manifests WHERE repository = ? AND blob = (SELECT id FROM blobs WHERE digest = ?)",
        (repository, digest.binary),
    ).fetchone()
    return row is not None


def insert_manifest(
    connection: Connection,
    repository: int,
    blob: int,
    manifest: ManifestRow,
    children: Sequence[tuple[int, EdgeKind, bool]],
) -> None:
    connection.execute(
        "INSERT INTO manifests (repository, blob, digest, media_type, artifact_type, subject, size,"
        " annotations, pushed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, store_time())"
        " ON CONFLICT DO UPDATE SET pushed = excluded.pushed, media_type = excluded.media_type,"
        " artifact_type = excluded.artifact_type",
        (
            repository,
            blob,
            manifest.digest.binary,
            manifest.media_type,
            manifest.artifact_type,
            manifest.subject.binary if manifest.subject else None,
            manifest.size,
            manifest.annotations,
        ),
    )
    connection.executemany(
        "INSERT INTO edges (repository, parent, child, kind, optional) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET optional = min(optional, excluded.optional)",
        [(repository, blob, child, kind, optional) for child, kind, optional in children],
    )


def drop_manifest(connection: Connection, repository: int, blob: int) -> None:
    """Take a manifest that no tag names. What belonged to it counts from now as untagged."""
    schema = "repository = :repository AND name >= schema_tag(digest) AND name < schema_tag(digest) || '/'"
    belonging = (
        "subject = (SELECT digest FROM blobs WHERE id = :blob)",
        "blob IN (SELECT child FROM edges WHERE repository = :repository AND parent = :blob AND kind = 3)",
        f"blob IN (SELECT manifest FROM blobs JOIN tags ON {schema} WHERE id = :blob)",
    )
    for condition in belonging:
        connection.execute(
            "UPDATE manifests SET untagged = store_time() WHERE repository = :repository"
            f" AND {condition} AND untagged IS NULL",
            {"repository": repository, "blob": blob},
        )
    children = connection.execute(
        "SELECT DISTINCT child FROM edges WHERE repository = ? AND parent = ?", (repository, blob)
    ).fetchall()
    connection.execute("DELETE FROM manifests WHERE repository = ? AND blob = ?", (repository, blob))
    connection.executemany(_FORGET, children)
