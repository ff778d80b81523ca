"""Files that no row of the index speaks for any more, taken away; and what has to be sound before."""

from collections.abc import Sequence

from storage import sweeping
from storage.batches import pieces
from storage.blobs import BlobStore
from storage.database import Connection, Database
from storage.errors import IndexFailed
from storage.marking import column
from storage.sweeping import Gone
from storage.threads import in_thread

_FILES = 128  # in one transaction, and open at once
_LARGE = 2**20  # bytes of a file
_CHECK = "PRAGMA integrity_check(1)"  # quick_check compares no index with its table


def require_sound_index(connection: Connection) -> None:
    """Raises IndexFailed: a damaged index may have lost what names something."""
    (found,) = column(connection, _CHECK)
    if found != "ok":
        raise IndexFailed(f"the index is damaged ({found}): nothing is collected; run `registry fsck`")


async def unlink(database: Database, blobs: BlobStore, files: Sequence[Gone]) -> list[Gone]:
    """Take the files of digests that no row speaks for; return those that went."""
    gone: list[Gone] = []
    for some in pieces(files, _FILES):
        gone += await _unlink_some(database, blobs, some)
    return gone


async def _unlink_some(database: Database, blobs: BlobStore, files: Sequence[Gone]) -> list[Gone]:
    def change(connection: Connection) -> list[Gone]:
        unclaimed = [file for file in files if not sweeping.is_spoken_for(connection, file.digest)]
        for file in unclaimed:
            blobs.unlink(file.digest)
        return unclaimed

    # Open meanwhile: to give a large file's room back takes longer than the lock may be held.
    large = [file.digest for file in files if file.size >= _LARGE]
    opened: list[int] = []
    try:
        if large:
            await in_thread(blobs.hold, large, opened)
        return await database.write(change, durable=False)
    finally:
        if opened:
            await in_thread(blobs.let_go, opened)
