"""fsck: every promise of the store, checked against every byte and every row.

Sound means: each file under blobs/ hashes to its name and can't be written; each row that says `present`
has its file; whatever a repository lists, and whatever its manifests name and need, is there with the right
size; the index agrees with the manifests' bytes; no fsync has failed since the last check.
It runs beside a server: files are immutable, and every suspicion is looked at twice.
Reading the files takes nearly all of the time; where that was interrupted, another check can go on.
"""

import asyncio
import os
import time
from contextlib import aclosing
from dataclasses import replace
from functools import partial

from storage.database import Connection
from storage.digest import Digest
from storage.disagreements import Read, disagreements
from storage.errors import UNREADABLE
from storage.findings import Finding, Latch, Position, Report
from storage.pace import Pace
from storage.quotas import miscounts, recount
from storage.reading import Keep, look_again, read_files
from storage.rows import FETCHED, HELD, MISSING, PRESENT, in_ranges
from storage.store import Store
from storage.verification import Progress

_TRIES, _PAUSE = 20, 0.1  # of a checkpoint, seconds between two


async def check(
    store: Store,
    *,
    read: Read,
    repair: bool = False,
    pace: Pace | None = None,
    progress: Progress = lambda _: None,
    start: Position | None = None,
    keep: Keep = lambda _: None,
) -> Report:
    """Check everything; with `repair`, take bad bytes out of the way, so that the next push heals them.

    A repaired finding still counts: what it cost has to be pushed again. Checking once more tells.
    `keep` is called now and then, and at every end, with a position at which another check may `start`.
    Raises IndexFailed where the index cannot be read at all.
    """
    degraded = _latch(store)
    start = start or Position(degraded=degraded, begun=int(time.time()))
    pace = pace or Pace()
    with store.database.scanning() as connection:
        about_index = _check_index(connection)
        old = await look_again(store, start.report.findings, pace, repair=repair)
        report = replace(start.report, findings=old)
        await read_files(
            store, connection, replace(start, report=report), keep, pace, progress, repair=repair
        )
        report.findings[:0] = about_index
        _count_rows(connection, report)
        await _check_rows(store, connection, report, repair=repair)
        await _check_manifests(store, connection, report, read)
        _check_names(connection, report)
        await _check_counts(store, connection, report, repair=repair)
        report.uploads = len(os.listdir(store.layout.uploads))
        report.fetches = len([name for name in os.listdir(store.layout.fetches) if "." not in name])
        report.quarantined = len(os.listdir(store.layout.quarantine))
        if degraded:
            await _check_latch(store, report, degraded, start.degraded, repair=repair)
    return report


def expected_bytes(store: Store) -> int:
    """What a check will read, by the index."""
    with store.database.scanning() as connection:
        sql = f"SELECT coalesce(sum(size), 0) FROM blobs WHERE state = {PRESENT}"
        return int(connection.execute(sql).fetchone()[0])


async def _check_latch(
    store: Store, report: Report, degraded: Latch, at_start: Latch | None, *, repair: bool
) -> None:
    if degraded != at_start:
        # What was read before it failed may be gone now.
        message = f"{degraded.why}, after this check had begun: check everything again"
        report.findings.append(Finding("degraded", store.layout.root, message))
        return
    # Nothing may lean on pages of the WAL that may be gone; and an fsync that failed since, in this very
    # checkpoint or behind its back, keeps the store degraded.
    trusted = repair and await _copy_wal(store) and _latch(store) == degraded
    if trusted:
        store.files.unlatch()
    report.findings.append(Finding("degraded", store.layout.root, degraded.why, repaired=trusted))


async def _copy_wal(store: Store) -> bool:
    """A server beside this reads all the time, but never for long."""
    for _ in range(_TRIES):
        if await store.database.checkpoint():
            return True
        await asyncio.sleep(_PAUSE)
    return False


def _latch(store: Store) -> Latch | None:
    try:
        with open(store.layout.degraded, encoding="utf-8") as file:
            return Latch(file.read().strip() or "an fsync failed", os.fstat(file.fileno()).st_mtime_ns)
    except FileNotFoundError:
        return None


def _check_index(connection: Connection) -> list[Finding]:
    damage = [
        Finding("index", "index.db", message)
        for (message,) in connection.execute("PRAGMA integrity_check").fetchall()
        if message != "ok"
    ]
    orphans = [
        Finding("index", "index.db", f"row {row} of {table} has no {parent}")
        for table, row, parent, _ in connection.execute("PRAGMA foreign_key_check").fetchall()
    ]
    return damage + orphans


def _count_rows(connection: Connection, report: Report) -> None:
    for name in ("repositories", "manifests", "tags"):
        setattr(report, name, connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0])


_IN_USE = (
    f"SELECT 1 FROM blobs WHERE id = ? AND state = {PRESENT}"
    f" AND ({HELD} OR EXISTS (SELECT 1 FROM edges WHERE child = blobs.id))"
)


async def _check_rows(store: Store, connection: Connection, report: Report, *, repair: bool) -> None:
    sql = f"SELECT id, digest, size FROM blobs WHERE state = {PRESENT} AND id > ?"
    for blob, binary, size in in_ranges(connection, sql):
        digest = Digest.from_binary(binary)
        if not _differs(store, digest, size):
            continue
        if not connection.execute(_IN_USE, (blob,)).fetchone() or not _differs(store, digest, size):
            continue  # what nobody needs any more may lack its file
        message = f"the index says {size} bytes, the file has {store.blobs.size(digest) or 'none'}"
        if repair and not await store.names.links.lose(digest, partial(_differs, store, digest, size)):
            continue
        report.findings.append(Finding("lost", str(digest), message, repaired=repair))


def _differs(store: Store, digest: Digest, size: int) -> bool:
    try:
        return store.blobs.size(digest) != size
    except OSError as error:
        if error.errno not in UNREADABLE:
            raise
        return False  # a finding of its own


async def _check_manifests(store: Store, connection: Connection, report: Report, read: Read) -> None:
    async with aclosing(disagreements(store, connection, read)) as found:
        async for each in found:
            report.findings.append(Finding("disagrees", str(each.digest), each.why))


def _check_names(connection: Connection, report: Report) -> None:
    """What a repository lists must be there, and what its manifests name and need must be listed."""
    for table in ("links", "manifests"):
        rows = connection.execute(
            f"SELECT name, blobs.digest FROM {table} JOIN blobs ON blobs.id = {table}.blob"
            f" JOIN repositories ON repositories.id = {table}.repository WHERE state = ?",
            (MISSING,),
        )
        for name, digest in rows:
            remedy = "the next pull fetches it again" if name.startswith(FETCHED) else "push it again"
            message = f"repository {name} lists it, and it is not here: {remedy}"
            report.findings.append(Finding("dangling", str(Digest.from_binary(digest)), message))
    rows = connection.execute(
        "SELECT name, child.digest, parent.digest FROM edges"
        " JOIN blobs AS child ON child.id = edges.child JOIN blobs AS parent ON parent.id = edges.parent"
        " JOIN repositories ON repositories.id = edges.repository"
        " WHERE NOT optional"
        " AND NOT EXISTS (SELECT 1 FROM links WHERE repository = edges.repository AND blob = edges.child)"
        " AND NOT EXISTS"
        " (SELECT 1 FROM manifests WHERE repository = edges.repository AND blob = edges.child)"
    )
    for name, child, parent in rows:
        message = f"manifest {Digest.from_binary(parent)} of repository {name} needs it: push it again"
        report.findings.append(Finding("dangling", str(Digest.from_binary(child)), message))


async def _check_counts(store: Store, connection: Connection, report: Report, *, repair: bool) -> None:
    for each in miscounts(connection):
        message = (
            f"its quotas count {each.counted.bytes} bytes and {each.counted.tags} tags, "
            f"it holds {each.actual.bytes} and {each.actual.tags}"
        )
        if repair:
            await recount(store.database, each.repository)
        report.findings.append(Finding("miscounted", each.repository, message, repaired=repair))
