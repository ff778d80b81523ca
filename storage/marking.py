"""The first half of a collection: what is garbage? Queries and small changes, one repository at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from storage.database import Connection
from storage.liveness import Held, live
from storage.marks import IS_NAMED

_ROWS = 5000  # of a key range that one query looks at
_REPOSITORIES = 100


@dataclass(frozen=True, slots=True)
class Marked:
    """A repository, and when a blob last came into it."""

    id: int
    name: str
    active: int


def repositories(connection: Connection, after: int) -> list[Marked]:
    sql = "SELECT id, name, active FROM repositories WHERE id > ? ORDER BY id LIMIT ?"
    return [Marked(*row) for row in connection.execute(sql, (after, _REPOSITORIES)).fetchall()]


def judge_manifests(connection: Connection, repository: int, since: int) -> tuple[list[int], list[int]]:
    """(dead and not marked, alive and marked), as ids of their blobs; `since` as in `live`."""
    rows = connection.execute(
        "SELECT blob, digest, subject, untagged IS NOT NULL,"
        " max(pushed, coalesce(untagged, 0), coalesce(pulled, 0)), mark IS NOT NULL"
        " FROM manifests WHERE repository = ?",
        (repository,),
    ).fetchall()
    sql = "SELECT name, manifest FROM tags WHERE repository = ?"
    tags = connection.execute(sql, (repository,)).fetchall()
    children: dict[int, list[int]] = {}
    sql = "SELECT parent, child FROM edges WHERE repository = ? AND kind = 3"
    for parent, child in connection.execute(sql, (repository,)).fetchall():
        children.setdefault(parent, []).append(child)
    alive = live([Held(*row[:5]) for row in rows], tags, children, since)
    dead = [row[0] for row in rows if row[0] not in alive and not row[5]]
    return dead, [row[0] for row in rows if row[0] in alive and row[5]]


def end_of_links(connection: Connection, repository: int, after: int) -> tuple[int, int] | None:
    """(the last of the next few thousand blobs, how many those are); None at the end."""
    sql = "SELECT blob FROM links WHERE repository = ? AND blob > ? ORDER BY blob LIMIT ?"
    return _end(connection, "blob", sql, (repository, after, _ROWS))


def end_of_blobs(connection: Connection, after: int) -> tuple[int, int] | None:
    return _end(connection, "id", "SELECT id FROM blobs WHERE id > ? ORDER BY id LIMIT ?", (after, _ROWS))


def _end(connection: Connection, column: str, sql: str, values: tuple[int, ...]) -> tuple[int, int] | None:
    last, count = connection.execute(f"SELECT max({column}), count(*) FROM ({sql})", values).fetchone()
    return (last, count) if count else None


def unnamed_links(connection: Connection, repository: int, after: int, end: int) -> list[int]:
    """Blobs of the repository that no manifest names which stays, and that have no mark."""
    sql = (
        "SELECT blob FROM links WHERE repository = ? AND blob > ? AND blob <= ? AND mark IS NULL"
        f" AND NOT {IS_NAMED}"
    )
    return column(connection, sql, repository, after, end)


def named_again(connection: Connection, repository: int) -> list[int]:
    """Marked blobs of the repository that a manifest names which stays."""
    sql = f"SELECT blob FROM links WHERE repository = ? AND mark IS NOT NULL AND {IS_NAMED}"
    return column(connection, sql, repository)


def set_marks(connection: Connection, table: str, repository: int, blobs: Sequence[int]) -> None:
    """From the next second on: what was told until now is told for the whole grace."""
    # Looked at again: since the query, a manifest may have come that names it.
    unnamed = f" AND NOT {IS_NAMED}" if table == "links" else ""
    connection.executemany(
        f"UPDATE {table} SET mark = store_time() + 1"
        f" WHERE repository = ? AND blob = ? AND mark IS NULL{unnamed}",
        [(repository, blob) for blob in blobs],
    )


def mark_superseded(connection: Connection, repository: int, blobs: Sequence[int]) -> None:
    """Manifests, and at the same second what they alone name: so that one grace ends for all of it."""
    (mark,) = connection.execute("SELECT store_time() + 1").fetchone()
    for blob in blobs:
        connection.execute(
            "UPDATE manifests SET mark = ? WHERE repository = ? AND blob = ? AND mark IS NULL",
            (mark, repository, blob),
        )
    connection.executemany(
        "UPDATE links SET mark = ?1 WHERE repository = ?2 AND mark IS NULL AND blob IN"
        f" (SELECT child FROM edges WHERE repository = ?2 AND parent = ?3) AND NOT {IS_NAMED}",
        [(mark, repository, blob) for blob in blobs],
    )


def clear_marks(connection: Connection, table: str, repository: int, blobs: Sequence[int]) -> None:
    connection.executemany(
        f"UPDATE {table} SET mark = NULL WHERE repository = ? AND blob = ?",
        [(repository, blob) for blob in blobs],
    )


def void_some_marks(connection: Connection, table: str, count: int) -> int:
    """Take so many marks off, whosever they are; return how many there were."""
    some = f"SELECT repository, blob FROM {table} WHERE mark IS NOT NULL LIMIT ?"
    sql = f"UPDATE {table} SET mark = NULL WHERE (repository, blob) IN ({some})"
    return connection.execute(sql, (count,)).rowcount


def begin_marks(connection: Connection, boot: str) -> None:
    """All marks from now on are of this boot."""
    connection.execute("UPDATE clock SET marked_in = ?", (boot,))


def count_waiting(connection: Connection) -> tuple[int, int]:
    """Marked content, and its bytes."""
    count, size = connection.execute(
        "SELECT count(*), coalesce(sum(size), 0) FROM blobs WHERE id IN (SELECT blob FROM links"
        " WHERE mark IS NOT NULL UNION SELECT blob FROM manifests WHERE mark IS NOT NULL)"
    ).fetchone()
    return count, size


def column(connection: Connection, sql: str, *values: object) -> list[Any]:
    """The first column of all rows."""
    return [row[0] for row in connection.execute(sql, values).fetchall()]
