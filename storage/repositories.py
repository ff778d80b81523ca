"""Whole repositories: what is in each, and taking one away."""

from dataclasses import dataclass

from storage.database import Connection, Database
from storage.digest import Digest
from storage.errors import RepositoryMissing
from storage.history import note_departure
from storage.rows import PRESENT, find_repository


@dataclass(frozen=True, slots=True)
class RepositorySummary:
    """`size` is in bytes; what its images share counts once."""

    name: str
    tags: int
    manifests: int
    size: int


@dataclass(frozen=True, slots=True)
class TagSummary:
    """`size` is in bytes: the manifest and everything that it names, of all platforms, counted once."""

    name: str
    digest: Digest
    media_type: str
    size: int


@dataclass(frozen=True, slots=True)
class ManifestSummary:
    repository: str
    digest: Digest
    media_type: str
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Removed:
    tags: int
    manifests: int
    blobs: int


def summarize(connection: Connection) -> list[RepositorySummary]:
    """Every repository, in bytewise order of the names."""
    rows = connection.execute(
        "SELECT name, (SELECT count(*) FROM tags WHERE repository = repositories.id),"
        " (SELECT count(*) FROM manifests WHERE repository = repositories.id),"
        " (SELECT coalesce(sum(size), 0) FROM blobs WHERE state = ? AND id IN"
        "   (SELECT blob FROM links WHERE repository = repositories.id"
        "    UNION SELECT blob FROM manifests WHERE repository = repositories.id))"
        " FROM repositories ORDER BY name",
        (PRESENT,),
    ).fetchall()
    return [RepositorySummary(*row) for row in rows]


def summarize_tags(connection: Connection, repository: str) -> list[TagSummary]:
    """Every tag, in bytewise order. Raises RepositoryMissing."""
    found = find_repository(connection, repository)
    if found is None:
        raise RepositoryMissing(repository)
    rows = connection.execute(
        "SELECT tags.name, manifests.digest, media_type, manifest FROM tags"
        " JOIN manifests ON manifests.repository = tags.repository AND manifests.blob = tags.manifest"
        " WHERE tags.repository = ? ORDER BY tags.name",
        (found,),
    ).fetchall()
    return [
        TagSummary(name, Digest.from_binary(digest), media_type, _reach(connection, found, manifest))
        for name, digest, media_type, manifest in rows
    ]


def list_manifests(connection: Connection) -> list[ManifestSummary]:
    """Every manifest of every repository, in the order in which they came; tags in bytewise order."""
    tags: dict[tuple[int, int], list[str]] = {}
    for repository, blob, tag in connection.execute(
        "SELECT repository, manifest, name FROM tags ORDER BY name"
    ):
        tags.setdefault((repository, blob), []).append(tag)
    rows = connection.execute(
        "SELECT repository, blob, name, digest, media_type FROM manifests"
        " JOIN repositories ON repositories.id = repository ORDER BY manifests.rowid"
    ).fetchall()
    return [
        ManifestSummary(name, Digest.from_binary(digest), media_type, tuple(tags.get((repository, blob), ())))
        for repository, blob, name, digest, media_type in rows
    ]


def _reach(connection: Connection, repository: int, manifest: int) -> int:
    (size,) = connection.execute(
        "WITH RECURSIVE reach(blob) AS (VALUES (:manifest) UNION"
        " SELECT child FROM edges JOIN reach ON edges.parent = reach.blob WHERE repository = :repository)"
        " SELECT coalesce(sum(size), 0) FROM blobs JOIN reach ON id = reach.blob WHERE state = :present",
        {"manifest": manifest, "repository": repository, "present": PRESENT},
    ).fetchone()
    return int(size)


async def remove_repository(database: Database, repository: str, *, who: str = "") -> Removed:
    """Delete a repository with all that it names, in one transaction. Raises RepositoryMissing.

    The history of its tags stays, and says that they went.
    """

    def change(connection: Connection) -> Removed:
        found = find_repository(connection, repository)
        if found is None:
            raise RepositoryMissing(repository)
        note_departure(connection, found, repository, who)
        counts = [
            connection.execute(f"DELETE FROM {table} WHERE repository = ?", (found,)).rowcount
            for table in ("tags", "manifests", "links")
        ]
        connection.execute("DELETE FROM repositories WHERE id = ?", (found,))
        return Removed(*counts)

    return await database.write(change)
