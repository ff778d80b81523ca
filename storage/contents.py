"""What one repository holds, read whole: for sums over all of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from storage.database import Connection
from storage.liveness import Held, live
from storage.rows import PRESENT


@dataclass(frozen=True, slots=True)
class Contents:
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

    def needed(self, since: int) -> set[int]:
        """What garbage collection leaves, as far as this repository is concerned; `since` as in `live`."""
        alive = self.alive(since)
        return alive.union(*(self.edges.get(manifest, ()) for manifest in alive))

    def size(self, blobs: Iterable[int]) -> int:
        return sum(self.sizes[blob] for blob in blobs)


def read_contents(connection: Connection, repository: int) -> Contents:
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
    return Contents(
        {blob: size for blob, size, _ in blobs},
        frozenset(blob for blob, _, elsewhere in blobs if elsewhere),
        [Held(*row) for row in manifests],
        tags,
        edges,
        children,
    )
