"""One operation whose calls fail, or whose file goes away, in a process that lives on."""

import asyncio
import errno
import json
import os
import resource
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial

from storage.digest import Digest
from storage.errors import IndexFailed, StorageError, StoreDegraded, StoreFull
from storage.store import Store, open_store
from tests.crash import verdict
from tests.crash.children import Say, run_in_child
from tests.crash.faults import Switch, fail, remove
from tests.crash.operations import BASE, FRESH, World, chunk
from tests.crash.sweep import (
    Disturbance,
    Found,
    Main,
    Mutant,
    Rehearsal,
    Report,
    Stage,
    answer,
    planned,
    run_verb,
    set_stage,
    sweep,
)


def fail_everywhere(folder: str, name: str, mutant: Mutant = nullcontext) -> Report:
    """Make each call fail, without having acted and after it has, and go on in the same process."""
    stage = set_stage(folder, name, mutant)
    return sweep(stage, _failures(stage.rehearsal), _fail)


def _failures(rehearsal: Rehearsal) -> Iterator[Disturbance]:
    for number, event in enumerate(rehearsal.events):
        for code in (errno.EIO, errno.ENOSPC) if event.startswith("before") else (errno.EIO,):
            yield f"{errno.errorcode[code]} {event}", *planned(number, fail(code))
    for limit in rehearsal.limits:
        yield _efbig(limit), partial(_limit_files, limit), Switch()


def _efbig(limit: int) -> str:
    return f"EFBIG past {limit} bytes"


def _limit_files(limit: int) -> None:
    """The kernel refuses writes past it (Python ignores the signal that comes with that)."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))


def _fail(stage: Stage, disturbance: Disturbance) -> Found:
    label, arrange, switch = disturbance
    # Copying the WAL back is not vital: the commit before it stands, whatever becomes of it.
    may_be_silent = stage.operation.checkpoints and ("checkpoint" in label or "EFBIG" in label)
    root = stage.arena.root

    async def main(store: Store) -> Found:
        problems, acked = [], False
        arrange()
        try:
            await run_verb(stage.disturbed, store, stage.arena)
            acked = True
            if not may_be_silent and label not in _out_of_reach(root, stage.rehearsal.limits):
                problems.append("the verb said that all went well")
        except (StoreFull, StoreDegraded, IndexFailed, OSError):
            pass
        switch.clear()
        _limit_files(resource.RLIM_INFINITY)
        degraded = os.path.exists(store.layout.degraded)
        if degraded:
            problems += await _degraded_problems(store)
        return problems + await _go_on(stage, store, acked=acked, distrusted=degraded), acked

    return _in_one_process(stage, switch, main)


def _out_of_reach(root: str, limits: range) -> set[str]:
    """A rehearsal may come to a frame more than the case; a limit that was met has cut a file there."""
    files = [os.path.join(root, name) for name in ("index.db", "index.db-wal")]
    longest = max(os.path.getsize(file) for file in files if os.path.exists(file))
    return {_efbig(limit) for limit in limits if limit > longest}


async def _degraded_problems(store: Store) -> list[str]:
    """Reads go on and writes are refused; then the latch is taken off, as `fsck --repair` does."""
    world = World(store)
    await world.app.blob_size(Digest.of(BASE))
    try:
        await world.uploads().push(Digest.of(FRESH), chunk(FRESH))
    except StoreDegraded:
        store.files.unlatch()
        return []
    return ["a degraded store took a write"]


def remove_everywhere(folder: str, name: str, data: bytes, mutant: Mutant = nullcontext) -> Report:
    """Take the file of `data` away before each event up to the last commit, as a collector may do."""
    stage = set_stage(folder, name, mutant)
    digest, events = Digest.of(data), stage.rehearsal.events
    path = os.path.join(stage.arena.root, "blobs", digest.algorithm, digest.encoded[:2], digest.encoded)
    commit = max(number for number, event in enumerate(events) if event.startswith("before commit"))
    removals = ((f"file gone {events[n]}", *planned(n, remove(path))) for n in range(commit))
    return sweep(stage, removals, _remove)


def _remove(stage: Stage, disturbance: Disturbance) -> Found:
    _, arrange, switch = disturbance

    async def main(store: Store) -> Found:
        arrange()
        try:
            await run_verb(stage.disturbed, store, stage.arena)
            acked = True
        except StorageError:
            acked = False
        switch.clear()
        return await _go_on(stage, store, acked=acked), acked

    return _in_one_process(stage, switch, main)


async def _go_on(stage: Stage, store: Store, *, acked: bool, distrusted: bool = False) -> list[str]:
    arena, operation, after = stage.arena, stage.operation, stage.rehearsal.after
    return await verdict.go_on(store, arena, operation, after, acked=acked, distrusted=distrusted)


def _in_one_process(stage: Stage, switch: Switch, main: Main) -> Found:
    """The disturbed operation and all that follows it, in one child."""

    def act(say: Say) -> None:
        store = open_store(stage.arena.root, probe=switch)
        problems, acked = asyncio.run(main(store))
        say(json.dumps([problems + verdict.close(store, stage.rehearsal.after), acked]).encode())

    return answer(run_in_child(act).said)
