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
        async with aclosing(
            verify_all(store, after=start.after, pace=pace, progress=progress, from_disk=True)
        ) as files:
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
    if file.stat is None:
        return Finding(
            "unreadable", file.name, "the disk does not give it, or a link stands in its place: look at it"
        )
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
        report.bytes += file.size
    if unneeded:
        report.unreferenced += 1
        report.unreferenced_bytes += file.size


async def look_again(store: Store, findings: Sequence[Finding], pace: Pace, *, repair: bool) -> list[Finding]:
    """What an interrupted check has found in files, as it is now: that may be long ago."""
    left: list[Finding | None] = []
    for finding in findings:
        if finding.repaired or finding.kind == "unreadable":
            left.append(finding)  # a shard's files have not been read, even if it can be listed again
            continue
        name, digest = _named(store, finding)
        if file := await verify(store, name, digest, pace, from_disk=True):
            left.append(await _judge(store, file, repair=repair))
    return [finding for finding in left if finding]


def _named(store: Store, finding: Finding) -> tuple[str, Digest | None]:
    """The file that a finding is about, and the blob whose it is."""
    if finding.kind == "stray":
        return finding.subject, None
    if finding.kind == "writable":
        _, algorithm, _, encoded = finding.subject.split("/")
        return finding.subject, Digest(algorithm, encoded)
    digest = Digest.parse_any(finding.subject)
    return store.layout.blob(digest).removeprefix(f"{store.layout.root}/"), digest


def _is_needed(connection: Connection, digest: Digest) -> bool:
    row = connection.execute(
        f"SELECT {HELD} FROM blobs WHERE digest = ? AND state = ?",
        (digest.binary, PRESENT),
    ).fetchone()
    return bool(row and row[0])
