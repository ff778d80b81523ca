"""How much repositories hold, how much they may, and the look that every addition takes in its transaction.

The index keeps the sums by itself (counts.sql), so that a look costs one short query for each limit: it adds
up repositories, never what is in them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from storage.database import Connection, Database
from storage.digest import Digest
from storage.errors import QuotaExceeded, TooManyUploads
from storage.rows import FETCHED, is_fetched, listed_size


@dataclass(frozen=True, slots=True)
class Amount:
    """`bytes` of blobs that a repository lists and of its manifests; `uploads` are open sessions."""

    bytes: int = 0
    tags: int = 0
    uploads: int = 0


@dataclass(frozen=True, slots=True)
class Limit:
    """What repositories of these `patterns` may hold together; what is None has no limit.

    In a pattern `*` stands for anything, slashes too; without patterns it is every repository. `name` is how
    messages call it.
    """

    name: str
    patterns: tuple[str, ...] = ()
    bytes: int | None = None
    tags: int | None = None
    uploads: int | None = None


Limits = Sequence[Limit]


@dataclass(frozen=True, slots=True)
class Room:
    """The limit of bytes that leaves least, and how much that is; below zero if more is held already.

    `listed` bytes fit all the same: the size of what is about to be pushed again, which adds nothing.
    """

    limit: Limit
    left: int
    listed: int = 0

    def require(self, wanted: int) -> None:
        """Raises QuotaExceeded if so many bytes do not fit."""
        if wanted > max(self.left, self.listed):
            most = self.limit.bytes or 0
            raise QuotaExceeded(self.limit.name, "bytes", most=most, held=most - self.left, wanted=wanted)


class Quotas:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def room(self, limits: Limits, repository: str, digest: Digest | None = None) -> Room | None:
        """How many bytes fit at the moment; of a `digest` that the repository lists, its size fits always.

        None for any number: without a limit.
        """
        if all(limit.bytes is None for limit in limits):
            return None

        def query(connection: Connection) -> Room | None:
            room = _room(connection, limits)
            if room and digest and (size := listed_size(connection, repository, digest)):
                return replace(room, listed=size)
            return room

        return await self._database.read(query)

    async def require(self, limits: Limits, added: Amount) -> None:
        """Raise what the addition itself would: a refusal that comes before leaves nothing behind."""
        await self._database.read(lambda connection: require(connection, limits, lambda: added))


def require(connection: Connection, limits: Limits, added: Callable[[], Amount]) -> None:
    """Raises QuotaExceeded, TooManyUploads. What adds nothing fits always, however much is held.

    `added` is asked only if there is a limit.
    """
    if not limits:
        return
    wanted = added()
    if wanted.bytes and (room := _room(connection, limits)):
        room.require(wanted.bytes)
    for limit in limits:
        if wanted.tags and limit.tags is not None:
            tags = _sum(connection, "held_tags", limit)
            if tags + wanted.tags > limit.tags:
                raise QuotaExceeded(limit.name, "tags", most=limit.tags, held=tags, wanted=wanted.tags)
        if wanted.uploads and limit.uploads is not None:
            uploads = _sessions(connection, limit)
            if uploads + wanted.uploads > limit.uploads:
                raise TooManyUploads(limit.name, "open uploads", most=limit.uploads, held=uploads, wanted=1)


def held(connection: Connection, limit: Limit) -> Amount:
    """What counts against a limit."""
    return Amount(
        _sum(connection, "held_bytes", limit),
        _sum(connection, "held_tags", limit),
        _sessions(connection, limit),
    )


def _room(connection: Connection, limits: Limits) -> Room | None:
    rooms = [
        Room(limit, limit.bytes - _sum(connection, "held_bytes", limit))
        for limit in limits
        if limit.bytes is not None
    ]
    return min(rooms, key=lambda room: room.left, default=None)


def _sum(connection: Connection, column: str, limit: Limit) -> int:
    sql = f"SELECT coalesce(sum({column}), 0) FROM repositories WHERE {_matching('name', limit)}"
    return int(connection.execute(sql, limit.patterns).fetchone()[0])


def _sessions(connection: Connection, limit: Limit) -> int:
    sql = f"SELECT count(*) FROM uploads WHERE {_matching('repository', limit)}"
    return int(connection.execute(sql, limit.patterns).fetchone()[0])


def _matching(column: str, limit: Limit) -> str:
    # SQLite turns what is before the first star into a range of the index.
    found = " OR ".join([f"{column} GLOB ?"] * len(limit.patterns)) or "TRUE"
    # What was fetched has bounds of its own, and shall refuse no push.
    return found if any(map(is_fetched, limit.patterns)) else f"({found}) AND NOT {column} GLOB '{FETCHED}*'"


# -- the sums themselves ---------------------------------------------------------------------------------

_BYTES = (
    "(SELECT coalesce(sum(size), 0) FROM links JOIN blobs ON blobs.id = blob"
    " WHERE repository = repositories.id)"
    " + (SELECT coalesce(sum(size), 0) FROM manifests WHERE repository = repositories.id)"
)
_TAGS = "(SELECT count(*) FROM tags WHERE repository = repositories.id)"


@dataclass(frozen=True, slots=True)
class Miscount:
    repository: str
    counted: Amount
    actual: Amount


def miscounts(connection: Connection) -> list[Miscount]:
    """Repositories whose sums are wrong, which nothing but a damaged index, or a mistake of ours, can do."""
    rows = connection.execute(
        f"SELECT name, held_bytes, held_tags, {_BYTES} AS bytes, {_TAGS} AS tags FROM repositories"
        " WHERE held_bytes <> bytes OR held_tags <> tags ORDER BY name"
    ).fetchall()
    return [Miscount(name, Amount(*row[:2]), Amount(*row[2:])) for name, *row in rows]


async def recount(database: Database, repository: str) -> None:
    """Count what a repository holds anew."""

    def change(connection: Connection) -> None:
        connection.execute(
            f"UPDATE repositories SET held_bytes = {_BYTES}, held_tags = {_TAGS} WHERE name = ?",
            (repository,),
        )

    await database.write(change)
