"""Backups and restores, killed or failed at each call: the folder's state is its old one or the new one."""

import asyncio
import errno
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from unittest.mock import patch

from registry.names import Tag
from storage.backup import backup, restore
from storage.database import Connection
from storage.digest import Digest
from storage.errors import StorageError, StoreUnusable
from storage.files import Files, Probe
from storage.layout import Layout
from storage.store import Store, open_store
from tests.builders import OCI_IMAGE
from tests.crash.arena import ACKED, Contents, read_files, write_files
from tests.crash.children import Say, die, die_at_file_size, run_in_child
from tests.crash.evidence import Names, look
from tests.crash.faults import at, fail, record
from tests.crash.operations import FRESH, LONE, NEW, World, chunk, prepare
from tests.crash.sweep import Report, count_calls

_SAMPLE = 64
_LIMIT_STEP = 16_411  # bytes: a little more than four pages
_BEGUN = {
    "gc.lock",
    "evict.lock",
    "lost+found",
    "origin.new",
}  # with nothing else, a folder is as good as new


@dataclass(frozen=True, slots=True)
class Copying:
    """`act` fills `target`, which begins with `contents`, and is absent if there are none."""

    name: str
    target: Layout
    act: Callable[[Files], object]
    contents: Contents
    before: Names | None
    after: Names

    def reset(self) -> None:
        if self.contents:
            write_files(self.target.root, self.contents)
        else:
            shutil.rmtree(self.target.root, ignore_errors=True)

    def run(self, probe: Probe | None = None) -> None:
        with patch("storage.filling._THREADS", 1):  # so that the calls come in the same order each time
            self.act(Files(self.target.degraded, probe=probe))


def _fill(root: Layout) -> None:
    with closing(open_store(root.root)) as store:
        asyncio.run(prepare(World(store)))


def _change(root: Layout) -> None:
    """Content that is new, moved and gone."""

    async def change(store: Store) -> None:
        world = World(store)
        await world.app.put_manifest(Tag("stable"), NEW, OCI_IMAGE)
        await world.uploads().push(Digest.of(FRESH), chunk(FRESH))
        await world.app.delete_manifest(Digest.of(LONE))
        await store.database.write(_forget)

    def _forget(connection: Connection) -> None:
        connection.execute("DELETE FROM blobs WHERE digest = ?", (Digest.of(LONE).binary,))

    with closing(open_store(root.root)) as store:
        asyncio.run(change(store))


def _in_child(act: Callable[[], object]) -> None:
    """What starts threads: this process has to stay without."""

    def call(_: Say) -> None:
        act()

    assert run_in_child(call).code == 0


COPIES = ("first backup", "next backup", "restore")


def _set_stage(folder: str, name: str) -> Copying:
    root, kept = Layout(f"{folder}/root"), Layout(f"{folder}/backup")

    def back_up(files: Files) -> object:
        return backup(root, kept, files, copy=name == "first backup")

    _in_child(partial(_fill, root))
    if name == "first backup":
        return Copying(name, kept, back_up, {}, None, look(root.root).names)
    _in_child(lambda: back_up(Files(kept.degraded)))
    if name == "restore":
        again = Layout(f"{folder}/again")
        return Copying(name, again, partial(restore, kept, again), {}, None, look(root.root).names)
    contents, before = read_files(kept.root), look(root.root).names
    _in_child(partial(_change, root))
    after = look(root.root).names
    assert after != before
    return Copying(name, kept, back_up, contents, before, after)


def _rehearse(copying: Copying) -> tuple[list[str], set[str]]:
    """The events, and the files that there are in the end."""

    def act(say: Say) -> None:
        events: list[str] = []
        copying.run(record(events, copying.target.root))
        say(json.dumps(events).encode())

    copying.reset()
    events: list[str] = json.loads(run_in_child(act).said)
    return events, set(read_files(copying.target.root))


def _chosen(events: list[str]) -> Iterator[int]:
    """Every call before it acts, but few of those that make the folders, each like the one before."""
    for number, event in enumerate(events):
        if event.startswith("before") and ("mkdir" not in event or number % _SAMPLE < 2):
            yield number


def kill_copies(folder: str, name: str) -> Report:
    """The state after a call is that before the next one, so that one death stands for both."""
    copying = _set_stage(tempfile.mkdtemp(dir=folder), name)
    events, files = _rehearse(copying)
    report = Report(name, count_calls(events))
    deaths = [
        (f"killed {events[number]}", partial(_run_to_death, copying, number)) for number in _chosen(events)
    ]
    size = os.path.getsize(copying.target.index)
    deaths += [
        (f"killed where a file would pass {limit} bytes", partial(_run_to_limit, copying, limit))
        for limit in range(_LIMIT_STEP // 4, size, _LIMIT_STEP)
    ]
    for label, act in deaths:
        copying.reset()
        end = run_in_child(act)
        problems = [] if end.signal in (signal.SIGKILL, signal.SIGXFSZ) else [f"ended by {end}"]
        report.note(label, problems + _problems(copying, files), acked=end.said == ACKED)
    return report


def _run_to_death(copying: Copying, number: int, _: Say) -> None:
    copying.run(at(number, die))


def _run_to_limit(copying: Copying, limit: int, say: Say) -> None:
    die_at_file_size(limit)
    copying.run()
    say(ACKED)
    die()


def fail_copies(folder: str, name: str) -> Report:
    copying = _set_stage(tempfile.mkdtemp(dir=folder), name)
    events, files = _rehearse(copying)
    report = Report(name, count_calls(events))
    for number in _chosen(events):
        code = (errno.EIO, errno.ENOSPC)[number // 2 % 2]
        copying.reset()
        end = run_in_child(partial(_run_to_failure, copying, number, code))
        problems = [f"ended by {end}"] if end.signal or end.code else []
        if end.said == ACKED and look(copying.target.root).names != copying.after:
            problems.append("it said that all went well")
        with suppress(FileNotFoundError):
            os.unlink(copying.target.degraded)  # as `fsck --repair` does
        label = f"{errno.errorcode[code]} {events[number]}"
        report.note(label, problems + _problems(copying, files), acked=end.said == ACKED)
    return report


def _run_to_failure(copying: Copying, number: int, code: int, say: Say) -> None:
    try:
        copying.run(at(number, fail(code)))
    except (OSError, StorageError):
        return
    say(ACKED)


def _problems(copying: Copying, files: set[str]) -> list[str]:
    """The old state or the new one, and nothing that claims to be either; then the same command once more."""
    root = copying.target.root
    finished = os.path.exists(copying.target.format)
    problems = list(_state_problems(copying)) if finished else _half_made_problems(copying.target)
    if copying.name != "restore" or not finished:
        end = run_in_child(partial(_run_again, copying))
        problems += [f"repeating it ended by {end}"] if end.code or end.signal else []
        if set(read_files(root)) != files:
            problems.append(f"repeated, it left {set(read_files(root)) ^ files}")
    seen = look(root)
    problems += seen.problems
    return problems if seen.names == copying.after else [*problems, "repeated, it has other names"]


def _run_again(copying: Copying, _: Say) -> None:
    copying.run()


def _state_problems(copying: Copying) -> Iterator[str]:
    seen = look(copying.target.root)
    yield from (problem for problem in seen.problems if not problem.startswith("index.db.new"))
    if seen.names not in (copying.before, copying.after):
        yield "half of it can be seen"


def _half_made_problems(target: Layout) -> list[str]:
    """No server starts on it."""
    if not os.path.exists(target.root) or set(os.listdir(target.root)) <= _BEGUN:
        return []

    def act(say: Say) -> None:
        try:
            open_store(target.root).close()
        except StoreUnusable as error:
            say(str(error).encode())

    said = run_in_child(act).said.decode()
    return [] if "unfinished copy" in said else [f"a half-made folder was opened: {said}"]
