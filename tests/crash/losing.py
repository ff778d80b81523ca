"""A blob whose file is bad is read: ended, or made to fail, at each call that takes its name away."""

import asyncio
import errno
import json
import os
import signal
from collections.abc import Iterator
from contextlib import suppress

from registry.fsck import read
from storage.check import check
from storage.digest import Digest
from storage.errors import BlobMissing
from storage.files import Probe
from storage.store import Store, open_store
from tests.crash.arena import Arena, make_arena
from tests.crash.children import Say, die, run_in_child
from tests.crash.evidence import look
from tests.crash.faults import Switch, at, fail, record
from tests.crash.operations import BASE, World, chunk
from tests.crash.sweep import Report, count_calls

_BASE = Digest.of(BASE)


def lose_everywhere(folder: str) -> Report:
    arena = make_arena(os.path.join(folder, f"losing-{os.getpid()}"), closed=False)
    events = _rehearse(arena)
    report = Report("lose a bad blob", count_calls(events))
    for number, event in enumerate(events):
        _spoil(arena)
        report.note(f"killed {event}", list(_killed(arena, number)))
        _spoil(arena)
        report.note(f"EIO {event}", _failed(arena, number))
    return report


def _spoil(arena: Arena) -> None:
    arena.restore()
    path = f"{arena.root}/blobs/sha256/{_BASE.encoded[:2]}/{_BASE.encoded}"
    os.chmod(path, 0o600)
    with open(path, "wb") as file:
        file.write(BASE[:-1])
    os.chmod(path, 0o400)


def _rehearse(arena: Arena) -> list[str]:
    _spoil(arena)

    def act(say: Say) -> None:
        events: list[str] = []
        asyncio.run(_read(_opened(arena, record(events, arena.root))))
        say(json.dumps(events).encode())
        die()

    found: list[str] = json.loads(run_in_child(act).said)
    return found


def _opened(arena: Arena, plan: Probe) -> Store:
    """Opening it is no part of a case."""
    switch = Switch()
    store = open_store(arena.root, probe=switch)
    switch.set(plan)
    return store


async def _read(store: Store) -> list[str]:
    """Whatever becomes of the name, the answer is that the blob is not here."""
    try:
        await World(store).app.blob_size(_BASE)
    except BlobMissing:
        return []
    return ["bad bytes were served"]


def _killed(arena: Arena, number: int) -> Iterator[str]:
    def read_and_die(_: Say) -> None:
        asyncio.run(_read(_opened(arena, at(number, die))))

    end = run_in_child(read_and_die)
    if end.signal != signal.SIGKILL:
        yield f"ended by {end}"
    yield from (problem for problem in look(arena.root).problems if problem.endswith("has no file"))

    def go_on(say: Say) -> None:
        say(json.dumps(asyncio.run(_heal(open_store(arena.root)))).encode())

    yield from json.loads(run_in_child(go_on).said or b'["the next process could not go on"]')


def _failed(arena: Arena, number: int) -> list[str]:
    def act(say: Say) -> None:
        store = _opened(arena, at(number, fail(errno.EIO)))

        async def main() -> list[str]:
            problems = await _read(store)
            with suppress(FileNotFoundError):
                store.files.unlatch()  # as fsck does, once it has read all
            return problems + await _heal(store)

        say(json.dumps(asyncio.run(main())).encode())

    found: list[str] = json.loads(run_in_child(act).said or b'["the process could not go on"]')
    return found


async def _heal(store: Store) -> list[str]:
    """A repair, then a push, and all is as it was."""
    problems = await _read(store)
    await check(store, read=read, repair=True)
    await World(store).uploads("lib").push(_BASE, chunk(BASE))
    report = await check(store, read=read)
    problems += [f"{finding.kind} {finding.subject}: {finding.message}" for finding in report.findings]
    if await World(store).app.blob_size(_BASE) != len(BASE):
        problems.append("a push did not heal it")
    return [*problems, *look(store.layout.root).problems]
