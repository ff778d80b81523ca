"""Marks: what a collector takes to be garbage until somebody needs it, or is told that it is here."""

from storage.database import Connection

# All that a manifest keeps: what it names, what refers to it by `subject` or by the tag schema
# (digest.schema_tag), and what those name.
_REACH = """
    WITH RECURSIVE reach(blob) AS (
        VALUES (:blob)
        UNION SELECT child FROM reach JOIN edges ON repository = :repository AND parent = reach.blob
        UNION SELECT manifests.blob FROM reach JOIN blobs ON blobs.id = reach.blob
            JOIN manifests ON repository = :repository AND subject = blobs.digest
        UNION SELECT manifest FROM reach JOIN blobs ON blobs.id = reach.blob
            JOIN tags ON repository = :repository AND name >= schema_tag(blobs.digest)
            AND name < schema_tag(blobs.digest) || '/'
    )"""

IS_NAMED = (
    "EXISTS (SELECT 1 FROM edges JOIN manifests ON manifests.repository = edges.repository"
    " AND manifests.blob = edges.parent WHERE edges.child = links.blob"
    " AND edges.repository = links.repository AND manifests.mark IS NULL)"
)
"""Whether a manifest that stays names the blob of a link."""


def has_marks(connection: Connection, repository: int) -> bool:
    row = connection.execute(
        "SELECT 1 FROM manifests WHERE repository = :repository AND mark IS NOT NULL UNION ALL"
        " SELECT 1 FROM links WHERE repository = :repository AND mark IS NOT NULL LIMIT 1",
        {"repository": repository},
    ).fetchone()
    return row is not None


def keep_manifest(connection: Connection, repository: int, blob: int) -> None:
    """Take the marks from a manifest and from all that it keeps."""
    if not has_marks(connection, repository):
        return
    for table in ("manifests", "links"):
        connection.execute(
            f"{_REACH} UPDATE {table} SET mark = NULL WHERE repository = :repository AND mark IS NOT NULL"
            " AND blob IN (SELECT blob FROM reach)",
            {"repository": repository, "blob": blob},
        )
