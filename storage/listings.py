"""The part of the index that lists: repositories, tags, referrers.

Each listing is one range of one index in bytewise order: a page costs the same wherever it stands.
"""

from contextlib import closing

from storage.database import Connection, Database
from storage.digest import Digest
from storage.errors import RepositoryMissing
from storage.history import Move, find_moves
from storage.manifest_rows import COLUMNS, ManifestRow, manifest_row
from storage.rows import FETCHED, PRESENT, find_repository

_BEYOND = chr(ord(FETCHED) + 1)
_ENTRY = 700  # bytes of a referrer's entry without its annotations: two types of 255 characters, a digest


class Listings:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def repositories(self, *, after: str, limit: int) -> list[str]:
        """Those that were pushed to: two ranges, before and behind all those of upstreams."""
        rows = await self._database.read(
            lambda connection: connection.execute(
                "SELECT name FROM repositories WHERE name > :after AND name < :fetched"
                " UNION ALL"
                " SELECT name FROM repositories WHERE name >= max(:after, :beyond) AND name <> :after"
                " ORDER BY name LIMIT :limit",
                {"after": after, "limit": limit, "fetched": FETCHED, "beyond": _BEYOND},
            ).fetchall()
        )
        return [name for (name,) in rows]

    async def tags(self, repository: str, *, after: str, limit: int) -> list[str]:
        """Raises RepositoryMissing."""

        def query(connection: Connection) -> list[tuple[str]]:
            found = find_repository(connection, repository)
            if found is None:
                raise RepositoryMissing(repository)
            return connection.execute(
                "SELECT name FROM tags WHERE repository = ? AND name > ? ORDER BY name LIMIT ?",
                (found, after, limit),
            ).fetchall()

        return [name for (name,) in await self._database.read(query)]

    async def moves(self, repository: str, tag: str | None = None, *, limit: int) -> list[Move]:
        """The last moves of a tag, or of all tags that the repository ever had, the latest first."""
        return await self._database.read(
            lambda connection: find_moves(connection, repository, tag, limit), long=True
        )

    async def referrers(
        self,
        repository: str,
        subject: Digest,
        *,
        artifact_type: str | None,
        after: tuple[str, bytes],
        limit: int,
        budget: int,
    ) -> tuple[list[ManifestRow], bool]:
        """Manifests with that subject, by artifact type, then digest; and whether more follow `after`.

        At most `limit`, and about `budget` bytes as JSON: the annotations of one may be megabytes.
        """
        if artifact_type is not None and after[0] != artifact_type:
            if after[0] > artifact_type:
                return [], False
            after = (artifact_type, b"")
        # Within one type the digest alone bounds the range: by the pair, SQLite would sort all that follows.
        beyond = (
            "(artifact_type, manifests.digest) > (:last_type, :last_digest)"
            if artifact_type is None
            else "artifact_type = :last_type AND manifests.digest > :last_digest"
        )
        where = (
            "manifests.repository = (SELECT id FROM repositories WHERE name = :repository)"
            f" AND subject = :subject AND {beyond}"
        )
        values = {
            "repository": repository,
            "subject": subject.binary,
            "last_type": after[0],
            "last_digest": after[1],
            "present": PRESENT,
        }
        source = (
            "FROM manifests JOIN blobs ON blobs.id = manifests.blob AND blobs.state = :present"
            f" WHERE {where} ORDER BY artifact_type, manifests.digest LIMIT :limit"
        )

        def query(connection: Connection) -> tuple[list[ManifestRow], bool]:
            found: list[ManifestRow] = []
            used = 0
            rows = connection.execute(f"SELECT {COLUMNS} {source}", values | {"limit": limit + 1})
            with closing(rows):  # an open cursor would hold its snapshot, and so the WAL
                for row in map(manifest_row, rows):
                    used += _ENTRY + len(row.annotations.encode())
                    if len(found) == limit or (found and used > budget):
                        return found, True
                    found.append(row)
            return found, False

        return await self._database.read(query)
