"""The SQLite file: its readers, its one writer, its migrations. The only module that imports sqlite3."""

import asyncio
import fcntl
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, TypeVar

from storage.clock import Anchor, Clock, Machine
from storage.digest import schema_tag
from storage.errors import IndexFailed, StorageError, StoreBusy, StoreFull, StoreUnusable
from storage.files import Files
from storage.generation import Generation

Connection = sqlite3.Connection
Result = TypeVar("Result")

MIGRATIONS = (
    *("schema.sql", "history.sql", "collection.sql", "counts.sql", "idle.sql", "cache.sql"),
    "figures.sql",
)
"""Scripts in order; `user_version` counts those that the file has seen."""

_FSYNC_FAILED = {sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC}
_BATCH = 256  # changes in one transaction at most
_CHECKPOINT = 4 * 2**20  # bytes of WAL after which the writer copies it back
_SLOW_READ = 5.0  # seconds that a read waits for a lock, in a thread
_BUSY = 5000  # milliseconds that the writer waits while another process recovers the WAL


@dataclass(slots=True)
class _Job:
    change: Callable[[Connection], Any]
    durable: bool
    shown: bool
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Any]"
    result: Any = None
    error: BaseException | None = field(default=None)


class Database:
    """Short reads on the caller's thread; writes gathered into one transaction by one thread.

    Over processes, `flock` on the lock file decides who writes: SQLite's own busy-polling waits up to
    seconds and then fails where this takes milliseconds, and checkpoints under it rule out the WAL-reset
    race of SQLite 3.51.2 and older.
    """

    def __init__(
        self,
        path: str,
        lock: str,
        files: Files,
        *,
        durable: bool = True,
        shared: bool = True,
        machine: Machine | None = None,
        make_room: Callable[[], bool] = lambda: False,
    ) -> None:
        """`make_room` is called when the disk is full, and says whether another try is worth it."""
        self._path, self._files, self._durable = path, files, durable
        self._make_room = make_room
        self._lock = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self._longest_wal, self._copied = _CHECKPOINT, True
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        with ExitStack() as undo:
            undo.callback(os.close, self._lock)
            try:
                self._writer = self._open()
                undo.callback(self._writer.close)
                self.generation, self.clock = self._flock(lambda: self._prepare(shared, machine))
                self._equip(self._writer)
                self._reader = self._connect(0)
            except sqlite3.Error as error:
                raise IndexFailed(
                    f"{path} cannot be opened ({error}): put it back from a backup, or run `registry reindex`"
                ) from error
            undo.pop_all()
        self._thread: threading.Thread | None = None

    def _connect(self, timeout: float) -> Connection:
        connection = connect(self._path, "ro", timeout)
        connection.execute("PRAGMA query_only=ON")
        self._equip(connection)
        return connection

    def _equip(self, connection: Connection) -> None:
        """What statements may call."""
        connection.create_function("store_time", 0, self.clock.now)
        connection.create_function("schema_tag", 1, schema_tag, deterministic=True)

    def _open(self) -> Connection:
        with suppress(FileExistsError):  # SQLite would let everyone read it, and its log, which gets its mode
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(
            self._path, timeout=_BUSY / 1000, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA wal_autocheckpoint=0")
        if not self._durable:
            connection.execute("PRAGMA synchronous=OFF")
        return connection

    def _prepare(self, shared: bool, machine: Machine | None) -> tuple[Generation, Clock]:
        connection = self._writer
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > len(MIGRATIONS):
            raise StoreUnusable(
                f"{self._path} has index version {version}, this program knows {len(MIGRATIONS)}: "
                "use the newer program that wrote it"
            )
        if version == 0:
            connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        connection.execute("PRAGMA journal_mode=WAL")
        for number, script in enumerate(MIGRATIONS[version:], version + 1):
            text = (resources.files("storage") / script).read_text()
            connection.executescript(f"BEGIN IMMEDIATE; {text} PRAGMA user_version={number}; COMMIT;")
        # A read in WAL mode takes the lock that says, as long as this is open, that somebody has it.
        found = connection.execute("SELECT boot, uptime, time, wall FROM clock").fetchone()
        clock = Clock(Anchor(*found) if found else None, machine, newest=lambda: _newest(connection))
        if not found or found[0] != clock.boot:
            connection.execute("BEGIN IMMEDIATE")
            if not found:
                _adopt_times(connection, clock.now())
            note_time(connection, clock.anchor)
            connection.execute("COMMIT")
        return Generation(self._lock, self._files, shared=shared), clock

    # -- reading -------------------------------------------------------------------------------------

    async def read(self, query: Callable[[Connection], Result], *, long: bool = False) -> Result:
        """Run a short query here and now (about 10 µs); a long one, or a locked file, waits in a thread."""
        if long:
            return await asyncio.to_thread(self._read_slowly, query)
        try:
            return query(self._reader)
        except sqlite3.Error as error:
            if _code(error) & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise IndexFailed(f"the index could not be read ({error})") from error
        return await asyncio.to_thread(self._read_slowly, query)

    def _read_slowly(self, query: Callable[[Connection], Result]) -> Result:
        connection = self._connect(_SLOW_READ)
        try:
            return query(connection)
        except sqlite3.Error as error:
            raise IndexFailed(f"the index could not be read ({error})") from error
        finally:
            connection.close()

    def scan(self) -> Connection:
        """A read-only connection of its own for a long reader; the caller closes it."""
        return self._connect(_SLOW_READ)

    @contextmanager
    def scanning(self) -> Iterator[Connection]:
        """`scan`, closed at the end. Raises IndexFailed for what cannot be read."""
        connection = self.scan()
        try:
            yield connection
        except sqlite3.Error as error:
            raise IndexFailed(f"the index could not be read ({error}): put it back from a backup") from error
        finally:
            connection.close()

    # -- writing -------------------------------------------------------------------------------------

    async def write(
        self,
        change: Callable[[Connection], Result],
        *,
        durable: bool = True,
        shown: bool | None = None,
        even_if_degraded: bool = False,
    ) -> Result:
        """Make one change; committed on return.

        `durable=False` is for bookkeeping: a power cut may take it back, and no answer shows it, unless
        `shown` says that answers given before must be worked out again.

        `change` runs in the writer's thread, in a savepoint of its own: what it raises fails this call
        alone. It runs once more if the disk was full and room could be made. Raises StoreFull,
        StoreDegraded, IndexFailed. `even_if_degraded` is for what makes the index
        say less than it did: that some bytes are gone has to be told above all when the disk fails.
        """
        if durable and not even_if_degraded:
            self._files.require_sound()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="index-writer", daemon=True)
            self._thread.start()
        loop = asyncio.get_running_loop()
        shown = durable if shown is None else shown
        job = _Job(change, durable and self._durable, shown, loop, loop.create_future())
        self._jobs.put(job)
        result: Result = await job.future
        return result

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            batch = [job]
            stop = False
            while len(batch) < _BATCH and not stop:
                try:
                    following = self._jobs.get_nowait()
                except queue.Empty:
                    break
                if following is None:
                    stop = True
                else:
                    batch.append(following)
            self._commit(batch)
            for done in batch:
                with suppress(RuntimeError):  # its loop has ended: nobody waits
                    done.loop.call_soon_threadsafe(_deliver, done)
            if stop:
                return

    def _commit(self, batch: list[_Job]) -> None:
        fact = self._try(batch)
        if isinstance(fact, StoreFull) and self._make_room():
            fact = self._try(batch)
        if fact:
            for job in batch:
                # Also those whose own change went well: the transaction that held it is gone.
                job.result, job.error = None, fact

    def _try(self, batch: list[_Job]) -> BaseException | None:
        """Why nothing of the batch is committed; None if it is."""
        for job in batch:
            job.result = job.error = None
        try:
            self._flock(lambda: self._transact(batch))
        except BaseException as error:
            return self._explain(error)
        return None

    def _transact(self, batch: list[_Job]) -> None:
        connection = self._writer
        if any(job.durable for job in batch):
            connection.execute("PRAGMA synchronous=FULL")
        else:
            connection.execute(f"PRAGMA synchronous={'NORMAL' if self._durable else 'OFF'}")
        connection.execute("BEGIN IMMEDIATE")
        try:
            for job in batch:
                self._apply(connection, job)
            shown = any(job.shown for job in batch)
            with self.generation.changing() if shown else nullcontext():
                self._files.call("commit", self._path, lambda: connection.execute("COMMIT"))
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        self._checkpoint()

    def _apply(self, connection: Connection, job: _Job) -> None:
        connection.execute("SAVEPOINT change")
        try:
            job.result = job.change(connection)
        except Exception as error:
            # SQLITE_FULL and its like roll the whole transaction back, silently for all the others.
            if not connection.in_transaction:
                raise
            connection.execute("ROLLBACK TO change")
            job.error = self._explain(error)
        connection.execute("RELEASE change")

    async def checkpoint(self) -> bool:
        """Copy the whole WAL back now; False if a reader, or a bad disk, kept it from that."""
        self._longest_wal, self._copied = 0, False
        try:
            await self.write(lambda _: None, durable=False)
        finally:
            self._longest_wal = _CHECKPOINT
        return self._copied

    def _checkpoint(self) -> None:
        """Copy the WAL back once it is long, under the lock. Not vital: the next commit tries again."""
        wal, writer = f"{self._path}-wal", self._writer
        if not os.path.exists(wal) or os.path.getsize(wal) <= self._longest_wal:
            self._copied = True
            return
        writer.execute("PRAGMA busy_timeout=0")  # a long scan must not hold up the writers
        try:
            ((busy, _, _),) = self._files.call(
                "checkpoint", wal, lambda: writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            )
            self._copied = not busy
        except (OSError, StorageError, sqlite3.Error) as error:
            self._explain(error)  # a failed fsync latches the store
        finally:
            writer.execute(f"PRAGMA busy_timeout={_BUSY}")

    def _explain(self, error: BaseException) -> BaseException:
        if isinstance(error, StorageError) or not isinstance(error, sqlite3.Error):
            return error
        if _code(error) & 0xFF == sqlite3.SQLITE_FULL:
            return StoreFull("the disk is full: free some space and repeat")
        if _code(error) in _FSYNC_FAILED:
            return self._files.latch(f"the index could not be synced ({error})")
        return IndexFailed(f"the index could not be written ({error})")

    def _flock(self, act: Callable[[], Result]) -> Result:
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            return act()
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def close(self) -> None:
        """Finish what is queued and close every connection."""
        if self._thread:
            self._jobs.put(None)
            self._thread.join()
        self._reader.close()
        self.generation.close()
        with suppress(OSError, sqlite3.Error):
            self._flock(self._writer.close)  # the last connection checkpoints, so it holds the lock too
        os.close(self._lock)


def _adopt_times(connection: Connection, now: int) -> None:
    """Of a program that went by the wall clock, and noted no pulls: as if all had been pulled just now."""
    connection.execute("UPDATE tags SET moved = min(moved, ?1)", (now,))
    connection.execute(
        "UPDATE manifests SET pulled = ?1, pushed = min(pushed, ?1), untagged = min(untagged, ?1)", (now,)
    )


def _newest(connection: Connection) -> int:
    """The latest of the store's times in the index; 0 if there is none."""
    times = ("pushed", "manifests"), ("untagged", "manifests"), ("pulled", "manifests"), ("moved", "tags")
    maxima = ", ".join(
        f"coalesce((SELECT max({column}) FROM {table}), 0)"
        for column, table in (*times, ("active", "repositories"))
    )
    return int(connection.execute(f"SELECT max({maxima})").fetchone()[0])


def note_time(connection: Connection, moment: Anchor) -> None:
    """Let the next boot's clock go on from this moment."""
    connection.execute(
        "INSERT INTO clock (id, boot, uptime, time, wall) VALUES (1, ?, ?, ?, ?) ON CONFLICT DO UPDATE"
        " SET boot = excluded.boot, uptime = excluded.uptime, time = excluded.time, wall = excluded.wall",
        (moment.boot, moment.uptime, moment.time, moment.wall),
    )


def connect(path: str, mode: str, timeout: float = _SLOW_READ) -> Connection:
    """A connection of its own; `mode` is ro, rw, or rwc, which makes the file."""
    return sqlite3.connect(
        f"file:{_quote(path)}?mode={mode}",
        uri=True,
        timeout=timeout,
        isolation_level=None,
        check_same_thread=False,
    )


@contextmanager
def explained(path: str) -> Iterator[None]:
    """What SQLite says of an index that no Database has open, as facts: StoreBusy, StoreFull, IndexFailed."""
    try:
        yield
    except sqlite3.Error as error:
        if _code(error) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise StoreBusy(
                f"another process has {path} open: stop the server of that folder first"
            ) from error
        if _code(error) & 0xFF == sqlite3.SQLITE_FULL:
            raise StoreFull("the disk is full: free some space and repeat") from error
        raise IndexFailed(f"{path} could not be used ({error})") from error


def _code(error: sqlite3.Error) -> int:
    """SQLite's extended error code; 0 for what Python's module found by itself."""
    return getattr(error, "sqlite_errorcode", None) or 0


def _deliver(job: _Job) -> None:
    if job.future.done():  # its caller was cancelled
        return
    if job.error:
        job.future.set_exception(job.error)
    else:
        job.future.set_result(job.result)


def _quote(path: str) -> str:
    return path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
