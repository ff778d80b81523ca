"""The part of the index that says how long ago an upstream was asked for a tag."""

from storage.database import Connection, Database
from storage.rows import find_repository


class Freshness:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def age(self, repository: str, tag: str) -> int | None:
        """Seconds since the last `note`; None if there was none. The store's time makes no jumps."""
        rows = await self._database.read(
            lambda connection: connection.execute(
                "SELECT store_time() - checked FROM tags"
                " JOIN repositories ON repositories.id = tags.repository"
                " WHERE repositories.name = ? AND tags.name = ?",
                (repository, tag),
            ).fetchall()
        )
        return rows[0][0] if rows else None

    async def note(self, repository: str, tag: str) -> None:
        """The upstream has just said that the tag is what the index has."""

        def change(connection: Connection) -> None:
            connection.execute(
                "UPDATE tags SET checked = store_time() WHERE repository = ? AND name = ?",
                (find_repository(connection, repository), tag),
            )

        await self._database.write(change, durable=False)
