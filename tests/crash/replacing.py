"""A damaged index replaced by `registry reindex`, killed or failed at each call: none starts on half."""

import errno
import json
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from functools import partial

from registry.reindex import READER
from storage.errors import IndexFailed, StorageError, StoreUnusable
from storage.files import Files, Probe
from storage.layout import Layout
from storage.reindex import reindex
from storage.store import open_store
from tests.crash.arena import ACKED, Arena, make_arena
from tests.crash.children import Say, die, run_in_child
from tests.crash.evidence import Names, look, names_in
from tests.crash.faults import at, fail, record
from tests.crash.sweep import Report, count_calls

_DAMAGE = b"no index"
_BESIDE = ("index.db.new", "index.db.bad-", "degraded")  # what a replacement leaves, or has put aside


def replace_everywhere(folder: str) -> Report:
    arena = make_arena(os.path.join(folder, f"replacing-{os.getpid()}"), closed=True)
    events, after = _rehearse(arena, folder)
    report = Report("replace a damaged index", count_calls(events))
    for number, event in enumerate(events):
        _damage(arena)
        end = run_in_child(partial(_run, arena, folder, at(number, die)))
        problems = [] if end.signal == signal.SIGKILL else [f"ended by {end}"]
        report.note(f"killed {event}", problems + list(_problems(arena, folder, after, acked=False)))
        _damage(arena)
        end = run_in_child(partial(_run, arena, folder, at(number, fail(errno.EIO))))
        with suppress(FileNotFoundError):
            os.unlink(Layout(arena.root).degraded)  # as `fsck --repair` does
        acked = end.said == ACKED
        report.note(f"EIO {event}", list(_problems(arena, folder, after, acked=acked)), acked=acked)
    return report


def _damage(arena: Arena) -> None:
    for name in os.listdir(arena.root):
        if name.startswith("index.db"):
            os.unlink(f"{arena.root}/{name}")
    arena.restore()
    for suffix in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            os.unlink(f"{arena.root}/index.db{suffix}")
    with open(f"{arena.root}/index.db", "r+b") as file:
        file.write(_DAMAGE)


def _run(arena: Arena, folder: str, probe: Probe | None, say: Say) -> None:
    tempfile.tempdir = folder
    layout = Layout(arena.root)
    try:
        reindex(layout, Files(layout.degraded, probe=probe), READER, into="found")
    except (OSError, StorageError):
        return
    say(ACKED)


def _rehearse(arena: Arena, folder: str) -> tuple[list[str], Names]:
    def act(say: Say) -> None:
        events: list[str] = []
        _run(arena, folder, record(events, arena.root), lambda _: None)
        say(json.dumps(events).encode())

    _damage(arena)
    events: list[str] = json.loads(run_in_child(act).said)
    after = names_in(arena.root)
    assert len(after.manifests) >= len(arena.before.names.manifests)
    return events, after


def _problems(arena: Arena, folder: str, after: Names, *, acked: bool) -> Iterator[str]:
    """Nothing or all of it; the same command once more; and the old index is still there to be looked at."""
    opened = run_in_child(partial(_open, arena)).said
    if opened not in (b"refused", b"opened"):
        yield "the next start fails"
    if opened == b"opened" and names_in(arena.root) != after:
        yield "a server starts on half of it"
    if acked and opened != b"opened":
        yield "it said that all went well"
    if opened != b"opened" and run_in_child(partial(_run, arena, folder, None)).said != ACKED:
        yield "repeating it failed"
        return
    seen = look(arena.root)
    yield from (problem for problem in seen.problems if not problem.startswith(_BESIDE))
    if seen.names != after:
        yield "repeated, it has other names"
    if not any(_is_damaged(f"{arena.root}/{name}") for name in os.listdir(arena.root) if ".bad-" in name):
        yield "the old index is gone"


def _open(arena: Arena, say: Say) -> None:
    try:
        open_store(arena.root).close()
    except (StoreUnusable, IndexFailed):
        say(b"refused")
    else:
        say(b"opened")


def _is_damaged(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read(len(_DAMAGE)) == _DAMAGE
