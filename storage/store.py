"""A root opened: every part of the store, made from one folder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from storage.blobs import BlobStore
from storage.clock import Machine
from storage.contracts import Names
from storage.database import Database
from storage.errors import IndexFailed, StoreUnusable
from storage.files import Files, Probe
from storage.layout import FORMAT, Layout
from storage.links import Links
from storage.listings import Listings
from storage.locks import held
from storage.manifests import Manifests
from storage.mounts import check_mount
from storage.room import Ballast, look
from storage.sessions import Sessions
from storage.threads import Threads
from storage.uploads import UploadStore

_INDEX = {"index.db", "index.db-wal", "index.db-shm", "index.db-journal"}
_OURS = {
    "format",
    "format.new",
    "blobs",
    "uploads",
    "quarantine",
    "write.lock",
    "gc.lock",
    "serving.lock",
    "ballast",
    "degraded",
    *("fsck", "fsck.new", "scrub", "scrub.new"),
    "lost+found",
    *_INDEX,
}
_NOT_NOW = "a command that needs this root for itself, such as `registry gc --now`, is at work: start later"
_SERVING_WAIT = 5.0  # seconds


@dataclass(frozen=True, slots=True)
class Store:
    """Bytes in `blobs` and `uploads`, names in `names`."""

    layout: Layout
    files: Files
    database: Database
    blobs: BlobStore
    uploads: UploadStore
    names: Names
    threads: Threads
    ballast: Ballast
    warnings: tuple[str, ...]
    locks: ExitStack

    def require_ready(self) -> None:
        """Raises StoreDegraded or StoreFull while uploads are refused."""
        self.files.require_sound()
        self.uploads.require_room()

    def close(self) -> None:
        self.threads.close()
        self.database.close()
        self.locks.close()


def open_store(
    root: str,
    *,
    durable: bool = True,
    allow_network: bool = False,
    probe: Probe | None = None,
    machine: Machine | None = None,
    serving: bool = False,
) -> Store:
    """Open a root, making it first if it is new. Raises StoreUnusable, saying what to do.

    `serving` keeps out what can't go on beside a server. Raises StoreBusy if that goes on.
    """
    layout = Layout(os.path.abspath(root))
    files = Files(layout.degraded, durable=durable, probe=probe)
    locks = ExitStack()
    ballast = Ballast(layout.ballast, files)

    def open_index() -> Database:
        return Database(
            layout.index,
            layout.write_lock,
            files,
            durable=durable,
            shared=not allow_network,
            machine=machine,
            make_room=ballast.give_up,
        )

    try:
        warning = _prepare(layout, files, allow_network=allow_network)
        if serving:
            locks.enter_context(held(layout.serving_lock, _NOT_NOW, shared=True, wait=_SERVING_WAIT))
        try:
            database = open_index()
        except IndexFailed:
            # A full disk may be why, whatever SQLite calls it: at a start it makes files anew.
            room = look(layout.root)
            if room.free >= room.floor or not ballast.give_up():
                raise
            database = open_index()
        try:
            _finish(layout, files)
        except BaseException:
            database.close()
            raise
    except BaseException as error:
        locks.close()
        if not isinstance(error, OSError):
            raise
        raise StoreUnusable(
            f"{layout.root} cannot be used: {error.strerror} ({error.filename}); "
            "mend that or choose another --root"
        ) from error
    threads = Threads()
    blobs = BlobStore(layout, files, threads)
    uploads = UploadStore(layout, files, threads, blobs)
    names = Names(
        Links(database),
        Sessions(database, database.clock.boot),
        Manifests(database),
        Listings(database),
        database.generation,
    )
    warnings = (warning,) if warning else ()
    return Store(layout, files, database, blobs, uploads, names, threads, ballast, warnings, locks)


def _prepare(layout: Layout, files: Files, *, allow_network: bool) -> str | None:
    """Make what is missing; return a warning about the file system."""
    made = _absent(layout.root)
    if os.path.isdir(layout.root):
        _recognise(layout)  # before anything is made in a folder that may be another's
    files.mkdir(layout.root)
    warning = check_mount(layout.root, allow_network=allow_network)
    with _locked(layout):
        if not _recognise(layout):
            _create(layout, files)
        elif not os.path.exists(layout.index):
            raise StoreUnusable(
                f"{layout.index} is missing, so that nothing says what the blobs belong to: put it back from "
                "a backup; if there is none, choose another --root and push again"
            )
        for folder in layout.folders():
            if not os.path.isdir(folder):  # a restore may have left empty folders out
                files.mkdir(folder)
                _fsync_name(files, folder)
        for folder in made:
            _fsync_name(files, folder)
    return warning


def _finish(layout: Layout, files: Files) -> None:
    """The format file comes last: with it, everything else has to be there."""
    with _locked(layout):
        if os.path.exists(layout.format):
            return
        files.unlink(layout.format + ".new")
        files.write_file(layout.format + ".new", layout.format, FORMAT.encode())


@contextmanager
def _locked(layout: Layout) -> Iterator[None]:
    """Two servers may start on one new root."""
    lock = os.open(layout.write_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _recognise(layout: Layout) -> bool:
    """Whether the root is ours already. Raises StoreUnusable for another format or another's folder."""
    try:
        with open(layout.format, encoding="utf-8", errors="replace") as file:
            found = file.read(100)
    except FileNotFoundError:
        strangers = sorted(set(os.listdir(layout.root)) - _OURS)
        if not strangers:
            return False
        if "docker" in strangers:
            why = "holds the data of a distribution registry, which has another layout"
        else:
            why = f"is not empty ({', '.join(strangers[:3])}) and not a registry's"
        raise StoreUnusable(f"{layout.root} {why}: choose an empty folder as --root") from None
    if found != FORMAT:
        raise StoreUnusable(
            f"{layout.format} says {found.strip()!r}, this program knows {FORMAT.strip()!r}: "
            "use the program that wrote it"
        )
    return True


def _create(layout: Layout, files: Files) -> None:
    """All folders, their names durable.

    A shard itself waits for its first blob, whose install fsyncs it: 512 fsyncs of empty folders were half
    of a first start, seconds on a slow disk.
    """
    files.protect(layout.root)
    for folder in layout.folders():
        files.mkdir(folder)
    for folder in dict.fromkeys(os.path.dirname(folder) for folder in layout.folders()):
        files.fsync_folder(folder)
    files.fsync_folder(layout.root)
    _fsync_name(files, layout.root)


def _absent(folder: str) -> list[str]:
    """The folder and its parents, as far as they are still to be made."""
    return [] if os.path.lexists(folder) else [folder, *_absent(os.path.dirname(folder))]


def _fsync_name(files: Files, folder: str) -> None:
    """Make a folder's name durable; where its parent can't be opened, another has made it."""
    with suppress(PermissionError):
        files.fsync_folder(os.path.dirname(folder))
