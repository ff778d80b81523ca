"""The part of the index that holds manifests, what they name, and the tags that name them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import partial

from storage.database import Connection, Database
from storage.digest import Digest
from storage.errors import ManifestMissing, PreconditionFailed, ReferencesMissing
from storage.history import note_move
from storage.links import release
from storage.marks import keep_manifest
from storage.quotas import Amount, Limits, require
from storage.rows import (
    HELD,
    MISSING,
    PRESENT,
    FileSize,
    drop_if_empty,
    ensure_blob,
    ensure_repository,
    find_repository,
    is_fetched,
    reveal_blob,
)


class EdgeKind(IntEnum):
    CONFIG = 1
    LAYER = 2
    CHILD = 3  # of an index: a manifest, or a blob (BuildKit's cache index)


@dataclass(frozen=True, slots=True)
class Edge:
    """Content that a manifest names. One that is not `required` may be absent."""

    digest: Digest
    size: int
    kind: EdgeKind
    required: bool = True


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """A manifest as listings and HEAD need it; `annotations` is the JSON object's text, `{}` for none.

    `marked`: a collector takes it to be garbage; who shall rely on it has to `keep` it first.
    """

    digest: Digest
    media_type: str
    size: int
    artifact_type: str = ""
    annotations: str = "{}"
    subject: Digest | None = None
    marked: bool = field(default=False, compare=False)


TagCheck = Callable[[str, Digest | None, Digest | None], None]
"""Called inside the transaction with a tag, the digest it names and the one to come; raises to refuse."""

_FORGET = (  # a digest that was only ever named, once nothing names it
    f"DELETE FROM blobs WHERE id = ? AND state = {MISSING}"
    " AND NOT EXISTS (SELECT 1 FROM edges WHERE child = blobs.id)"
    f" AND NOT {HELD}"
)
_PULLED = (
    "UPDATE manifests SET pulled = store_time() - ?1"
    " WHERE repository = (SELECT id FROM repositories WHERE name = ?2)"
    " AND blob = (SELECT id FROM blobs WHERE digest = ?3)"
    " AND (pulled IS NULL OR pulled < store_time() - ?1 - ?4)"
)
_COARSE = 3600  # seconds: so that most notes change nothing
_PULLS = 500  # noted in one transaction: it holds every writer up
_MANY_EDGES = 500  # look-ups that the event loop can spare time for
COLUMNS = (
    "manifests.digest, media_type, manifests.size, artifact_type, annotations, subject,"
    " manifests.mark IS NOT NULL"
)


class Manifests:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(
        self,
        repository: str,
        manifest: ManifestRow,
        edges: Sequence[Edge],
        tags: Sequence[str],
        *,
        file_size: FileSize,
        check: TagCheck,
        check_manifest: Callable[[bool], None],
        limits: Limits = (),
        who: str = "",
    ) -> list[tuple[str, Digest | None]]:
        """Record a manifest whose bytes are installed, and move `tags` to it; all of it or nothing.

        Returns each tag with the digest that it named before. `check_manifest` is told whether the
        repository had the manifest; `who` is for the tags' history. Raises ReferencesMissing, BlobMissing,
        QuotaExceeded, and what the checks raise.
        """

        def change(connection: Connection) -> list[tuple[str, Digest | None]]:
            found = ensure_repository(connection, repository)
            moves = _examine(connection, found, manifest, edges, tags, check, check_manifest, limits)
            children = [
                (ensure_blob(connection, edge.digest, edge.size), edge.kind, not edge.required)
                for edge in edges
            ]
            blob, _ = reveal_blob(connection, manifest.digest, file_size)
            _insert(connection, found, blob, manifest, children)
            for tag, old in moves:
                _move_tag(connection, found, tag, blob)
                note_move(connection, repository, tag, old, manifest.digest, who)
            keep_manifest(connection, found, blob)
            return moves

        return await self._database.write(change)

    async def examine(
        self,
        repository: str,
        manifest: ManifestRow,
        edges: Sequence[Edge],
        tags: Sequence[str],
        *,
        check: TagCheck,
        check_manifest: Callable[[bool], None],
        limits: Limits = (),
    ) -> None:
        """Raise what `put` would: a refusal that comes before any byte is stored leaves nothing behind."""

        def query(connection: Connection) -> None:
            found = find_repository(connection, repository) or 0
            _examine(connection, found, manifest, edges, tags, check, check_manifest, limits)

        await self._database.read(query, long=len(edges) > _MANY_EDGES)

    async def find(self, repository: str, digest: Digest) -> ManifestRow:
        """Raises ManifestMissing, also where the bytes are lost."""
        return await self._one(
            digest,
            f"SELECT {COLUMNS} FROM manifests JOIN blobs ON blobs.id = manifests.blob"
            " JOIN repositories ON repositories.id = manifests.repository"
            " WHERE blobs.digest = ? AND blobs.state = ? AND repositories.name = ?",
            (digest.binary, PRESENT, repository),
        )

    async def resolve(self, repository: str, tag: str) -> ManifestRow:
        """The manifest that a tag names. Raises ManifestMissing."""
        return await self._one(
            tag,
            f"SELECT {COLUMNS} FROM repositories JOIN tags ON tags.repository = repositories.id"
            " JOIN manifests ON manifests.repository = tags.repository AND manifests.blob = tags.manifest"
            " JOIN blobs ON blobs.id = manifests.blob"
            " WHERE repositories.name = ? AND tags.name = ? AND blobs.state = ?",
            (repository, tag, PRESENT),
        )

    async def keep(self, repository: str, digest: Digest) -> None:
        """Take the marks from a manifest and all that it keeps: somebody is about to be told that it is here.

        Raises ManifestMissing.
        """

        def change(connection: Connection) -> None:
            found = find_repository(connection, repository)
            row = connection.execute(
                "SELECT blob FROM manifests WHERE repository = ? AND blob ="
                " (SELECT id FROM blobs WHERE digest = ? AND state = ?)",
                (found, digest.binary, PRESENT),
            ).fetchone()
            if found is None or row is None:
                raise ManifestMissing(digest)
            keep_manifest(connection, found, row[0])

        await self._database.write(change, durable=False)

    async def note_pulls(self, pulls: Sequence[tuple[str, Digest]], *, ago: int = 0) -> None:
        """Note that manifests were pulled `ago`: to the second what was fetched, all else to the hour."""

        def change(connection: Connection, some: Sequence[tuple[str, Digest]]) -> None:
            values = [(ago, name, digest.binary, 0 if is_fetched(name) else _COARSE) for name, digest in some]
            connection.executemany(_PULLED, values)

        for start in range(0, len(pulls), _PULLS):
            await self._database.write(partial(change, some=pulls[start : start + _PULLS]), durable=False)

    async def _one(self, what: object, sql: str, values: tuple[object, ...]) -> ManifestRow:
        rows = await self._database.read(lambda connection: connection.execute(sql, values).fetchall())
        if not rows:
            raise ManifestMissing(what)
        return manifest_row(rows[0])

    async def remove(
        self,
        repository: str,
        digest: Digest,
        *,
        even_if_referenced: bool,
        check: TagCheck,
        check_manifest: Callable[[bool], None] = lambda _: None,
        who: str = "",
    ) -> list[str]:
        """Delete a manifest, its bytes here or not, with every tag on it; return those.

        Raises ManifestMissing, BlobReferenced, and what the checks raise.
        """

        def change(connection: Connection) -> list[str]:
            found = find_repository(connection, repository)
            row = connection.execute(
                "SELECT blob FROM manifests WHERE repository = ?"
                " AND blob = (SELECT id FROM blobs WHERE digest = ?)",
                (found, digest.binary),
            ).fetchone()
            if found is None or row is None:
                raise ManifestMissing(digest)
            check_manifest(True)
            release(connection, found, row[0], digest, even_if_referenced=even_if_referenced)
            tags = connection.execute(
                "SELECT name FROM tags WHERE repository = ? AND manifest = ?", (found, row[0])
            ).fetchall()
            for (tag,) in tags:
                check(tag, digest, None)
                note_move(connection, repository, tag, digest, None, who)
            connection.execute("DELETE FROM tags WHERE repository = ? AND manifest = ?", (found, row[0]))
            drop_manifest(connection, found, row[0])
            drop_if_empty(connection, found)
            return [tag for (tag,) in tags]

        return await self._database.write(change)

    async def move_tag(
        self,
        repository: str,
        tag: str,
        digest: Digest,
        *,
        file_size: FileSize,
        check: TagCheck,
        who: str = "",
    ) -> Digest | None:
        """Move a tag to a manifest that the repository has; return the digest that it named before.

        Raises ManifestMissing, also where the bytes are gone, and what `check` raises.
        """

        def change(connection: Connection) -> Digest | None:
            found = find_repository(connection, repository)
            row = connection.execute(
                "SELECT blobs.id, blobs.size FROM blobs JOIN manifests ON manifests.blob = blobs.id"
                " WHERE blobs.digest = ? AND blobs.state = ? AND manifests.repository = ?",
                (digest.binary, PRESENT, found),
            ).fetchone()
            if found is None or row is None or file_size(digest) != row[1]:
                raise ManifestMissing(digest)
            old = _tagged(connection, found, tag)
            check(tag, old, digest)
            _move_tag(connection, found, tag, row[0])
            note_move(connection, repository, tag, old, digest, who)
            keep_manifest(connection, found, row[0])
            return old

        return await self._database.write(change)

    async def remove_tag(
        self, repository: str, tag: str, *, check: TagCheck, who: str = "", moved: int | None = None
    ) -> Digest:
        """Delete a tag alone; return the digest that it named.

        With `moved`, only if that is when it last moved. Raises ManifestMissing, PreconditionFailed, and what
        `check` raises.
        """

        def change(connection: Connection) -> Digest:
            found = find_repository(connection, repository)
            old = None if found is None else _tagged(connection, found, tag)
            if found is None or old is None:
                raise ManifestMissing(tag)
            if moved is not None:
                _require_unmoved(connection, found, tag, moved)
            check(tag, old, None)
            _leave_tag(connection, found, tag)
            connection.execute("DELETE FROM tags WHERE repository = ? AND name = ?", (found, tag))
            note_move(connection, repository, tag, old, None, who)
            return old

        return await self._database.write(change)


def drop_manifest(connection: Connection, repository: int, blob: int) -> None:
    """Take a manifest that no tag names. What belonged to it counts from now as untagged."""
    schema = "repository = :repository AND name >= schema_tag(digest) AND name < schema_tag(digest) || '/'"
    belonging = (
        "subject = (SELECT digest FROM blobs WHERE id = :blob)",
        "blob IN (SELECT child FROM edges WHERE repository = :repository AND parent = :blob AND kind = 3)",
        f"blob IN (SELECT manifest FROM blobs JOIN tags ON {schema} WHERE id = :blob)",
    )
    for condition in belonging:
        connection.execute(
            "UPDATE manifests SET untagged = store_time() WHERE repository = :repository"
            f" AND {condition} AND untagged IS NULL",
            {"repository": repository, "blob": blob},
        )
    children = connection.execute(
        "SELECT DISTINCT child FROM edges WHERE repository = ? AND parent = ?", (repository, blob)
    ).fetchall()
    connection.execute("DELETE FROM manifests WHERE repository = ? AND blob = ?", (repository, blob))
    connection.executemany(_FORGET, children)


def manifest_row(row: Sequence[object]) -> ManifestRow:
    digest, media_type, size, artifact_type, annotations, subject, marked = row
    assert isinstance(digest, bytes)
    assert isinstance(size, int)
    return ManifestRow(
        Digest.from_binary(digest),
        str(media_type),
        size,
        str(artifact_type),
        str(annotations),
        Digest.from_binary(subject) if isinstance(subject, bytes) else None,
        bool(marked),
    )


def _examine(
    connection: Connection,
    repository: int,
    manifest: ManifestRow,
    edges: Sequence[Edge],
    tags: Sequence[str],
    check: TagCheck,
    check_manifest: Callable[[bool], None],
    limits: Limits,
) -> list[tuple[str, Digest | None]]:
    """Every check of a push; each tag with the digest that it names now."""
    _require_edges(connection, repository, edges)
    exists = _has_manifest(connection, repository, manifest.digest)
    check_manifest(exists)
    moves = [(tag, _tagged(connection, repository, tag)) for tag in tags]
    for tag, old in moves:
        check(tag, old, manifest.digest)
    new = sum(old is None for _, old in moves)
    require(connection, limits, lambda: Amount(0 if exists else manifest.size, new))
    return moves


def _require_edges(connection: Connection, repository: int, edges: Sequence[Edge]) -> None:
    """Raises ReferencesMissing with every edge that is required and not here, or of another size."""
    missing: dict[Digest, str] = {}
    for edge in edges:
        if not edge.required:
            continue
        size = _visible_size(connection, repository, edge)
        if size is None:
            missing[edge.digest] = "the repository does not have it: push it first"
        elif size != edge.size:
            missing[edge.digest] = f"it has {size} bytes here, the manifest says {edge.size}"
    if missing:
        raise ReferencesMissing(list(missing.items()))


def _visible_size(connection: Connection, repository: int, edge: Edge) -> int | None:
    tables = ("links", "manifests") if edge.kind is EdgeKind.CHILD else ("links",)
    for table in tables:
        row = connection.execute(
            f"SELECT blobs.size FROM blobs JOIN {table} ON {table}.blob = blobs.id"
            f" WHERE blobs.digest = ? AND blobs.state = ? AND {table}.repository = ?",
            (edge.digest.binary, PRESENT, repository),
        ).fetchone()
        if row:
            return int(row[0])
    return None


def _has_manifest(connection: Connection, repository: int, digest: Digest) -> bool:
    row = connection.execute(
        "SELECT 1 FROM manifests WHERE repository = ? AND blob = (SELECT id FROM blobs WHERE digest = ?)",
        (repository, digest.binary),
    ).fetchone()
    return row is not None


def _insert(
    connection: Connection,
    repository: int,
    blob: int,
    manifest: ManifestRow,
    children: Sequence[tuple[int, EdgeKind, bool]],
) -> None:
    connection.execute(
        "INSERT INTO manifests (repository, blob, digest, media_type, artifact_type, subject, size,"
        " annotations, pushed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, store_time())"
        " ON CONFLICT DO UPDATE SET pushed = excluded.pushed, media_type = excluded.media_type,"
        " artifact_type = excluded.artifact_type",
        (
            repository,
            blob,
            manifest.digest.binary,
            manifest.media_type,
            manifest.artifact_type,
            manifest.subject.binary if manifest.subject else None,
            manifest.size,
            manifest.annotations,
        ),
    )
    connection.executemany(
        "INSERT INTO edges (repository, parent, child, kind, optional) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET optional = min(optional, excluded.optional)",
        [(repository, blob, child, kind, optional) for child, kind, optional in children],
    )


def _tagged(connection: Connection, repository: int, tag: str) -> Digest | None:
    row = connection.execute(
        "SELECT blobs.digest FROM tags JOIN blobs ON blobs.id = tags.manifest"
        " WHERE tags.repository = ? AND tags.name = ?",
        (repository, tag),
    ).fetchone()
    return Digest.from_binary(row[0]) if row else None


def _require_unmoved(connection: Connection, repository: int, tag: str, moved: int) -> None:
    sql = "SELECT moved FROM tags WHERE repository = ? AND name = ?"
    (last,) = connection.execute(sql, (repository, tag)).fetchone()
    if last != moved:
        raise PreconditionFailed(f"the last move of tag {tag}", wanted=f"only {moved}", found=last)


def _leave_tag(connection: Connection, repository: int, tag: str) -> None:
    """Note on a manifest when its last tag leaves it: later clean-ups count from there."""
    connection.execute(
        "UPDATE manifests SET untagged = store_time() WHERE repository = :repository AND blob ="
        " (SELECT manifest FROM tags WHERE repository = :repository AND name = :tag)"
        " AND (SELECT count(*) FROM tags WHERE repository = :repository AND manifest = blob) = 1",
        {"repository": repository, "tag": tag},
    )


def _move_tag(connection: Connection, repository: int, tag: str, blob: int) -> None:
    _leave_tag(connection, repository, tag)
    connection.execute(
        "INSERT INTO tags (repository, name, manifest, moved) VALUES (?, ?, ?, store_time())"
        " ON CONFLICT DO UPDATE SET manifest = excluded.manifest, moved = excluded.moved",
        (repository, tag, blob),
    )
    connection.execute(
        "UPDATE manifests SET untagged = NULL WHERE repository = ? AND blob = ?", (repository, blob)
    )
