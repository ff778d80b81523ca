"""What some repositories hold, loaded for a decision on what of it goes first."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from storage.database import Connection
from storage.rows import PRESENT

Place = tuple[int, int]
"""A blob in a repository, by the index's ids: (repository, blob)."""

Chosen = Callable[[str], bool]
"""Says of a repository's name whether it is one of those that are meant."""


@dataclass(slots=True)
class Kept:
    """A manifest. `used`: the last of push, pull and a tag's move, in the store's time.

    `names` are all blobs that it names; `belonging` are manifests of its repository that go with it: its
    children, and what refers to it. `going`: it has lost its last tag, or a collector has marked it.
    """

    used: int
    tagged: bool = False
    going: bool = False
    names: list[int] = field(default_factory=list)
    belonging: list[Place] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Holdings:
    """`sizes` are of the blobs that count: what a repository outside holds too would stay anyway.

    `names` are those of the repositories, `active` is when a blob last came into one.
    """

    manifests: dict[Place, Kept]
    links: set[Place]
    sizes: dict[int, int]
    names: dict[int, str]
    active: dict[int, int]

    @property
    def bytes(self) -> int:
        """A blob that several hold counts once."""
        return sum(self.sizes.values())


def load_holdings(connection: Connection, chosen: Chosen, inside: Chosen) -> Holdings:
    """Of the `chosen` repositories; what others than those `inside` hold too does not count.

    All of one moment: the parts would not fit together else.
    """
    connection.execute("BEGIN")
    try:
        return _load(connection, chosen, inside)
    finally:
        connection.execute("COMMIT")


def _load(connection: Connection, chosen: Chosen, inside: Chosen) -> Holdings:
    repositories = connection.execute("SELECT id, name, active FROM repositories").fetchall()
    names = {repository: name for repository, name, _ in repositories if chosen(name)}
    active = {repository: when for repository, name, when in repositories if chosen(name)}
    ours = _listed([*names])
    manifests = _load_manifests(connection, ours)
    sql = f"SELECT repository, blob FROM links WHERE {_IN}"
    links = set(connection.execute(sql, (ours,)).fetchall())
    outside = _listed([repository for repository, name, _ in repositories if not inside(name)])
    sizes = dict(connection.execute(_SIZES, (PRESENT, ours, ours, outside, outside)).fetchall())
    return Holdings(manifests, links, sizes, names, active)


def count_bytes(connection: Connection, chosen: Chosen, inside: Chosen) -> int:
    """As `Holdings.bytes`, without the rest."""
    repositories = connection.execute("SELECT id, name FROM repositories").fetchall()
    ours = _listed([repository for repository, name in repositories if chosen(name)])
    outside = _listed([repository for repository, name in repositories if not inside(name)])
    sql = f"SELECT coalesce(sum(size), 0) FROM ({_SIZES})"
    ((found,),) = connection.execute(sql, (PRESENT, ours, ours, outside, outside)).fetchall()
    return int(found)


_IN = "repository IN (SELECT value FROM json_each(?))"
_SIZES = (
    "SELECT id, size FROM blobs WHERE state = ?"
    f" AND (id IN (SELECT blob FROM links WHERE {_IN}) OR id IN (SELECT blob FROM manifests WHERE {_IN}))"
    f" AND NOT EXISTS (SELECT 1 FROM links WHERE blob = blobs.id AND {_IN})"
    f" AND NOT EXISTS (SELECT 1 FROM manifests WHERE blob = blobs.id AND {_IN})"
)


def _listed(ids: Sequence[int]) -> str:
    """As one value of a statement, however many."""
    return f"[{','.join(map(str, ids))}]"


def _load_manifests(connection: Connection, repositories: str) -> dict[Place, Kept]:
    rows = connection.execute(
        "SELECT repository, blob, digest, subject, max(pushed, coalesce(pulled, 0)),"
        f" untagged IS NOT NULL OR mark IS NOT NULL FROM manifests WHERE {_IN}",
        (repositories,),
    ).fetchall()
    manifests = {
        (repository, blob): Kept(used, going=bool(going)) for repository, blob, _, _, used, going in rows
    }
    sql = f"SELECT repository, manifest, max(moved) FROM tags WHERE {_IN} GROUP BY repository, manifest"
    for repository, blob, moved in connection.execute(sql, (repositories,)).fetchall():
        kept = manifests[repository, blob]
        kept.tagged, kept.used = True, max(kept.used, moved)
    sql = f"SELECT DISTINCT repository, parent, child FROM edges WHERE {_IN}"
    for repository, parent, child in connection.execute(sql, (repositories,)).fetchall():
        kept = manifests[repository, parent]
        kept.names.append(child)
        if (repository, child) in manifests and child != parent:
            kept.belonging.append((repository, child))
    by_digest = {(repository, digest): blob for repository, blob, digest, *_ in rows}
    for repository, blob, digest, subject, *_ in rows:
        owner = by_digest.get((repository, subject))
        if owner is not None and subject != digest:
            manifests[repository, owner].belonging.append((repository, blob))
    return manifests
