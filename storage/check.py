"""fsck: every promise of the store, checked against every byte and every row.

Sound means: each file under blobs/ hashes to its name and can't be written; each row that says `present`
has its file; whatever a repository lists, and whatever its manifests name and need, is there with the right
size; the index agrees with the manifests' bytes; no fsync has failed since the last check.
It runs beside a server: files are immutable, and a suspicion about a row is looked at twice.
"""

import asyncio
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from storage.database import Connection
from storage.digest import Digest
from storage.errors import UNREADABLE, BlobMissing, DigestMismatch
from storage.manifests import COLUMNS, Edge, ManifestRow, manifest_row
from storage.rows import MISSING, PRESENT
from storage.store import Store

Read = Callable[[bytes, ManifestRow], tuple[ManifestRow, Sequence[Edge]]]
"""Reads a manifest's bytes into what the index should hold of them; raises ValueError if they are none."""

Progress = Callable[[int], None]
"""Told the bytes read since it was last called."""

_TRIES, _PAUSE = 20, 0.1  # of a checkpoint, seconds between two
_STEP = 1000  # rows of a key range


@dataclass(frozen=True, slots=True)
class Finding:
    """`kind` is one of corrupt, lost, stray, writable, dangling, disagrees, index, degraded."""

    kind: str
    subject: str
    message: str
    repaired: bool = False


@dataclass(slots=True)
class Report:
    """`unreferenced` counts files that no row needs: what deletes and crashes leave; they do no harm."""

    blobs: int = 0
    bytes: int = 0
    unreferenced: int = 0
    unreferenced_bytes: int = 0
    repositories: int = 0
    manifests: int = 0
    tags: int = 0
    uploads: int = 0
    quarantined: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return not self.findings


async def check(
    store: Store, *, read: Read, repair: bool = False, progress: Progress = lambda _: None
) -> Report:
    """Check everything; with `repair`, take bad bytes out of the way, so that the next push heals them.

    A repaired finding still counts: what it cost has to be pushed again. Checking once more tells.
    """
    report = Report()
    degraded = _latch(store)
    connection = store.database.scan()
    try:
        _check_index(connection, report)
        await _check_files(store, connection, report, repair=repair, progress=progress)
        await _check_rows(store, connection, report, repair=repair)
        await _check_manifests(store, connection, report, read)
        _check_names(connection, report)
        report.uploads = len(os.listdir(store.layout.uploads))
        report.quarantined = len(os.listdir(store.layout.quarantine))
        if degraded:
            await _check_latch(store, report, degraded, repair=repair)
    finally:
        connection.close()
    return report


async def _check_latch(store: Store, report: Report, degraded: "Latch", *, repair: bool) -> None:
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


@dataclass(frozen=True, slots=True)
class Latch:
    why: str
    changed: int  # nanoseconds


def _latch(store: Store) -> Latch | None:
    try:
        with open(store.layout.degraded, encoding="utf-8") as file:
            return Latch(file.read().strip() or "an fsync failed", os.fstat(file.fileno()).st_mtime_ns)
    except FileNotFoundError:
        return None


def _check_index(connection: Connection, report: Report) -> None:
    for (message,) in connection.execute("PRAGMA integrity_check").fetchall():
        if message != "ok":
            report.findings.append(Finding("index", "index.db", message))
    for table, row, parent, _ in connection.execute("PRAGMA foreign_key_check").fetchall():
        report.findings.append(Finding("index", "index.db", f"row {row} of {table} has no {parent}"))
    for name in ("repositories", "manifests", "tags"):
        setattr(report, name, connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0])


async def _check_files(
    store: Store, connection: Connection, report: Report, *, repair: bool, progress: Progress
) -> None:
    for digest, entry in store.blobs.walk():
        try:
            found = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue  # taken away since it was listed
        name = entry.path.removeprefix(store.layout.root + "/")
        if digest is None or not stat.S_ISREG(found.st_mode):
            report.findings.append(Finding("stray", name, "it is not a blob: remove it by hand"))
            continue
        try:
            intact = await store.threads.run(store.blobs.verify, digest)
        except BlobMissing:
            continue
        except OSError as error:
            if error.errno not in UNREADABLE:
                raise
            intact = False  # bytes that cannot be read are no bytes
        progress(found.st_size)
        report.blobs += 1
        report.bytes += found.st_size
        if not intact:
            if repair:
                await store.names.links.lose(digest, partial(_quarantine, store, digest, entry.path, found))
            message = "its bytes cannot be read, or have another digest: push it again"
            report.findings.append(Finding("corrupt", str(digest), message, repaired=repair))
            continue
        if found.st_mode & 0o222:
            report.findings.append(
                Finding("writable", name, f"its mode is {found.st_mode & 0o777:o}, not 400")
            )
        if not _is_needed(connection, digest):
            report.unreferenced += 1
            report.unreferenced_bytes += found.st_size


def _quarantine(store: Store, digest: Digest, path: str, bad: os.stat_result) -> bool:
    """Under the write lock: unless a push has put another file there since."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return True
    if (found.st_ino, found.st_mtime_ns) != (bad.st_ino, bad.st_mtime_ns):
        return False
    store.blobs.quarantine(digest)
    return True


def _is_needed(connection: Connection, digest: Digest) -> bool:
    row = connection.execute(
        "SELECT EXISTS (SELECT 1 FROM links WHERE blob = blobs.id)"
        " OR EXISTS (SELECT 1 FROM manifests WHERE blob = blobs.id)"
        " FROM blobs WHERE digest = ? AND state = ?",
        (digest.binary, PRESENT),
    ).fetchone()
    return bool(row and row[0])


async def _check_rows(store: Store, connection: Connection, report: Report, *, repair: bool) -> None:
    sql = f"SELECT id, digest, size FROM blobs WHERE state = {PRESENT} AND id > ?"
    for blob, binary, size in _ranges(connection, sql):
        digest = Digest.from_binary(binary)
        if not _differs(store, digest, size):
            continue
        again = connection.execute("SELECT state FROM blobs WHERE id = ?", (blob,)).fetchone()
        if again != (PRESENT,) or not _differs(store, digest, size):
            continue
        message = f"the index says {size} bytes, the file has {store.blobs.size(digest) or 'none'}"
        if repair:
            await store.names.links.lose(digest, partial(_differs, store, digest, size))
        report.findings.append(Finding("lost", str(digest), message, repaired=repair))


def _differs(store: Store, digest: Digest, size: int) -> bool:
    return store.blobs.size(digest) != size


async def _check_manifests(store: Store, connection: Connection, report: Report, read: Read) -> None:
    sql = (
        f"SELECT manifests.rowid, repository, manifests.blob, {COLUMNS} FROM manifests"
        f" JOIN blobs ON blobs.id = manifests.blob AND state = {PRESENT} WHERE manifests.rowid > ?"
    )
    for _, repository, blob, *rest in _ranges(connection, sql):
        row = manifest_row(rest)
        try:
            raw = await store.blobs.read(row.digest)
            expected, edges = read(raw, row)
        except (BlobMissing, DigestMismatch):
            continue  # a finding of its own
        except OSError as error:
            if error.errno not in UNREADABLE:
                raise
            continue  # that too
        except ValueError as error:
            report.findings.append(Finding("disagrees", str(row.digest), f"it is no manifest: {error}"))
            continue
        held = connection.execute(
            "SELECT digest, kind FROM edges JOIN blobs ON blobs.id = child"
            " WHERE repository = ? AND parent = ?",
            (repository, blob),
        ).fetchall()
        agree = expected == row and {(edge.digest.binary, edge.kind) for edge in edges} == set(held)
        if not agree and _still_there(connection, repository, blob):
            message = "the index holds something else than its bytes say"
            report.findings.append(Finding("disagrees", str(row.digest), message))


def _still_there(connection: Connection, repository: int, blob: int) -> bool:
    sql = "SELECT 1 FROM manifests WHERE repository = ? AND blob = ?"
    return connection.execute(sql, (repository, blob)).fetchone() is not None


def _check_names(connection: Connection, report: Report) -> None:
    """What a repository lists must be there, and what its manifests name and need must be listed."""
    for table in ("links", "manifests"):
        rows = connection.execute(
            f"SELECT name, blobs.digest FROM {table} JOIN blobs ON blobs.id = {table}.blob"
            f" JOIN repositories ON repositories.id = {table}.repository WHERE state = ?",
            (MISSING,),
        )
        for name, digest in rows:
            message = f"repository {name} lists it, and it is not here: push it again"
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


def _ranges(connection: Connection, sql: str) -> Iterator[tuple[Any, ...]]:
    """Rows in ranges of their first column, so that no read transaction stays open for long."""
    last = 0
    while rows := connection.execute(f"{sql} ORDER BY 1 LIMIT {_STEP}", (last,)).fetchall():
        yield from rows
        last = rows[-1][0]
