"""The part of the index that says how each tag moved: written in the transaction of the move."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from storage.database import Connection
from storage.digest import Digest

KEPT = 100  # moves of each tag, and up to _TRIM more
_TRIM = 16
_PRUNED = 200  # tags in one transaction


@dataclass(frozen=True, slots=True)
class Move:
    """`old` and `new` are None where the tag is absent; `at` in seconds of the epoch."""

    tag: str
    old: Digest | None
    new: Digest | None
    who: str
    at: int


def note_move(
    connection: Connection, repository: str, tag: str, old: Digest | None, new: Digest | None, who: str
) -> None:
    """Record that a tag moved, if it did; now and then forget what is older than the last hundred moves."""
    if old == new:
        return
    ((last,),) = connection.execute(
        "SELECT coalesce(max(number), 0) FROM tag_history WHERE repository = ? AND tag = ?", (repository, tag)
    ).fetchall()
    number = last + 1
    connection.execute(
        "INSERT INTO tag_history (repository, tag, number, old, new, who, at) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (repository, tag, number, _binary(old), _binary(new), who, int(time.time())),
    )
    if number % _TRIM == 0:
        connection.execute(
            "DELETE FROM tag_history WHERE repository = ? AND tag = ? AND number <= ?",
            (repository, tag, number - KEPT),
        )


def note_departure(connection: Connection, repository: int, name: str, who: str) -> None:
    """Record that all tags of a repository go, however many: in one statement, as it holds the writers up."""
    connection.execute(
        "INSERT INTO tag_history (repository, tag, number, old, new, who, at)"
        " SELECT :name, tags.name, 1 + (SELECT coalesce(max(number), 0) FROM tag_history"
        "   WHERE tag_history.repository = :name AND tag_history.tag = tags.name),"
        " digest, NULL, :who, :now FROM tags JOIN blobs ON blobs.id = manifest WHERE tags.repository = :id",
        {"name": name, "who": who, "now": int(time.time()), "id": repository},
    )


def prune(connection: Connection, after: tuple[str, str]) -> tuple[str, str] | None:
    """Forget histories of tags that are gone, once all content that they speak of is gone too.

    Looks at some tags after (repository, tag); returns the last of them, None at the end.
    """
    rows = connection.execute(
        "SELECT DISTINCT repository, tag FROM tag_history WHERE (repository, tag) > (?, ?)"
        " ORDER BY repository, tag LIMIT ?",
        (*after, _PRUNED),
    ).fetchall()
    connection.executemany(
        "DELETE FROM tag_history WHERE repository = :repository AND tag = :tag AND NOT EXISTS"
        " (SELECT 1 FROM tags JOIN repositories ON repositories.id = tags.repository"
        "  WHERE repositories.name = :repository AND tags.name = :tag)"
        " AND NOT EXISTS (SELECT 1 FROM tag_history AS other JOIN blobs ON digest IN (other.old, other.new)"
        "  WHERE other.repository = :repository AND other.tag = :tag)",
        [{"repository": repository, "tag": tag} for repository, tag in rows],
    )
    return rows[-1] if rows else None


def find_moves(connection: Connection, repository: str, tag: str | None, limit: int) -> list[Move]:
    """The last moves of a tag, or of all tags of a repository, the latest first."""
    where, values = ("", ()) if tag is None else (" AND tag = ?", (tag,))
    order = "at DESC, tag" if tag is None else "tag"
    rows = connection.execute(
        "SELECT tag, old, new, who, at FROM tag_history"
        f" WHERE repository = ?{where} ORDER BY {order}, number DESC LIMIT ?",
        (repository, *values, limit),
    ).fetchall()
    return [_move(row) for row in rows]


def _move(row: Sequence[object]) -> Move:
    tag, old, new, who, at = row
    assert isinstance(at, int)
    return Move(str(tag), _digest(old), _digest(new), str(who), at)


def _binary(digest: Digest | None) -> bytes | None:
    return digest.binary if digest else None


def _digest(binary: object) -> Digest | None:
    return Digest.from_binary(binary) if isinstance(binary, bytes) else None
