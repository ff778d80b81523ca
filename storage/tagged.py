"""The tags of a repository, with what their ages are told by."""

from collections.abc import Iterable
from dataclasses import dataclass

from storage.database import Connection
from storage.digest import Digest
from storage.errors import RepositoryMissing
from storage.holdings import Place
from storage.rows import find_repository


@dataclass(frozen=True, slots=True)
class Tagged:
    """Times are the store's (storage/clock.py). `pulled` is that of the manifest; None: not noted yet."""

    name: str
    digest: Digest
    moved: int
    pulled: int | None


def tagged(connection: Connection, repository: str) -> list[Tagged]:
    """Every tag, in bytewise order. Raises RepositoryMissing."""
    found = find_repository(connection, repository)
    if found is None:
        raise RepositoryMissing(repository)
    rows = connection.execute(
        "SELECT tags.name, digest, moved, pulled FROM tags"
        " JOIN manifests ON manifests.repository = tags.repository AND manifests.blob = tags.manifest"
        " WHERE tags.repository = ? ORDER BY tags.name",
        (found,),
    ).fetchall()
    return [Tagged(name, Digest.from_binary(digest), moved, pulled) for name, digest, moved, pulled in rows]


def tags_of(connection: Connection, manifests: Iterable[Place]) -> dict[int, list[Tagged]]:
    """The tags of some manifests, by repository."""
    found: dict[int, list[Tagged]] = {}
    for place in manifests:
        rows = connection.execute(
            "SELECT tags.name, digest, moved, pulled FROM tags"
            " JOIN manifests ON manifests.repository = tags.repository AND manifests.blob = tags.manifest"
            " WHERE tags.repository = ? AND tags.manifest = ? ORDER BY tags.name",
            place,
        ).fetchall()
        for name, digest, moved, pulled in rows:
            tag = Tagged(name, Digest.from_binary(digest), moved, pulled)
            found.setdefault(place[0], []).append(tag)
    return found


def repository_names(connection: Connection) -> list[str]:
    """All of them, in bytewise order."""
    return [name for (name,) in connection.execute("SELECT name FROM repositories ORDER BY name").fetchall()]
