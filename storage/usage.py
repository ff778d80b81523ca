"""How many bytes repositories and tags take: by themselves, with what they share, and what nothing needs.

Sizes are those of content that is here, as the index has them. A few queries for each repository, whose rows
are then added up in memory.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from storage.database import Connection
from storage.digest import Digest
from storage.errors import RepositoryMissing
from storage.liveness import Held, live
from storage.rows import PRESENT, find_repository

Untagged = Callable[[str], int | None]
"""How many seconds a repository keeps what no tag names any more; None for ever."""


@dataclass(frozen=True, slots=True)
class RepositoryUsage:
    """In bytes. `logical`: every image by itself, as if nothing was shared. `stored`: each content once, which is
    `only_here` and `shared` with other repositories. `reclaimable`: of it, what no repository needs.
    """

    name: str
    tags: int
    logical: int
    stored: int
    only_here: int
    shared: int
    reclaimable: int


@dataclass(frozen=True, slots=True)
class TotalUsage:
    """Each content once, but for `logical`. `stored` is `only_here`, `shared` and `unheld`: of no repository."""

    tags: int
    logical: int
    stored: int
    only_here: int
    shared: int
    unheld: int
    reclaimable: int


@dataclass(frozen=True, slots=True)
class TagUsage:
    """In bytes: `size` is `only` and `shared`. `only` is freed if the tag and its manifest go."""

    name: str
    digest: Digest
    size: int
    only: int
    shared: int


@dataclass(frozen=True, slots=True)
class _Content:
    """A repository: `sizes` of what is here, its manifests, tags, and what each manifest names."""

    sizes: Mapping[int, int]
    elsewhere: frozenset[int]
    manifests: Sequence[Held]
    tags: Sequence[tuple[str, int]]
    edges: Mapping[int, Sequence[int]]
    children: Mapping[int, Sequence[int]]

    def reach(self, manifest: int) -> set[int]:
        """What it holds that is here: all that it names, its children's too."""
        seen, waiting = set[int](), [manifest]
        while waiting:
            blob = waiting.pop()
            if blob not in seen:
                seen.add(blob)
                waiting += self.edges.get(blob, ())
        return seen & self.sizes.keys()

    def alive(self, since: int) -> set[int]:
        return live(self.manifests, self.tags, self.children, since)

    def images(self, manifests: Iterable[int]) -> set[int]:
        """Those that have a tag, or that no other of these names."""
        mine = set(manifests)
        named = {child for parent in mine for child in self.children.get(parent, ()) if child != parent}
        return {blob for _, blob in self.tags} | (mine - named)

    def size(self, blobs: Iterable[int]) -> int:
        return sum(self.sizes[blob] for blob in blobs)


def measure(connection: Connection, untagged: Untagged, now: int) -> tuple[list[RepositoryUsage], TotalUsage]:
    """Every repository, in bytewise order, and the sum."""
    with _at_once(connection):
        return _measure(connection, untagged, now)


def _measure(
    connection: Connection, untagged: Untagged, now: int
) -> tuple[list[RepositoryUsage], TotalUsage]:
    sizes: dict[int, int] = dict(
        connection.execute("SELECT id, size FROM blobs WHERE state = ?", (PRESENT,)).fetchall()
    )
    unneeded = set(sizes)
    for repository, name in _repositories(connection):
        unneeded -= _needed(_read(connection, repository), _since(untagged(name), now))
    only, shared = 0, set[int]()
    unheld = set(sizes)
    found: list[RepositoryUsage] = []
    for repository, name in _repositories(connection):
        content = _read(connection, repository)
        here = content.sizes.keys()
        images = content.images(manifest.blob for manifest in content.manifests)
        stored, elsewhere = content.size(here), content.size(content.elsewhere)
        found.append(
            RepositoryUsage(
                name,
                len(content.tags),
                sum(content.size(content.reach(image)) for image in images),
                stored,
                stored - elsewhere,
                elsewhere,
                content.size(unneeded & here),
            )
        )
        only += stored - elsewhere
        shared |= content.elsewhere
        unheld -= here
    total = TotalUsage(
        sum(each.tags for each in found),
        sum(each.logical for each in found),
        sum(sizes.values()),
        only,
        sum(sizes[blob] for blob in shared),
        sum(sizes[blob] for blob in unheld),
        sum(sizes[blob] for blob in unneeded),
    )
    return found, total


def measure_tags(connection: Connection, repository: str, untagged: Untagged, now: int) -> list[TagUsage]:
    """Every tag, in bytewise order. Raises RepositoryMissing."""
    with _at_once(connection):
        found = find_repository(connection, repository)
        if found is None:
            raise RepositoryMissing(repository)
        content = _read(connection, found)
        rows = connection.execute(
            "SELECT blob, digest FROM manifests WHERE repository = ?", (found,)
        ).fetchall()
    digests = {blob: Digest.from_binary(digest) for blob, digest in rows}
    images = content.images(content.alive(_since(untagged(repository), now)))
    reached = {image: content.reach(image) for image in images}
    holders = Counter(blob for reach in reached.values() for blob in reach)
    names = Counter(blob for _, blob in content.tags)

    def usage(tag: str, manifest: int) -> TagUsage:
        reach = reached[manifest]
        alone = names[manifest] == 1
        only = content.size(
            blob for blob in reach if alone and holders[blob] == 1 and blob not in content.elsewhere
        )
        size = content.size(reach)
        return TagUsage(tag, digests[manifest], size, only, size - only)

    return [usage(tag, manifest) for tag, manifest in content.tags]


@contextmanager
def _at_once(connection: Connection) -> Iterator[None]:
    """All queries see the index as the first does, so that sums add up."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("COMMIT")


def _repositories(connection: Connection) -> list[tuple[int, str]]:
    return connection.execute("SELECT id, name FROM repositories ORDER BY name").fetchall()


def _since(kept: int | None, now: int) -> int:
    return 0 if kept is None else now - kept


def _needed(content: _Content, since: int) -> set[int]:
    """What garbage collection leaves, as far as this repository is concerned."""
    alive = content.alive(since)
    return alive.union(*(content.edges.get(manifest, ()) for manifest in alive))


def _read(connection: Connection, repository: int) -> _Content:
    values = {"repository": repository, "present": PRESENT}
    blobs = connection.execute(
        "SELECT id, size,"
        " EXISTS (SELECT 1 FROM links WHERE blob = id AND repository <> :repository)"
        " OR EXISTS (SELECT 1 FROM manifests WHERE blob = id AND repository <> :repository)"
        " FROM blobs WHERE state = :present AND id IN"
        " (SELECT blob FROM links WHERE repository = :repository"
        " UNION SELECT blob FROM manifests WHERE repository = :repository)",
        values,
    ).fetchall()
    manifests = connection.execute(
        "SELECT blob, digest, subject, untagged IS NOT NULL,"
        " max(pushed, coalesce(untagged, 0), coalesce(pulled, 0)) FROM manifests"
        " WHERE repository = :repository",
        values,
    ).fetchall()
    tags = connection.execute(
        "SELECT name, manifest FROM tags WHERE repository = :repository ORDER BY name", values
    ).fetchall()
    edges: dict[int, list[int]] = {}
    children: dict[int, list[int]] = {}
    sql = "SELECT parent, child, kind = 3 FROM edges WHERE repository = :repository"
    for parent, child, is_child in connection.execute(sql, values).fetchall():
        edges.setdefault(parent, []).append(child)
        if is_child:
            children.setdefault(parent, []).append(child)
    return _Content(
        {blob: size for blob, size, _ in blobs},
        frozenset(blob for blob, _, elsewhere in blobs if elsewhere),
        [Held(*row) for row in manifests],
        tags,
        edges,
        children,
    )
