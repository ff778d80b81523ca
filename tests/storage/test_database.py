"""The index's one writer and its readers: commits that many share, and failures that nobody may miss."""

import asyncio
import errno
import itertools
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Protocol

import pytest

from storage import database as module
from storage.clock import Anchor
from storage.database import Connection, Database, note_time
from storage.digest import Digest, schema_tag
from storage.errors import BlobMissing, IndexFailed, StoreDegraded, StoreFull, StoreUnusable
from storage.files import Files, Probe
from tests.storage.hands import Hands
from tests.storage.probes import NO_ROOM, FailAt, Recorder, failure

MIB = 2**20


class Opener(Protocol):
    def __call__(
        self, *, durable: bool = True, probe: Probe | None = None, make_room: Callable[[], bool] = ...
    ) -> Database: ...


@pytest.fixture
def opener(folder: str) -> Iterator[Opener]:
    """Opens one index, as often as it is called."""
    with ExitStack() as stack:

        def opened(
            *,
            durable: bool = True,
            probe: Probe | None = None,
            make_room: Callable[[], bool] = lambda: False,
        ) -> Database:
            database = open_in(folder, durable=durable, probe=probe, make_room=make_room)
            stack.callback(database.close)
            return database

        yield opened


@pytest.fixture
def database(opener: Opener) -> Database:
    return opener()


def open_in(
    folder: str,
    *,
    durable: bool = True,
    probe: Probe | None = None,
    make_room: Callable[[], bool] = lambda: False,
) -> Database:
    files = Files(f"{folder}/degraded", durable=durable, probe=probe)
    return Database(f"{folder}/index.db", f"{folder}/write.lock", files, durable=durable, make_room=make_room)


def insert(name: str) -> Callable[[Connection], str]:
    def change(connection: Connection) -> str:
        connection.execute("INSERT INTO repositories (name) VALUES (?)", (name,))
        return name

    return change


def insert_and_fail(name: str, error: BaseException) -> Callable[[Connection], str]:
    def change(connection: Connection) -> str:
        insert(name)(connection)
        raise error

    return change


class Stop(BaseException):
    """No ordinary failure."""


def names_in(connection: Connection) -> list[str]:
    return [name for (name,) in connection.execute("SELECT name FROM repositories ORDER BY name")]


async def names(database: Database) -> list[str]:
    return await database.read(names_in)


@asynccontextmanager
async def held_up(database: Database) -> AsyncIterator[None]:
    """The writer at work on a change until the block ends; what is written meanwhile is one batch."""
    entered, go = threading.Event(), threading.Event()

    def change(connection: Connection) -> None:
        entered.set()
        go.wait(10)

    task = asyncio.create_task(database.write(change))
    await asyncio.to_thread(entered.wait, 10)
    try:
        yield
    finally:
        await asyncio.sleep(0)  # until what the block began is queued
        go.set()
        await task


async def in_one_batch(
    database: Database, changes: list[Callable[[Connection], str]]
) -> list[str | BaseException]:
    async with held_up(database):
        tasks = [asyncio.create_task(database.write(change)) for change in changes]
        await asyncio.sleep(0)
    return await asyncio.gather(*tasks, return_exceptions=True)


# -- writing -------------------------------------------------------------------------------------------


async def test_a_change_is_committed_when_it_returns(opener: Opener) -> None:
    one, other = opener(), opener()
    assert await one.write(insert("a")) == "a"
    assert await names(other) == ["a"]
    assert await other.write(insert("b"), durable=False) == "b"
    assert await names(one) == ["a", "b"]


async def test_many_changes_share_few_commits(opener: Opener) -> None:
    probe = Recorder()
    database = opener(probe=probe)
    results = await in_one_batch(database, [insert(f"{number:03}") for number in range(600)])
    assert results == [f"{number:03}" for number in range(600)] == await names(database)
    assert probe.names == ["commit"] * (1 + 3)


async def test_changes_are_made_in_the_order_of_their_calls(database: Database) -> None:
    order: list[int] = []

    def noting(number: int) -> Callable[[Connection], str]:
        def change(connection: Connection) -> str:
            order.append(number)
            return ""

        return change

    await in_one_batch(database, [noting(number) for number in range(100)])
    assert order == list(range(100))


@pytest.mark.parametrize("error", [BlobMissing("x"), ValueError("x"), OSError("x")])
async def test_one_that_fails_fails_alone(database: Database, error: Exception) -> None:
    changes = [insert("a"), insert_and_fail("b", error), insert("c"), insert("a")]
    first, second, third, fourth = await in_one_batch(database, changes)
    assert (first, second, third) == ("a", error, "c")
    assert isinstance(fourth, IndexFailed)
    assert "UNIQUE constraint failed" in str(fourth)
    assert await names(database) == ["a", "c"]


async def test_a_change_sees_those_before_it(database: Database) -> None:
    results = await in_one_batch(database, [insert("a"), lambda connection: ",".join(names_in(connection))])
    assert results == ["a", "a"]


@pytest.mark.parametrize(
    ("error", "fact"),
    [
        (failure(errno.EIO), OSError),
        *((failure(code), StoreFull) for code in NO_ROOM),
        (sqlite3.OperationalError("anything"), IndexFailed),
    ],
    ids=str,
)
async def test_a_commit_that_fails_fails_every_member(
    opener: Opener, error: Exception, fact: type[Exception]
) -> None:
    database = opener(probe=FailAt(2, error))  # the third: two come before the batch
    await database.write(insert("before"))
    changes = [insert("a"), insert("b"), insert_and_fail("c", ValueError())]
    results = await in_one_batch(database, changes)
    assert [type(result) for result in results] == [fact] * 3
    assert await names(database) == ["before"]
    assert await database.write(insert("after")) == "after"
    assert await names(database) == ["after", "before"]


def sqlite_error(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("as SQLite says it")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize("code", [sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC])
async def test_a_failed_sync_latches_the_store(opener: Opener, folder: str, code: int) -> None:
    probe = Recorder()
    one, other = opener(probe=probe), opener()
    await one.write(insert("before"))
    probe.failing[("before", "commit")] = sqlite_error(code)
    with pytest.raises(StoreDegraded, match=r"the index could not be synced \(as SQLite says it\)"):
        await one.write(insert("a"))
    probe.failing.clear()
    for database in (one, other):
        with pytest.raises(StoreDegraded):
            await database.write(insert("b"))
        assert await names(database) == ["before"]
    assert os.path.exists(f"{folder}/degraded")
    await other.write(insert("what a power cut may take"), durable=False)
    await other.write(insert("what has to be told"), even_if_degraded=True)
    os.unlink(f"{folder}/degraded")
    await one.write(insert("after"))


@pytest.mark.parametrize(
    ("code", "fact"),
    [
        (sqlite3.SQLITE_FULL, StoreFull),
        (sqlite3.SQLITE_IOERR_WRITE, IndexFailed),
        (sqlite3.SQLITE_CORRUPT, IndexFailed),
        (sqlite3.SQLITE_READONLY, IndexFailed),
    ],
)
async def test_other_failures_do_not(opener: Opener, folder: str, code: int, fact: type[Exception]) -> None:
    database = opener(probe=FailAt(0, sqlite_error(code)))
    with pytest.raises(fact):
        await database.write(insert("a"))
    assert not os.path.exists(f"{folder}/degraded")
    assert await database.write(insert("b")) == "b"
    assert await names(database) == ["b"]


async def test_a_latched_store_refuses_what_must_be_durable_alone(opener: Opener) -> None:
    database = opener()
    database._files.latch("a test")
    results = await asyncio.gather(
        *(database.write(insert(name), durable=durable) for name, durable in (("a", False), ("b", True))),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [str, StoreDegraded]
    assert await names(database) == ["a"]


def roll_back(connection: Connection) -> str:
    """As SQLite does by itself on some errors."""
    insert("rolled back")(connection)
    connection.execute("ROLLBACK")
    raise sqlite3.OperationalError("whatever")


def roll_back_silently(connection: Connection) -> str:
    connection.execute("ROLLBACK")
    return "well"


@pytest.mark.parametrize("change", [roll_back, roll_back_silently])
async def test_a_rollback_of_the_whole_transaction_fails_every_member(
    database: Database, change: Callable[[Connection], str]
) -> None:
    changes = [insert("a"), insert_and_fail("b", ValueError()), change, insert("c")]
    results = await in_one_batch(database, changes)
    assert [type(result) for result in results] == [IndexFailed] * 4
    assert await names(database) == []
    assert await in_one_batch(database, [insert("a"), insert("c")]) == ["a", "c"]
    assert await names(database) == ["a", "c"]


async def test_a_full_index_fails_every_member_and_works_again_with_room(database: Database) -> None:
    def limit(pages: int) -> Callable[[Connection], None]:
        return lambda connection: connection.execute(f"PRAGMA max_page_count={pages}").close()

    def big(connection: Connection) -> str:
        connection.execute("INSERT INTO repositories (name) VALUES (hex(zeroblob(1000000)))")
        return "big"

    await database.write(limit(100))
    results = await in_one_batch(database, [insert("a"), big, insert("b")])
    # SQLite has rolled back all of the transaction, the first change too.
    assert [type(result) for result in results] == [StoreFull] * 3
    assert await names(database) == []
    await database.write(limit(10_000))
    assert await database.write(big) == "big"


@pytest.mark.parametrize(
    ("makes", "failures", "asked", "well"),
    [(True, 1, 1, True), (True, 2, 1, False), (False, 1, 1, False), (True, 0, 0, True)],
)
async def test_a_batch_that_found_no_room_is_tried_once_more(
    opener: Opener, makes: bool, failures: int, asked: int, well: bool
) -> None:
    """If room was made; its members see one outcome, each its own."""
    made: list[None] = []
    commits = itertools.count()  # the first is that of what holds the others up

    def probe(moment: str, name: str, target: str) -> None:
        if (moment, name) == ("before", "commit") and 1 <= next(commits) <= failures:
            raise failure(errno.ENOSPC)

    def make_room() -> bool:
        made.append(None)
        return makes

    database = opener(probe=probe, make_room=make_room)
    async with held_up(database):
        changes = [insert("a"), insert_and_fail("b", ValueError()), insert("c")]
        tasks = [asyncio.create_task(database.write(change)) for change in changes]
        await asyncio.sleep(0)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert len(made) == asked
    if well:
        assert [type(result) for result in results] == [str, ValueError, str]
    else:
        assert [type(result) for result in results] == [StoreFull] * 3
    assert await names(database) == (["a", "c"] if well else [])


@pytest.mark.parametrize("code", [errno.EIO, errno.EROFS])
async def test_room_helps_against_nothing_else(opener: Opener, code: int) -> None:
    made: list[bool] = []

    def make_room() -> bool:
        made.append(True)
        return True

    database = opener(probe=FailAt(0, failure(code)), make_room=make_room)
    with pytest.raises(OSError):
        await database.write(insert("a"))
    assert made == []


async def test_nothing_that_a_change_raises_leaves_the_others_waiting(database: Database) -> None:
    results = await in_one_batch(database, [insert("a"), insert_and_fail("b", Stop()), insert("c")])
    assert [type(result) for result in results] == [Stop] * 3
    assert await names(database) == []
    assert await in_one_batch(database, [insert("a"), insert("c")]) == ["a", "c"]


async def test_a_cancelled_caller_harms_nobody(database: Database) -> None:
    async with held_up(database):
        tasks = [asyncio.create_task(database.write(insert(name))) for name in "abc"]
        await asyncio.sleep(0)
        tasks[1].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(result) for result in results] == ["a", "", "c"]
    assert isinstance(results[1], asyncio.CancelledError)
    assert await names(database) == ["a", "b", "c"]


def test_a_loop_that_has_ended_harms_nobody(database: Database) -> None:
    entered, go = threading.Event(), threading.Event()

    def change(connection: Connection) -> None:
        insert("a")(connection)
        entered.set()
        go.wait(10)

    async def leave_early() -> None:
        task = asyncio.create_task(database.write(change))
        await asyncio.to_thread(entered.wait, 10)
        task.cancel()

    asyncio.run(leave_early())
    go.set()
    assert asyncio.run(database.write(insert("b"))) == "b"
    assert asyncio.run(names(database)) == ["a", "b"]


async def test_closing_finishes_what_is_queued(folder: str) -> None:
    database = open_in(folder)
    async with held_up(database):
        tasks = [asyncio.create_task(database.write(insert(name))) for name in "abc"]
        await asyncio.sleep(0)
        closing_thread = threading.Thread(target=database.close)
        closing_thread.start()
    await asyncio.to_thread(closing_thread.join, 10)
    assert await asyncio.gather(*tasks) == ["a", "b", "c"]
    with closing(open_in(folder)) as again:
        assert await names(again) == ["a", "b", "c"]


@pytest.mark.parametrize(("durable", "expected"), [(True, [2, 1, 2]), (False, [0, 0, 0])])
async def test_what_waits_for_the_disk(opener: Opener, durable: bool, expected: list[int]) -> None:
    """synchronous: 0 OFF, 1 NORMAL (a power cut may take commits back), 2 FULL."""
    database = opener(durable=durable)

    def level(connection: Connection) -> int:
        return int(connection.execute("PRAGMA synchronous").fetchone()[0])

    assert [await database.write(level, durable=each) for each in (True, False, True)] == expected


async def test_one_durable_member_makes_the_whole_batch_durable(opener: Opener) -> None:
    database = opener()

    def level(connection: Connection) -> str:
        return str(connection.execute("PRAGMA synchronous").fetchone()[0])

    async with held_up(database):
        tasks = [asyncio.create_task(database.write(level, durable=each)) for each in (False, True)]
        await asyncio.sleep(0)
    assert await asyncio.gather(*tasks) == ["2", "2"]


async def test_foreign_keys_are_kept(database: Database) -> None:
    with pytest.raises(IndexFailed, match="FOREIGN KEY"):
        await database.write(
            lambda connection: connection.execute("INSERT INTO links (repository, blob) VALUES (1, 1)")
        )


# -- reading -------------------------------------------------------------------------------------------


async def test_readers_cannot_write(database: Database) -> None:
    with pytest.raises(IndexFailed, match=r"could not be read.*readonly"):
        await database.read(insert("a"))
    with closing(database.scan()) as connection, pytest.raises(sqlite3.OperationalError, match="readonly"):
        insert("a")(connection)


async def test_short_reads_run_here_and_long_ones_in_a_thread(database: Database) -> None:
    def where(connection: Connection) -> str:
        return threading.current_thread().name

    here = threading.current_thread().name
    assert await database.read(where) == here
    assert await database.read(where, long=True) != here


@pytest.mark.parametrize("code", [sqlite3.SQLITE_BUSY, sqlite3.SQLITE_BUSY_RECOVERY, sqlite3.SQLITE_LOCKED])
async def test_a_locked_file_is_waited_for_in_a_thread(database: Database, code: int) -> None:
    here, threads = threading.current_thread(), []

    def query(connection: Connection) -> int:
        threads.append(threading.current_thread())
        if threading.current_thread() is here:
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = code
            raise error
        return int(connection.execute("PRAGMA busy_timeout").fetchone()[0])

    assert await database.read(query) == 5000
    assert len(threads) == 2


async def test_other_errors_of_a_read_are_raised(database: Database) -> None:
    for long in (False, True):
        with pytest.raises(IndexFailed, match=r"could not be read.*no such table"):
            await database.read(lambda connection: connection.execute("SELECT * FROM absent"), long=long)


async def test_a_scan_sees_one_state_while_others_write(database: Database) -> None:
    await database.write(insert("a"))
    with closing(database.scan()) as connection:
        connection.execute("BEGIN")
        assert names_in(connection) == ["a"]
        await database.write(insert("b"))
        assert names_in(connection) == ["a"]
        connection.execute("COMMIT")
        assert names_in(connection) == ["a", "b"]


@pytest.mark.parametrize("name", ["a%20b", "a?mode=memory", "a#b", "a b%", "ä'\""])
async def test_any_folder_name_will_do(folder: str, name: str) -> None:
    os.mkdir(f"{folder}/{name}")
    with closing(open_in(f"{folder}/{name}")) as database:
        await database.write(insert("a"))
        assert await names(database) == ["a"]
        assert await database.read(names_in, long=True) == ["a"]
    assert "index.db" in os.listdir(f"{folder}/{name}")


# -- time --------------------------------------------------------------------------------------------------


class OpenerBy(Protocol):
    def __call__(self, hands: Hands) -> Database: ...


@pytest.fixture
def opener_by(folder: str) -> Iterator[OpenerBy]:
    """Opens one index on a machine whose clocks a test moves."""
    with ExitStack() as stack:

        def opened(hands: Hands) -> Database:
            files = Files(f"{folder}/degraded")
            database = Database(f"{folder}/index.db", f"{folder}/write.lock", files, machine=hands.machine)
            stack.callback(database.close)
            return database

        yield opened


def anchor_in(connection: Connection) -> Anchor:
    return Anchor(*connection.execute("SELECT boot, uptime, time, wall FROM clock").fetchone())


async def test_a_new_index_notes_when_it_began(opener_by: OpenerBy) -> None:
    hands = Hands()
    database = opener_by(hands)
    assert await database.read(anchor_in) == Anchor("first boot", 1000, 1_700_000_000, 1_700_000_000)
    hands.wait(60)
    other = opener_by(hands)
    assert await other.read(anchor_in) == database.clock.anchor == other.clock.anchor
    assert other.clock.now() == database.clock.now() == 1_700_000_060


async def test_each_boot_goes_on_from_what_was_noted_last(opener_by: OpenerBy) -> None:
    hands = Hands()
    database = opener_by(hands)
    hands.wait(500)
    await database.write(lambda connection: note_time(connection, database.clock.look()))
    noted = await database.read(anchor_in)
    assert noted == Anchor("first boot", 1500, 1_700_000_500, 1_700_000_500)
    hands.boot_again("second boot", off=40)
    again = opener_by(hands)
    assert again.clock.now() == 1_700_000_540
    assert (
        await again.read(anchor_in) == again.clock.anchor == Anchor("second boot", 10, *[1_700_000_540] * 2)
    )


async def test_noting_the_time_changes_nothing_else(database: Database) -> None:
    def change(connection: Connection) -> None:
        connection.execute("UPDATE clock SET marked_in = 'a boot', collected = 7")
        note_time(connection, Anchor("b", 1, 2, 3))
        note_time(connection, Anchor("c", 4, 5, 6))

    await database.write(change)
    found = await database.read(lambda connection: connection.execute("SELECT * FROM clock").fetchall())
    assert found == [(1, "c", 4, 5, 6, "a boot", 7)]


async def test_statements_have_the_time_and_the_tags_of_the_schema(opener_by: OpenerBy) -> None:
    """On every connection: the writer's, both sorts of readers', a scan's."""
    hands = Hands()
    database = opener_by(hands)
    short, foreign = Digest.of(b"x").binary, Digest.parse_any("blake3:abcdef").binary

    def query(connection: Connection) -> tuple[object, ...]:
        sql = "SELECT store_time(), schema_tag(?), schema_tag(?)"
        found: tuple[object, ...] = connection.execute(sql, (short, foreign)).fetchone()
        return found

    for passed in (0, 25):
        hands.wait(passed)
        expected = (1_700_000_000 + passed, f"sha256-{Digest.of(b'x').encoded}", None)
        assert expected[1] == schema_tag(short)
        assert await database.read(query) == expected
        assert await database.read(query, long=True) == expected
        assert await database.write(query) == expected
        with closing(database.scan()) as connection:
            assert query(connection) == expected


# -- other processes -----------------------------------------------------------------------------------

HOLDER = """
import fcntl, os, sqlite3, sys
lock = os.open(sys.argv[1] + "/write.lock", os.O_RDWR)
fcntl.flock(lock, fcntl.LOCK_EX)
connection = sqlite3.connect(sys.argv[1] + "/index.db", isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
connection.execute("INSERT INTO repositories (name) VALUES ('theirs')")
print("held", flush=True)
sys.stdin.read()
connection.execute("COMMIT")
connection.close()
"""


@contextmanager
def another_process_writes(folder: str) -> Iterator[Callable[[], None]]:
    """Gives a function that lets it commit and end."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def let_go() -> None:
        process.communicate(timeout=10)

    try:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield let_go
    finally:
        process.kill()
        process.communicate()


async def test_while_another_process_writes_reads_go_on_and_writes_wait(
    database: Database, folder: str
) -> None:
    await database.write(insert("ours"))
    with another_process_writes(folder) as let_go:
        start = time.monotonic()
        for _ in range(10):
            assert await names(database) == ["ours"]
        assert time.monotonic() - start < 2
        task = asyncio.create_task(database.write(insert("waited")))
        done, _ = await asyncio.wait([task], timeout=0.1)
        assert not done
        assert await names(database) == ["ours"]
        await asyncio.to_thread(let_go)
        assert await asyncio.wait_for(task, 5) == "waited"
    assert await names(database) == ["ours", "theirs", "waited"]


async def test_a_killed_writer_leaves_no_lock_and_no_half_change(database: Database, folder: str) -> None:
    await database.write(insert("ours"))
    with another_process_writes(folder):
        pass
    assert await asyncio.wait_for(database.write(insert("after")), 5) == "after"
    assert await names(database) == ["after", "ours"]


async def test_two_writers_take_turns(opener: Opener) -> None:
    one, other = opener(), opener()
    expected = [f"{number:03}" for number in range(100)]
    await asyncio.gather(
        *((one, other)[number % 2].write(insert(name)) for number, name in enumerate(expected))
    )
    assert await names(one) == await names(other) == expected


# -- the write-ahead log -------------------------------------------------------------------------------


def wal_size(folder: str) -> int:
    return os.path.getsize(f"{folder}/index.db-wal")


def insert_much(connection: Connection) -> str:
    connection.execute("INSERT INTO repositories (name) VALUES (hex(randomblob(?)))", (3 * MIB,))
    return "much"


async def test_a_long_log_is_copied_back(opener: Opener, folder: str) -> None:
    probe = Recorder()
    database = opener(probe=probe)
    await database.write(insert("a"))
    assert wal_size(folder) > 0
    await database.write(insert_much)
    assert wal_size(folder) == 0
    assert os.path.getsize(f"{folder}/index.db") > 6 * MIB
    assert probe.names == ["commit", "commit", "checkpoint"]
    await database.write(insert("b"))
    assert probe.names[3:] == ["commit"]


async def test_a_long_reader_delays_that_without_holding_up_writers(opener: Opener, folder: str) -> None:
    database = opener(durable=False)  # a sync may take seconds
    with closing(database.scan()) as connection:
        connection.execute("BEGIN")
        names_in(connection)
        start = time.monotonic()
        await database.write(insert_much)
        await database.write(insert("a"))
        assert time.monotonic() - start < 4  # the busy time-out would be 5
        assert wal_size(folder) > 4 * MIB
        connection.execute("COMMIT")
    await database.write(insert("b"))
    assert wal_size(folder) == 0


async def test_a_checkpoint_that_fails_fails_no_commit(opener: Opener, folder: str) -> None:
    probe = Recorder()
    database = opener(probe=probe)
    probe.failing[("before", "checkpoint")] = failure(errno.ENOSPC)
    assert await database.write(insert_much) == "much"
    assert wal_size(folder) > 4 * MIB
    timeout = await database.write(lambda connection: connection.execute("PRAGMA busy_timeout").fetchone())
    assert timeout == (5000,)
    probe.failing.clear()
    await database.write(insert("a"))
    assert wal_size(folder) == 0


async def test_a_checkpoint_can_be_asked_for(database: Database, folder: str) -> None:
    await database.write(insert("a"))
    assert wal_size(folder) > 0
    database._files.latch("a test")
    await database.checkpoint()
    assert wal_size(folder) == 0
    await database.write(insert("b"), durable=False)
    assert wal_size(folder) > 0


async def test_a_checkpoint_that_cannot_sync_latches_the_store(opener: Opener) -> None:
    failed = sqlite_error(sqlite3.SQLITE_IOERR_FSYNC)
    database = opener(probe=Recorder({("before", "checkpoint"): failed}))
    assert await database.write(insert_much) == "much"
    with pytest.raises(StoreDegraded):
        await database.write(insert("a"))


async def test_a_log_that_is_gone_is_not_missed(
    database: Database, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os.path, "exists", lambda path: False)
    assert await database.write(insert("a")) == "a"


def test_the_last_to_close_leaves_one_file(folder: str) -> None:
    one, other = open_in(folder), open_in(folder)
    asyncio.run(one.write(insert("a")))
    one.close()
    assert "index.db-wal" in os.listdir(folder)
    other.close()
    assert sorted(os.listdir(folder)) == ["index.db", "write.lock"]


# -- versions ------------------------------------------------------------------------------------------


def version_of(folder: str) -> int:
    with closing(sqlite3.connect(f"{folder}/index.db")) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def test_a_new_index_has_this_programs_version(folder: str) -> None:
    open_in(folder).close()
    assert version_of(folder) == len(module.MIGRATIONS)
    with closing(sqlite3.connect(f"{folder}/index.db")) as connection:
        assert connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)  # INCREMENTAL
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_newer_index_is_refused(folder: str) -> None:
    open_in(folder).close()
    with closing(sqlite3.connect(f"{folder}/index.db")) as connection:
        connection.execute("PRAGMA user_version=99")
    descriptors = len(os.listdir("/dev/fd"))
    with pytest.raises(StoreUnusable, match=r"index version 99, this program knows \d+: use the newer"):
        open_in(folder)
    assert len(os.listdir("/dev/fd")) == descriptors
    assert version_of(folder) == 99


def test_what_is_no_index_is_refused(folder: str) -> None:
    with open(f"{folder}/index.db", "wb") as file:
        file.write(b"no index" * 1000)
    descriptors = len(os.listdir("/dev/fd"))
    with pytest.raises(IndexFailed, match="not a database"):
        open_in(folder)
    assert len(os.listdir("/dev/fd")) == descriptors


@pytest.fixture
def scripts(folder: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that migrations are read from: the first, and more to come."""
    scripts = Path(folder, "scripts")
    scripts.mkdir()
    for name in module.MIGRATIONS:
        shutil.copy(Path(module.__file__).parent / name, scripts)
    monkeypatch.setattr("storage.database.resources.files", lambda package: scripts)
    return scripts


def add_migration(scripts: Path, monkeypatch: pytest.MonkeyPatch, sql: str) -> None:
    (scripts / "next.sql").write_text(sql)
    monkeypatch.setattr(module, "MIGRATIONS", (*module.MIGRATIONS, "next.sql"))


async def test_an_older_index_is_brought_forward_with_its_rows(
    folder: str, scripts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(open_in(folder)) as database:
        await database.write(insert("a"))
    old = version_of(folder)
    add_migration(scripts, monkeypatch, "ALTER TABLE repositories ADD COLUMN note TEXT DEFAULT 'new';")
    for _ in range(2):
        with closing(open_in(folder)) as database:
            rows = await database.read(
                lambda connection: connection.execute("SELECT name, note FROM repositories").fetchall()
            )
            assert rows == [("a", "new")]
    assert version_of(folder) == old + 1


def test_a_migration_that_fails_changes_nothing(
    folder: str, scripts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_in(folder).close()
    old = version_of(folder)
    with monkeypatch.context() as patch:
        add_migration(scripts, patch, "CREATE TABLE half (a); CREATE TABLE repositories (a);")
        with pytest.raises(IndexFailed, match="already exists"):
            open_in(folder)
    assert version_of(folder) == old
    with closing(open_in(folder)) as database, closing(database.scan()) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE name = 'half'").fetchall()
        assert tables == []


def test_many_may_open_a_new_index_at_once(folder: str) -> None:
    opened: list[Database] = []
    threads = [threading.Thread(target=lambda: opened.append(open_in(folder))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 8
    for database in opened:
        database.close()
