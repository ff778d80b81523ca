"""An index as one file: copied from under its writers, looked at, and changed while nobody has it open."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

from storage.database import MIGRATIONS, Connection, connect, explained
from storage.errors import IndexFailed, StorageError, StoreUnusable
from storage.files import Files

SUFFIXES = ("", "-wal", "-shm", "-journal")
"""Of the files that an index may consist of."""


def snapshot(source: str, target: str, files: Files) -> None:
    """Copy the index as it is at one moment, whoever writes it meanwhile; in place of any `target`.

    Raises IndexFailed for a damaged one: it shall take no sound one's place.
    """
    remove(target, files)
    with explained(source), closing(connect(source, "ro")) as reader, closing(connect(target, "rwc")) as copy:
        _obey(files, copy)
        files.call("snapshot", target, lambda: reader.backup(copy))
        if problem := _problem(copy):
            raise IndexFailed(f"{source} is damaged ({problem}): `registry fsck` says more")


@contextmanager
def alone(path: str, files: Files) -> Iterator[Connection]:
    """One transaction on an index that no other process has open, and no WAL from then on. Raises StoreBusy.

    SQLite leaves the WAL's mode only on a database that no other connection has open: every server has.
    """
    with explained(path), closing(connect(path, "rw", 0)) as connection:
        _obey(files, connection)
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute("BEGIN EXCLUSIVE")
        yield connection
        files.call("commit", path, lambda: connection.execute("COMMIT"))


def flaw(path: str) -> str | None:
    """Why an index is of no use; None if it is sound. Raises StoreUnusable for a newer program's."""
    if not os.path.exists(path):
        return "it is missing"
    if not os.path.getsize(path):
        return "it is empty"
    try:
        with explained(path), closing(connect(path, "ro")) as connection:
            return _problem(connection)
    except IndexFailed as error:
        return str(error)


def install(new: str, path: str, files: Files) -> None:
    """Give a finished index its name, in place of one that `alone` or the caller has left without a WAL.

    Were the WAL's name to come back with a power cut, SQLite would apply it to the new index.
    """
    descriptor = os.open(new, os.O_RDONLY | os.O_CLOEXEC)
    try:
        files.fsync(descriptor, new)
    finally:
        os.close(descriptor)
    files.fsync_folder(os.path.dirname(path))
    files.rename(new, path)
    files.fsync_folder(os.path.dirname(path))


@contextmanager
def drafted(path: str, files: Files) -> Iterator[None]:
    """Remove the index that is being made if that fails."""
    try:
        yield
    except BaseException:
        with suppress(OSError, StorageError):
            remove(path, files)
        raise


def remove(path: str, files: Files) -> None:
    """Without a trace: a WAL that stayed would be applied to the next database of that name."""
    for suffix in SUFFIXES:
        if os.path.lexists(path + suffix):
            files.unlink(path + suffix)


def _problem(connection: Connection) -> str | None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        raise StoreUnusable(
            f"the index has version {version}, this program knows {len(MIGRATIONS)}: use the newer program"
        )
    if not version:
        return "it holds no tables of ours"
    (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    return None if verdict == "ok" else str(verdict)


def _obey(files: Files, connection: Connection) -> None:
    if not files.durable:
        connection.execute("PRAGMA synchronous=OFF")
