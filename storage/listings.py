"""The part of the index that lists: repositories, tags, referrers.

Each listing is one range of one index in bytewise order: a page costs the same wherever it stands.
"""

from dataclasses import dataclass

from storage.database import Connection, Database
from storage.digest import Digest
from storage.errors import RepositoryMissing
from storage.manifests import COLUMNS, ManifestRow, manifest_row
from storage.rows import PRESENT, find_repository


@dataclass(frozen=True, slots=True)
class TagRow:
    name: str
    manifest: ManifestRow
    moved: int


class Listings:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def repositories(self, *, after: str, limit: int) -> list[str]:
        rows = await self._database.read(
            lambda connection: connection.execute(
                "SELECT name FROM repositories WHERE name > ? ORDER BY name LIMIT ?", (after, limit)
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

    async def tag_rows(self, repository: str, *, after: str, limit: int) -> list[TagRow]:
        """Tags with the manifests that they name. Raises RepositoryMissing."""

        def query(connection: Connection) -> list[tuple[object, ...]]:
            found = find_repository(connection, repository)
            if found is None:
                raise RepositoryMissing(repository)
            return connection.execute(
                f"SELECT tags.name, moved, {COLUMNS} FROM tags"
                " JOIN manifests ON manifests.repository = tags.repository AND manifests.blob = tags.manifest"
                " WHERE tags.repository = ? AND tags.name > ? ORDER BY tags.name LIMIT ?",
                (found, after, limit),
            ).fetchall()

        rows = await self._database.read(query)
        return [TagRow(str(name), manifest_row(rest), int(str(moved))) for name, moved, *rest in rows]

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

        At most `limit`, and about `budget` bytes of annotations: one entry may hold megabytes.
        """
        wanted = "" if artifact_type is None else "AND artifact_type = :type"
        where = (
            "manifests.repository = (SELECT id FROM repositories WHERE name = :repository)"
            f" AND subject = :subject {wanted}"
            " AND (artifact_type, manifests.digest) > (:last_type, :last_digest)"
        )
        values = {
            "repository": repository,
            "subject": subject.binary,
            "type": artifact_type,
            "last_type": after[0],
            "last_digest": after[1],
            "present": PRESENT,
        }
        source = (
            "FROM manifests JOIN blobs ON blobs.id = manifests.blob AND blobs.state = :present"
            f" WHERE {where} ORDER BY artifact_type, manifests.digest LIMIT :limit"
        )

        def query(connection: Connection) -> tuple[list[tuple[object, ...]], bool]:
            lengths = connection.execute(
                f"SELECT length(CAST(annotations AS BLOB)) {source}", values | {"limit": limit + 1}
            ).fetchall()
            fitting, used = 0, 0
            for (length,) in lengths[:limit]:
                used += length
                if fitting and used > budget:
                    break
                fitting += 1
            rows = connection.execute(f"SELECT {COLUMNS} {source}", values | {"limit": fitting}).fetchall()
            return rows, len(lengths) > fitting

        rows, more = await self._database.read(query)
        return [manifest_row(row) for row in rows], more
