"""How many bytes repositories and tags take: by themselves, with what they share, and what nothing needs.

Sizes are those of content that is here, as the index has them. A few queries for each repository, whose rows
are then added up in memory.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from storage.contents import read_contents
from storage.database import Connection
from storage.digest import Digest
from storage.errors import RepositoryMissing
from storage.rows import PRESENT, find_repository

Untagged = Callable[[str], int | None]
"""How many seconds a repository keeps what no tag names any more; None for ever."""


@dataclass(frozen=True, slots=True)
class RepositoryUsage:
    """In bytes. `logical`: every image by itself, as if nothing was shared.

    `stored`: each content once, which is `only_here` and `shared` with other repositories. `reclaimable`: of
    it, what no repository needs.
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
    """Each content once, but for `logical`. `stored` is `only_here`, `shared`, and `unheld` by any."""

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
        unneeded -= read_contents(connection, repository).needed(_since(untagged(name), now))
    only, shared = 0, set[int]()
    unheld = set(sizes)
    found: list[RepositoryUsage] = []
    for repository, name in _repositories(connection):
        content = read_contents(connection, repository)
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
                content.size(unneeded.intersection(here)),
            )
        )
        only += stored - elsewhere
        shared |= content.elsewhere
        unheld.difference_update(here)
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
        content = read_contents(connection, found)
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
