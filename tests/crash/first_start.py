"""The first start of a root: killed or failed at each call, over and over on what the last try left."""

import asyncio
import errno
import json
import os
import shutil
import signal
from contextlib import suppress
from functools import partial

from storage.digest import Digest
from storage.errors import StorageError, StoreDegraded
from storage.layout import Layout
from storage.store import Store, open_store
from tests.crash.arena import ACKED
from tests.crash.children import Say, die, die_at_file_size, run_in_child
from tests.crash.evidence import look
from tests.crash.faults import at, fail, record
from tests.crash.operations import FRESH, World, chunk
from tests.crash.sweep import Report, count_calls

_SAMPLE = 64  # a whole start needs a copy of the tree: one state in 32 gets it while the folders are made
_LIMIT_STEP = 4111  # bytes: a little more than a page, so that each death is at another place in one
_MADE_LAST = ("index.db", "index.db-wal", "index.db-shm", "index.db-journal", "format", "format.new")


def _rehearse(root: str) -> list[str]:
    def act(say: Say) -> None:
        events: list[str] = []
        open_store(root, probe=record(events, root)).close()
        say(json.dumps(events).encode())

    found: list[str] = json.loads(run_in_child(act).said)
    return found


def _begin_of_tail(events: list[str]) -> int:
    """Where the folders are all made: from there on each try begins with no root at all."""
    return next(n for n, event in enumerate(events) if event.startswith("before fsync"))


def kill_first_starts(folder: str) -> Report:
    """While folders are made, each start dies one call later than the one before, on whose remains it began.

    The state after a call is the state before the next one, so that one death stands for both sides.
    """
    root, copy = os.path.join(folder, "killed"), os.path.join(folder, "copy")
    events = _rehearse(os.path.join(folder, "whole"))
    report = Report("first start", count_calls(events))
    tail = _begin_of_tail(events)
    for number, event in enumerate(events):
        if event.startswith("before") and 0 < number < tail:
            continue
        if number >= tail:
            shutil.rmtree(root)
        end = run_in_child(partial(_start_and_die, root, number))
        problems = [] if end.signal == signal.SIGKILL else [f"ended by {end}"]
        problems += _half_made_problems(root)
        if number >= tail or number % _SAMPLE < 2:
            shutil.rmtree(copy, ignore_errors=True)
            if os.path.exists(root):
                shutil.copytree(root, copy)
            problems += _start_problems(copy)
        report.note(f"killed {event}", problems)
    _kill_in_the_index(os.path.join(folder, "whole"), report)
    return report


def _start_and_die(root: str, number: int, _: Say) -> None:
    open_store(root, probe=at(number, die))


def _kill_in_the_index(root: str, report: Report) -> None:
    """Die within SQLite's writes of the new index."""
    for limit in range(0, 2 * os.path.getsize(os.path.join(root, "index.db")), _LIMIT_STEP):
        for name in _MADE_LAST:
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(root, name))
        end = run_in_child(partial(_start_and_die_in_a_write, root, limit))
        problems = [] if end.signal in (signal.SIGKILL, signal.SIGXFSZ) else [f"ended by {end}"]
        problems += _start_problems(root)
        report.note(f"killed where a file would pass {limit} bytes", problems, acked=end.said == ACKED)


def _start_and_die_in_a_write(root: str, limit: int, say: Say) -> None:
    die_at_file_size(limit)
    open_store(root)
    say(ACKED)
    die()


def _half_made_problems(root: str) -> list[str]:
    """The format file has its name only when all that it speaks for is there."""
    layout = Layout(root)
    if not os.path.exists(layout.format):
        return []
    missing = [path for path in (*layout.folders(), layout.index) if not os.path.exists(path)]
    return [f"the format file is there, {missing[:3]} are not"] if missing else []


def _start_problems(root: str) -> list[str]:
    """A start without a manual step, and the store works."""

    def act(say: Say) -> None:
        store = open_store(root)
        asyncio.run(_use(store))
        store.close()
        say(json.dumps(look(root).problems).encode())

    found: list[str] = json.loads(run_in_child(act).said or b'["the next start fails"]')
    return found


async def _use(store: Store) -> None:
    world = World(store)
    await world.uploads().push(Digest.of(FRESH), chunk(FRESH))
    await world.app.blob_size(Digest.of(FRESH))


def fail_first_starts(folder: str) -> Report:
    """Each call fails once, in starts that follow each other on one root; then one that is left alone."""
    events = _rehearse(os.path.join(folder, "undisturbed"))
    report = Report("first start", count_calls(events))
    tail = _begin_of_tail(events)
    root = os.path.join(folder, "failed")

    def act(say: Say) -> None:
        found = [_problems_of_failing(root, number, tail) for number in range(len(events))]
        say(json.dumps([found, _repair(root)]).encode())

    found, last = json.loads(run_in_child(act).said or b'[[], ["the process ended"]]')
    for event, problems in zip(events, found, strict=False):
        report.note(event, problems)
    report.problems += last
    return report


def _problems_of_failing(root: str, number: int, tail: int) -> list[str]:
    if number >= tail:
        shutil.rmtree(root)
    code = (errno.EIO, errno.ENOSPC)[number // 2 % 2]
    try:
        open_store(root, probe=at(number, fail(code))).close()
    except (OSError, StorageError):
        return _half_made_problems(root)
    return ["the start said that all went well"]


def _repair(root: str) -> list[str]:
    """After a failed fsync the store starts, takes nothing until the latch is off, and works then."""
    shutil.rmtree(root)
    events = _rehearse(root)
    shutil.rmtree(root)
    with suppress(StorageError):
        open_store(root, probe=at(_begin_of_tail(events), fail(errno.EIO)))
    store = open_store(root)
    problems = []
    try:
        asyncio.run(_use(store))
        problems.append("a degraded store took a write")
    except StoreDegraded:
        store.files.unlatch()
    asyncio.run(_use(store))
    store.close()
    return [*problems, *look(root).problems]
