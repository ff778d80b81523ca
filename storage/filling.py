"""What an index lists, brought into the folder that it is for."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from storage.database import Connection
from storage.digest import Digest
from storage.rows import HELD, MISSING, PRESENT
from storage.transfer import Progress, Transfer, Way

_STEP = 500  # rows at a time
_THREADS = 8  # copies wait for fsync: at once they share it


@dataclass(slots=True)
class Report:
    """`kept` was in the folder before.

    `lost` are digests of which there are no good bytes; `saved` those that the root has lost, and the backup
    still has.
    """

    blobs: int = 0
    bytes: int = 0
    kept: int = 0
    linked: int = 0
    copied: int = 0
    removed: int = 0
    lost: list[str] = field(default_factory=list)
    saved: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Row:
    """A blob that is `present` by the index; `needed`: a repository has it."""

    blob: int
    digest: Digest
    size: int
    present: bool
    needed: bool


@dataclass(frozen=True, slots=True)
class _Taken:
    row: _Row
    kept: bool
    came: bool

    @property
    def here(self) -> bool:
        return self.kept or self.came


def fill(connection: Connection, transfer: Transfer, way: Way, *, verify: bool, begin: Progress) -> Report:
    """Bring what the index lists; afterwards it says of each blob whether the folder has it."""
    report = Report()
    sql = f"SELECT coalesce(sum(size), 0) FROM blobs WHERE state = {PRESENT}"
    begin(connection.execute(sql).fetchone()[0])

    def take(row: _Row) -> _Taken:
        kept = transfer.has(row.digest, row.size, verify=verify or not row.present)
        came = row.present and not kept and way(row.digest, row.size)
        if came and verify:
            came = transfer.has(row.digest, row.size, verify=True)
        return _Taken(row, kept, came)

    changed: list[tuple[int, int]] = []
    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            for taken in (taken for rows in _wanted(connection) for taken in pool.map(take, rows)):
                _note(report, taken)
                if taken.here != taken.row.present:
                    changed.append((PRESENT if taken.here else MISSING, taken.row.blob))
        except BaseException:
            transfer.stop()  # or Ctrl-C would wait for gigabytes
            raise
    connection.executemany("UPDATE blobs SET state = ? WHERE id = ?", changed)
    return report


def _wanted(connection: Connection) -> Iterator[list[_Row]]:
    """What is present, and what ought to be: an earlier backup may have it still."""
    sql = f"SELECT id, digest, size, state, {HELD} FROM blobs WHERE id > ? ORDER BY id LIMIT {_STEP}"
    last = 0
    while found := connection.execute(sql, (last,)).fetchall():
        last = found[-1][0]
        rows = (
            _Row(blob, Digest.from_binary(digest), size, state == PRESENT, bool(needed))
            for blob, digest, size, state, needed in found
        )
        yield [row for row in rows if row.digest.supported and (row.present or row.needed)]


def _note(report: Report, taken: _Taken) -> None:
    report.kept += taken.kept
    report.blobs += taken.here
    report.bytes += taken.row.size * taken.here
    if taken.here and not taken.row.present:
        report.saved.append(str(taken.row.digest))
    elif taken.row.needed and not taken.here:
        report.lost.append(str(taken.row.digest))
