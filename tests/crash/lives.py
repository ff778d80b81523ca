"""A root's whole life in one record, from the first start on: the power may fail anywhere in it."""

import asyncio
import json
import os
import pickle
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial

from storage.digest import Digest
from storage.errors import DigestMismatch, StorageError
from storage.layout import Layout
from storage.store import Store, open_store
from tests.crash import verdict
from tests.crash.arena import ACKED, add_files, reboot, write_files
from tests.crash.children import Say, die, run_in_child
from tests.crash.evidence import Names, Seen, look, names_in
from tests.crash.operations import OPERATIONS, PART, WHOLE, Operation, Verb, World, chunk, prepare
from tests.crash.recorder import Recorder
from tests.crash.replay import State, states
from tests.crash.sweep import Mutant, Report
from tests.crash.syscalls import read_calls, trace
from tests.crash.volatile import History

_AGES = 2  # processes that follow each other; each but the last closes the root


async def _prepare(world: World) -> None:
    await prepare(world)


_STEPS = [Operation(_prepare, _prepare), *OPERATIONS.values()]


def _verbs(age: int) -> list[Verb]:
    steps = _STEPS[age * len(_STEPS) // _AGES : (age + 1) * len(_STEPS) // _AGES]
    return [step.run for step in steps]


def lose_unsynced_of_a_life(
    folder: str, number: int, seed: int, seconds: float, mutant: Mutant = nullcontext
) -> Report:
    """Judge `number` states, or those that there is time for."""
    with mutant():
        return _judge_all(folder, number, seed, seconds, stop_at_first=mutant is not nullcontext)


def _judge_all(folder: str, number: int, seed: int, seconds: float, *, stop_at_first: bool) -> Report:
    base = tempfile.mkdtemp(prefix="life-", dir=folder)
    end = time.monotonic() + seconds
    history, names = _live(f"{base}/root", f"{base}.strace")
    report = Report("a life", history.calls)
    for state in states(history, number, random.Random(f"{seed}/life")):
        _restore(f"{base}/root", state)
        problems = _problems(f"{base}/root", _legal(names, state.answered))
        report.note(state.label, problems, acked=state.answered > 0)
        if time.monotonic() > end or (problems and stop_at_first):
            break
    return report


def _live(root: str, log: str) -> tuple[History, list[Names]]:
    """The record, and the names after each answer."""
    recorder = Recorder(os.path.dirname(root), {}, [os.path.dirname(root)])
    names: list[Names] = []
    for age in range(_AGES):
        verbs = _verbs(age)
        end = trace(partial(_age, root, verbs, age < _AGES - 1), log)
        assert end.signal == signal.SIGKILL, end
        recorder.add(read_calls(log))
        names += pickle.loads(end.said.removeprefix(ACKED * len(verbs)))
    assert len(recorder.history.answers) == len(names), "the record lacks answers"
    return recorder.history, names


def _age(root: str, verbs: Sequence[Verb], closes: bool, say: Say) -> None:
    store = open_store(root)
    names: list[Names] = []

    async def main() -> None:
        for verb in verbs:
            session = await World(store).uploads().begin()
            await World(store).uploads().append(session, chunk(PART))
            with suppress(StorageError):  # some have nothing left to act on
                await verb(World(store, session))
            say(ACKED)
            names.append(names_in(root))

    asyncio.run(main())
    if closes:
        store.close()
    say(pickle.dumps(names))
    die()


def _restore(root: str, state: State) -> None:
    folders = [path for path in state.contents if path.endswith("/")]
    files = {path: each for path, each in state.contents.items() if not path.endswith("/")}
    whole = len(folders) == len(Layout(root).folders()) + 1
    if not whole:
        shutil.rmtree(root, ignore_errors=True)
    for folder in folders:
        os.makedirs(folder, 0o700, exist_ok=True)
    if whole:  # most are: to make all folders anew for each costs as much as the rest
        write_files(root, files)
    else:
        add_files(files)


@dataclass(frozen=True, slots=True)
class _Legal:
    """Names before and after the step that a cut has interrupted; `gradual`: also what is between them."""

    before: Names
    after: Names
    gradual: bool

    def has(self, found: Names) -> bool:
        if self.gradual and verdict.is_between(found, self.before, self.after):
            return True
        return found in (self.before, self.after)


def _legal(names: Sequence[Names], answered: int) -> _Legal | None:
    """None before the first answer: until then anything may be there."""
    if not answered:
        return None
    if answered == len(names):
        return _Legal(names[-1], names[-1], gradual=False)
    return _Legal(names[answered - 1], names[answered], _STEPS[answered].gradual)


def _problems(root: str, legal: _Legal | None) -> list[str]:
    """The next server starts without a manual step, and finds names that are legal."""

    def act(say: Say) -> None:
        reboot()
        store = open_store(root)
        seen = look(root)
        problems = asyncio.run(_use(World(store), seen))
        if legal and not legal.has(seen.names):
            problems.append(f"acknowledged, but {verdict.difference(seen.names, legal.before)}")
        store.close()
        say(json.dumps([*problems, *look(root).problems]).encode())

    found: list[str] = json.loads(run_in_child(act).said or b'["the next start fails"]')
    return found


async def _use(world: World, seen: Seen) -> list[str]:
    problems = await verdict.unsound(world, seen)
    for session in seen.sessions:  # their bytes may be anything: what is made a blob of them may not
        with suppress(DigestMismatch):
            repository = await _repository(world.store, session)
            await world.uploads(repository).finish(session, Digest.of(PART), chunk())
    await world.uploads("used").push(Digest.of(WHOLE), chunk(WHOLE))
    await world.registry.expire_uploads(verdict.EVERY)
    return problems


async def _repository(store: Store, session: str) -> str:
    """Where an upload goes: a push in one request that was cut off leaves one too."""
    sql = "SELECT repository FROM uploads WHERE id = ?"
    ((found,),) = await store.database.read(lambda connection: connection.execute(sql, (session,)).fetchall())
    return str(found)
