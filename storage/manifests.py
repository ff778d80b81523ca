"""The part of the index that holds manifests, what they name, and the tags that name them."""

from collections.abc import Callable, Sequence
from functools import partial

from storage.database import Connection, Database
from storage.digest import Digest
from storage.errors import ManifestMissing
from storage.history import note_move
from storage.links import release
from storage.manifest_rows import COLUMNS, Edge, ManifestRow, manifest_row
from storage.marks import keep_manifest
from storage.quotas import Limits
from storage.recording import drop_manifest, examine, insert_manifest
from storage.rows import (
    PRESENT,
    FileSize,
    drop_if_empty,
    ensure_blob,
    ensure_repository,
    find_repository,
    is_fetched,
    reveal_blob,
)
from storage.tags import TagCheck, leave_tag, move_tag, require_unmoved, tagged

_PULLED = (
    "UPDATE manifests SET pulled = store_time() - ?1"
    " WHERE repository = (SELECT id FROM repositories WHERE name = ?2)"
    " AND blob = (SELECT id FROM blobs WHERE digest = ?3)"
    " AND (pulled IS NULL OR pulled < store_time() - ?1 - ?4)"
)
_COARSE = 3600  # seconds: so that most notes change nothing
_PULLS = 500  # noted in one transaction: it holds every writer up
_MANY_EDGES = 500  # look-ups that the event loop can spare time for


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
            moves = examine(connection, found, manifest, edges, tags, check, check_manifest, limits)
            children = [
                (ensure_blob(connection, edge.digest, edge.size), edge.kind, not edge.required)
                for edge in edges
            ]
            blob, _ = reveal_blob(connection, manifest.digest, file_size)
            insert_manifest(connection, found, blob, manifest, children)
            for tag, old in moves:
                move_tag(connection, found, tag, blob)
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
            examine(connection, found, manifest, edges, tags, check, check_manifest, limits)

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
            old = tagged(connection, found, tag)
            check(tag, old, digest)
            move_tag(connection, found, tag, row[0])
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
            old = None if found is None else tagged(connection, found, tag)
            if found is None or old is None:
                raise ManifestMissing(tag)
            if moved is not None:
                require_unmoved(connection, found, tag, moved)
            check(tag, old, None)
            leave_tag(connection, found, tag)
            connection.execute("DELETE FROM tags WHERE repository = ? AND name = ?", (found, tag))
            note_move(connection, repository, tag, old, None, who)
            return old

        return await self._database.write(change)
