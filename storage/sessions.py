"""The part of the index that says whose an upload session is. Its file is the session's truth."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

from storage.database import Connection, Database
from storage.digest import Digest
from storage.errors import UploadMissing
from storage.quotas import Amount, Limits, require
from storage.uploads import Idleness


@dataclass(frozen=True, slots=True)
class SessionRow:
    """`hashed` is the digest of the first `hashed_size` bytes."""

    algorithm: str
    hashed: Digest | None
    hashed_size: int


class Sessions:
    """`boot` names this boot of the machine: bytes hashed before a crash may not be those on the disk."""

    def __init__(self, database: Database, boot: str) -> None:
        self._database, self._boot = database, boot

    async def begin(
        self, upload: str, repository: str, owner: str, algorithm: str, *, limits: Limits = ()
    ) -> None:
        """Raises TooManyUploads."""

        def change(connection: Connection) -> None:
            require(connection, limits, lambda: Amount(uploads=1))
            connection.execute(
                "INSERT INTO uploads (id, repository, owner, algorithm, started) VALUES (?, ?, ?, ?, ?)",
                (upload, repository, owner, algorithm, int(time.time())),
            )

        await self._database.write(change, durable=False)

    async def find(self, upload: str, repository: str, owner: str) -> SessionRow:
        """Raises UploadMissing, also for a session of another repository or owner."""
        rows = await self._database.read(
            lambda connection: connection.execute(
                "SELECT algorithm, hashed, hashed_size, boot FROM uploads"
                " WHERE id = ? AND repository = ? AND owner = ?",
                (upload, repository, owner),
            ).fetchall()
        )
        if not rows:
            raise UploadMissing(upload)
        algorithm, hashed, hashed_size, boot = rows[0]
        trusted = hashed is not None and boot == self._boot != ""
        return SessionRow(
            algorithm, Digest.from_binary(hashed) if trusted else None, hashed_size if trusted else 0
        )

    async def note(self, upload: str, hashed: Digest, size: int) -> None:
        """Remember the digest of the session's first `size` bytes."""

        def change(connection: Connection) -> None:
            connection.execute(
                "UPDATE uploads SET hashed = ?, hashed_size = ?, boot = ? WHERE id = ?",
                (hashed.binary, size, self._boot, upload),
            )

        await self._database.write(change, durable=False)

    async def end(self, uploads: Iterable[str]) -> None:
        gone = [(upload,) for upload in uploads]

        def change(connection: Connection) -> None:
            connection.executemany("DELETE FROM uploads WHERE id = ?", gone)

        await self._database.write(change, durable=False)

    async def ids(self) -> list[str]:
        """Sessions that have a row."""
        rows = await self._database.read(
            lambda connection: connection.execute("SELECT id FROM uploads").fetchall(), long=True
        )
        return [upload for (upload,) in rows]

    async def idleness(self) -> Idleness:
        """What `note_idleness` was told last."""
        rows = await self._database.read(
            lambda connection: connection.execute(
                "SELECT id, state, idle FROM uploads WHERE state IS NOT NULL"
            ).fetchall()
        )
        return {upload: (state, idle) for upload, state, idle in rows}

    async def note_idleness(self, idleness: Idleness) -> None:
        """Remember how long sessions have been watched idle; of what several watch, the longest."""
        values = [(state, idle, upload) for upload, (state, idle) in idleness.items()]

        def change(connection: Connection) -> None:
            connection.executemany(
                "UPDATE uploads SET state = ?1, idle = ?2 WHERE id = ?3 AND (state IS NOT ?1 OR idle < ?2)",
                values,
            )

        if values:
            await self._database.write(change, durable=False)
