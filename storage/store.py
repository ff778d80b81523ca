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
from storage.fetches import FetchStore
from storage.files import Files, Probe
from storage.freshness import Freshness
from storage.layout import FORMAT, Layout
from storage.links import Links
from storage.listings import Listings
from storage.locks import held
from storage.manifests import Manifests
from storage.mounts import check_mount
from storage.quotas import Quotas
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
    "fetches",
    "quarantine",
    "write.lock",
    "gc.lock",
    "evict.lock",
    "serving.lock",
    "ballast",
    "degraded",
    *("fsck", "fsck.new", "scrub", "scrub.new"),
    *("htpasswd", "htpasswd.new", "secrets"),
    "lost+found",
    *_INDEX,
}
_NOT_NOW = "a command that needs this root for itself, such as `registry gc --now`, is at work: start later"
_SERVING_WAIT = 5.0  # seconds


@dataclass(frozen=True, slots=True)
class Store:
    """Bytes in `blobs`, `uploads` and `fetches`, names in `names`."""

    layout: Layout
    files: Files
    database: Database
    blobs: BlobStore
    uploads: UploadStore
    fetches: FetchStore
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
    lean: bool = False,
    allow_network: bool = False,
    probe: Probe | None = None,
    machine: Machine | None = None,
    serving: bool = False,
) -> Store:
    """Open a root, making it first if it is new. Raises StoreUnusable, saying what to do.

    `lean` is for a root that nobody else opens, and that is removed at the end: shards wait for their blobs.
    `serving` keeps out what can't go on beside a server. Raises StoreBusy if that goes on.
    """
    layout = Layout(os.path.abspath(root))
    files = Files(layout.degraded, durable=durable, lean=lean, probe=probe)
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
    return assemble(layout, files, database, (warning,) if warning else (), locks)


def assemble(
    layout: Layout,
    files: Files,
    database: Database,
    warnings: tuple[str, ...] = (),
    locks: ExitStack | None = None,
) -> Store:
    """The parts over one folder and one index; `locks` are let go when the store is closed."""
    threads = Threads()
    blobs = BlobStore(layout, files, threads)
    uploads = UploadStore(layout, files, threads, blobs)
    fetches = FetchStore(layout, files, threads, blobs)
    names = Names(
        Links(database),
        Sessions(database, database.clock.boot),
        Manifests(database),
        Listings(database),
        Quotas(database),
        Freshness(database),
        database.generation,
    )
    ballast = Ballast(layout.ballast, files)
    return Store(
        layout,
        files,
        database,
        blobs,
        uploads,
        fetches,
        names,
        threads,
        ballast,
        warnings,
        locks or ExitStack(),
    )


def _prepare(layout: Layout, files: Files, *, allow_network: bool) -> str | None:
    """Make what is missing; return a warning about the file system."""
    made = absent(layout.root)
    if os.path.isdir(layout.root):
        recognise(layout)  # before anything is made in a folder that may be another's
    files.mkdir(layout.root)
    warning = check_mount(layout.root, allow_network=allow_network)
    with _locked(layout):
        if not recognise(layout):
            make_folders(layout, files)
        elif not os.path.exists(layout.index) or not os.path.getsize(layout.index):
            raise StoreUnusable(
                f"{layout.index} is missing or empty, so that nothing says what the blobs belong to: put it "
                "back from a backup; without one, `registry reindex` finds the images, but not their names"
            )
        complete_folders(layout, files)
        for folder in made:
            fsync_name(files, folder)
    return warning


def _finish(layout: Layout, files: Files) -> None:
    """The format file comes last: with it, everything else has to be there."""
    with _locked(layout):
        write_format(layout, files)


def write_format(layout: Layout, files: Files) -> None:
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


def format_of(layout: Layout) -> str | None:
    """What the root's format file says; None without one."""
    try:
        with open(layout.format, encoding="utf-8", errors="replace") as file:
            return file.read(100)
    except FileNotFoundError:
        return None


def origin_of(layout: Layout) -> str:
    """What the root is a copy of, as whoever made it wrote; empty if it is none."""
    try:
        with open(layout.origin, encoding="utf-8", errors="surrogateescape") as file:
            return file.read().strip()
    except FileNotFoundError:
        return ""


def recognise(layout: Layout) -> bool:
    """Whether the root is ours already. Raises StoreUnusable for another format or another's folder."""
    found = format_of(layout)
    if found is None:
        if os.path.exists(layout.origin):
            raise StoreUnusable(
                f"{layout.root} is an unfinished copy ({origin_of(layout)}): repeat the command that was "
                "interrupted, and it goes on where it was"
            )
        strangers = sorted(set(os.listdir(layout.root)) - _OURS)
        if not strangers:
            return False
        if "docker" in strangers:
            why = "holds the data of a distribution registry, which has another layout"
        else:
            why = f"is not empty ({', '.join(strangers[:3])}) and not a registry's"
        raise StoreUnusable(f"{layout.root} {why}: choose an empty folder as --root")
    if found != FORMAT:
        raise StoreUnusable(
            f"{layout.format} says {found.strip()!r}, this program knows {FORMAT.strip()!r}: "
            "use the program that wrote it"
        )
    return True


def folders_of(layout: Layout, files: Files) -> list[str]:
    """Those that a start makes. Empty shards took nine tenths of the start of a store for a test."""
    return layout.trunk() if files.lean else layout.folders()


def make_folders(layout: Layout, files: Files) -> None:
    """All folders, their names durable.

    A shard itself waits for its first blob, whose install fsyncs it: 512 fsyncs of empty folders were half
    of a first start, seconds on a slow disk.
    """
    files.protect(layout.root)
    folders = folders_of(layout, files)
    for folder in folders:
        files.mkdir(folder)
    for folder in dict.fromkeys(map(os.path.dirname, folders)):
        files.fsync_folder(folder)
    files.fsync_folder(layout.root)
    fsync_name(files, layout.root)


def complete_folders(layout: Layout, files: Files) -> None:
    """Who copied the root may have left empty folders out. Raises StoreUnusable for a link in one's place."""
    for folder in folders_of(layout, files):
        if os.path.islink(folder):
            raise StoreUnusable(
                f"{folder} is a link, and what it leads to is not the store's: put a folder there; "
                "to keep the store elsewhere, name that place as --root"
            )
        if not os.path.isdir(folder):
            files.mkdir(folder)
            fsync_name(files, folder)


def absent(folder: str) -> list[str]:
    """The folder and its parents, as far as they are still to be made."""
    return [] if os.path.lexists(folder) else [folder, *absent(os.path.dirname(folder))]


def fsync_name(files: Files, folder: str) -> None:
    """Make a folder's name durable; where its parent can't be opened, another has made it."""
    with suppress(PermissionError):
        files.fsync_folder(os.path.dirname(folder))
