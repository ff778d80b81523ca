"""Tags within a change: what they name, and how they come to name another manifest."""

from collections.abc import Callable

from storage.database import Connection
from storage.digest import Digest
from storage.errors import PreconditionFailed

TagCheck = Callable[[str, Digest | None, Digest | None], None]
"""Called inside the transaction with a tag, the digest it names and the one to come; raises to refuse."""


def tagged(connection: Connection, repository: int, tag: str) -> Digest | None:
    row = connection.execute(
        "SELECT blobs.digest FROM tags JOIN blobs ON blobs.id = tags.manifest"
        " WHERE tags.repository = ? AND tags.name = ?",
        (repository, tag),
    ).fetchone()
    return Digest.from_binary(row[0]) if row else None


def require_unmoved(connection: Connection, repository: int, tag: str, moved: int) -> None:
    sql = "SELECT moved FROM tags WHERE repository = ? AND name = ?"
    (last,) = connection.execute(sql, (repository, tag)).fetchone()
    if last != moved:
        raise PreconditionFailed(f"the last move of tag {tag}", wanted=f"only {moved}", found=last)


def leave_tag(connection: Connection, repository: int, tag: str) -> None:
    """Note on a manifest when its last tag leaves it: later clean-ups count from there."""
    connection.execute(
        "UPDATE manifests SET untagged = store_time() WHERE repository = :repository AND blob ="
        " (SELECT manifest FROM tags WHERE repository = :repository AND name = :tag)"
        " AND (SELECT count(*) FROM tags WHERE repository = :repository AND manifest = blob) = 1",
        {"repository": repository, "tag": tag},
    )


def move_tag(connection: Connection, repository: int, tag: str, blob: int) -> None:
    leave_tag(connection, repository, tag)
    connection.execute(
        "INSERT INTO tags (repository, name, manifest, moved) VALUES (?, ?, ?, store_time())"
        " ON CONFLICT DO UPDATE SET manifest = excluded.manifest, moved = excluded.moved",
        (repository, tag, blob),
    )
    connection.execute(
        "UPDATE manifests SET untagged = NULL WHERE repository = ? AND blob = ?", (repository, blob)
    )
