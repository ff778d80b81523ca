"""The part of a check that reads every file.

It takes nearly all of the time, so where it was interrupted another check can go on.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import replace

from storage.database import Connection
from storage.digest import Digest
from storage.findings import Finding, Position, Report
from storage.pace import Pace
from storage.rows import HELD, PRESENT
from storage.store import Store
from storage.verification import File, Progress, condemn, is_still_there, verify, verify_all

Keep = Callable[[Position], None]

_KEEP = 5.0  # seconds between two positions that are kept


async def read_files(
    store: Store,
    connection: Connection,
    start: Position,
    keep: Keep,
    pace: Pace,
    progress: Progress,
    *,
    repair: bool,
) -> None:
    """Read what comes after the start, adding to its report."""
    position, kept = start, time.monotonic()
    try:
        async with aclosing(verify_all(store, after=start.after, pace=pace, progress=progress)) as files:
            async for file in files:
                finding = await _judge(store, file, repair=repair)
                # No await from here on: a position says all of a file, or nothing.
                _count(connection, file, finding, start.report)
                position = replace(start, after=file.name)
                if time.monotonic() - kept >= _KEEP:
                    keep(position)
                    kept = time.monotonic()
    finally:
        if position.after:
            keep(position)


async def _judge(store: Store, file: File, *, repair: bool) -> Finding | None:
    if file.digest is None:
        return Finding("stray", file.name, "it is not a blob: remove it by hand")
    if not file.intact:
        # A push may have healed it meanwhile: then there is nothing to say.
        bad = await condemn(store, file.digest, file) if repair else is_still_there(store, file)
        message = "its bytes cannot be read, or have another digest: push it again"
        return Finding("corrupt", str(file.digest), message, repaired=repair) if bad else None
    if file.stat.st_mode & 0o222:
        return Finding("writable", file.name, f"its mode is {file.stat.st_mode & 0o777:o}, not 400")
    return None


def _count(connection: Connection, file: File, finding: Finding | None, report: Report) -> None:
    unneeded = file.digest and file.intact and not _is_needed(connection, file.digest)
    if finding:
        report.findings.append(finding)
    if file.digest:
        report.blobs += 1
        report.bytes += file.stat.st_size
    if unneeded:
        report.unreferenced += 1
        report.unreferenced_bytes += file.stat.st_size


async def repair_again(store: Store, findings: Sequence[Finding], pace: Pace) -> list[Finding]:
    """What an interrupted check has found corrupt and not repaired."""
    left: list[Finding] = []
    for finding in findings:
        if finding.kind != "corrupt" or finding.repaired:
            left.append(finding)
            continue
        digest = Digest.parse_any(finding.subject)
        name = store.layout.blob(digest).removeprefix(store.layout.root + "/")
        file = await verify(store, name, digest, pace)
        if file and not file.intact and (found := await _judge(store, file, repair=True)):
            left.append(found)
    return left


def _is_needed(connection: Connection, digest: Digest) -> bool:
    row = connection.execute(
        f"SELECT {HELD} FROM blobs WHERE digest = ? AND state = ?",
        (digest.binary, PRESENT),
    ).fetchone()
    return bool(row and row[0])
