"""A root copied into another folder, beside its server, and back.

Blobs come first, the index last, by one rename: a copy that is ended anywhere leaves the folder's former
state, or the new one, and the next one goes on where it was. While blobs are taken the collector waits, so
that all that the snapshot lists stays where it is.
"""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

from storage.clock import Anchor
from storage.database import Connection, Database, connect, note_time
from storage.errors import StoreUnusable
from storage.files import Files, temporary_root
from storage.filling import Report, fill
from storage.layout import FORMAT, Layout
from storage.locks import COLLECTING, PATIENCE, still, unserved
from storage.rows import PRESENT
from storage.secrets import Secrets, content
from storage.snapshot import alone, drafted, install, remove, snapshot
from storage.store import (
    absent,
    complete_folders,
    format_of,
    fsync_name,
    make_folders,
    origin_of,
    write_format,
)
from storage.transfer import Progress, Transfer

_WRAP = 2**32  # `application_id` has 32 bits, and a sign
# What an attempt leaves that did not begin.
_HARMLESS = {"lost+found", "gc.lock", "evict.lock", "write.lock", "origin.new"}

_SERVED = "a server, or another command, has the folder open: stop it first"
_NEWEST = (
    "SELECT max((SELECT coalesce(max(created), 0) FROM blobs),"
    " (SELECT coalesce(max(pushed), 0) FROM manifests), (SELECT coalesce(max(moved), 0) FROM tags),"
    " (SELECT coalesce(max(active), 0) FROM repositories))"
)


def backup(
    source: Layout,
    target: Layout,
    files: Files,
    *,
    copy: bool = False,
    verify: bool = False,
    begin: Progress = lambda _: None,
    progress: Progress = lambda _: None,
) -> Report:
    """Bring the folder up to date with the root; `begin` is told how many bytes that is in all.

    Raises StoreUnusable for a folder that is no backup of this root, StoreBusy if it is served.
    """
    transfer = Transfer(source, target, files, progress)
    with _filling(target, files, f"backup of {source.root}", source):
        with unserved(target, _SERVED, wait=PATIENCE):
            _require_unchanged(target, files)
            _clear(target, files)
        with still(source, COLLECTING, shared=True, wait=PATIENCE):
            moment = _snapshot(source, target, files)
            with alone(target.new_index, files) as connection:
                way = transfer.copy if copy else transfer.link
                report = fill(connection, transfer, way, verify=verify, begin=begin)
                _take_accounts(source, target, files)
                _drop_sessions(connection)
                _mark(connection, moment)
        transfer.settle()
        with unserved(target, _SERVED, wait=PATIENCE):
            _require_unchanged(target, files)
            _install(target, files)
            report.removed = _prune(target, transfer)
    report.linked, report.copied = transfer.linked, transfer.copied
    return report


def restore(
    source: Layout,
    target: Layout,
    files: Files,
    *,
    begin: Progress = lambda _: None,
    progress: Progress = lambda _: None,
) -> Report:
    """Make a root of its own of a backup, or of any root; every byte is verified on the way.

    Raises StoreUnusable unless the target is absent, empty, or what an interrupted restore has left.
    """
    if format_of(source) is None:
        raise StoreUnusable(f"{source.root} is no backup, or an unfinished one: it has no file named format")
    transfer = Transfer(source, target, files, progress)
    with _filling(target, files, f"restore of {source.root}", source):
        if format_of(target) is not None:
            raise StoreUnusable(
                f"{target.root} is a registry already: move it aside, or choose another --root"
            )
        _clear(target, files)
        with still(source, COLLECTING, shared=True, wait=PATIENCE):
            _snapshot(source, target, files)
            with alone(target.new_index, files) as connection:
                report = fill(connection, transfer, transfer.copy, verify=False, begin=begin)
                _take_accounts(source, target, files)
                _drop_sessions(connection)
                connection.execute("PRAGMA application_id = 0")  # no backup's
        transfer.settle()
        with unserved(target, _SERVED, wait=PATIENCE):
            _install(target, files)
        files.unlink(target.origin)
        files.fsync_folder(target.root)
    report.copied = transfer.copied
    return report


# -- the folder ----------------------------------------------------------------------------------------


@contextmanager
def _filling(target: Layout, files: Files, origin: str, source: Layout) -> Iterator[None]:
    """The folder, made if it is absent, and nobody else's meanwhile."""
    _require_apart(source.root, target.root)
    _require_own(target, origin)
    made = absent(target.root)
    files.require_sound()
    files.mkdir(target.root)
    with still(target, COLLECTING):
        _require_own(target, origin)  # another may have been faster
        files.unlink(target.origin + ".new")
        if not origin_of(target):
            files.protect(target.root)
            files.write_file(
                target.origin + ".new", target.origin, f"{origin}\n".encode(errors="surrogateescape")
            )
        (complete_folders if format_of(target) else make_folders)(target, files)
        for folder in made:
            fsync_name(files, folder)
        with drafted(target.new_index, files):
            yield


def _require_apart(source: str, target: str) -> None:
    one, other = os.path.realpath(source), os.path.realpath(target)
    if os.path.commonpath([one, other]) in (one, other):
        raise StoreUnusable(
            f"{target} and {source} are one folder, or one is inside the other: choose another"
        )


def _require_own(target: Layout, origin: str) -> None:
    """Raises StoreUnusable for anything but a new folder, or one of the same origin."""
    if not os.path.exists(target.root):
        return
    found, known = origin_of(target), format_of(target)
    if known not in (None, FORMAT):
        raise StoreUnusable(f"{target.format} says {known.strip()!r}: use the program that wrote it")
    if found == origin:
        return
    if found:
        raise StoreUnusable(f"{target.root} is the {found}, not the {origin}: choose another folder")
    if strangers := sorted(set(os.listdir(target.root)) - _HARMLESS):
        what = "a registry of its own" if known else f"not empty ({', '.join(strangers[:3])})"
        raise StoreUnusable(f"{target.root} is {what}: choose an empty folder, or move what is there aside")


def _require_unchanged(target: Layout, files: Files) -> None:
    """The backup holds what its last one brought, and no more. Raises StoreBusy if anyone has it open."""
    if not os.path.exists(target.index):
        return
    with alone(target.index, files) as connection:
        (marked,) = connection.execute("PRAGMA application_id").fetchone()
        (newest,) = connection.execute(_NEWEST).fetchone()
    if newest > marked % _WRAP:
        raise StoreUnusable(
            f"{target.root} has taken pushes since its last backup, which would go: choose another folder"
        )


def _install(target: Layout, files: Files) -> None:
    install(target.new_index, target.index, files)
    write_format(target, files)


def _clear(target: Layout, files: Files) -> None:
    """Take away what one that was killed has left, and the sessions and fetches of whoever served it."""
    remove(target.new_index, files)
    for folder in (target.uploads, target.fetches):
        for name in os.listdir(folder):
            files.unlink(os.path.join(folder, name))


def _take_accounts(source: Layout, target: Layout, files: Files) -> None:
    """Users and robots, before anyone can serve the folder; keys stay, and the target makes its own.

    What is signed is then good for one of the two only.
    """
    secrets = Secrets(files, target)
    for there, here in ((source.htpasswd, target.htpasswd), (source.robots, target.robots)):
        if (data := content(there)) is not None:
            secrets.replace(here, data)
        elif os.path.lexists(here):
            files.unlink(here)
            files.fsync_folder(os.path.dirname(here))


# -- the index -----------------------------------------------------------------------------------------


def _snapshot(source: Layout, target: Layout, files: Files) -> Anchor:
    """Copy the index, and bring it up to this program's version; return the store's time of it."""
    snapshot(source.index, target.new_index, files)
    with temporary_root() as folder:
        # Its writer's lock is elsewhere: the folder's may be that of a server.
        lock, unsynced = f"{folder}/lock", Files(f"{folder}/degraded", durable=False)
        with closing(Database(target.new_index, lock, unsynced, durable=False)) as database:
            return database.clock.look()


def _drop_sessions(connection: Connection) -> None:
    """Their bytes are not copied: a client that comes back begins anew."""
    connection.execute("DELETE FROM uploads")
    # Of what has been called "here" since, the marks were taken off in the root alone: let all begin anew.
    connection.execute("UPDATE clock SET marked_in = ''")


def _mark(connection: Connection, moment: Anchor) -> None:
    """Note up to when the backup knows of changes, by the store's time: whoever serves it begins later."""
    newest = max(moment.time, connection.execute(_NEWEST).fetchone()[0])
    connection.execute(f"PRAGMA application_id = {(newest + _WRAP // 2) % _WRAP - _WRAP // 2}")
    note_time(connection, replace(moment, time=moment.time + 1))


def _prune(target: Layout, transfer: Transfer) -> int:
    sql = f"SELECT 1 FROM blobs WHERE digest = ? AND state = {PRESENT}"
    with closing(connect(target.index, "ro")) as connection:
        return transfer.prune(lambda digest: bool(connection.execute(sql, (digest.binary,)).fetchone()))
