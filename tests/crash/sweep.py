"""One operation, ended at each of its file-system calls in turn, and what is found afterwards.

Sweeps run in processes without threads (tests/crash/conftest.py starts them), because they fork.
"""

import asyncio
import json
import os
import signal
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cache, partial

from storage.store import Store, open_store
from tests.crash import verdict
from tests.crash.arena import ACKED, Arena, make_arena, perform, reboot
from tests.crash.children import Say, die, die_at_file_size, run_in_child
from tests.crash.evidence import Seen, look
from tests.crash.faults import FRACTIONS, Switch, at, record, tear
from tests.crash.operations import OPERATIONS, Operation, World

_LIMIT_STEP = 4243  # bytes: a little more than a frame of the WAL, so that each limit cuts one elsewhere
_SHM = 32768  # bytes of index.db-shm: below them no process could open the index

Found = tuple[list[str], bool]
"""What was wrong after a case, and whether the operation had been acknowledged."""

Arrange = Callable[[], None]
Disturbance = tuple[str, Arrange, Switch]
"""What to call it, what to do just before the operation, and the probe that then acts."""

Mutant = Callable[[], AbstractContextManager[object]]
Main = Callable[[Store], Coroutine[object, object, Found]]


@dataclass(slots=True)
class Report:
    """What a sweep saw: `cases` operations disturbed, `acked` of them after the verb had returned."""

    operation: str
    calls: int
    cases: int = 0
    acked: int = 0
    problems: list[str] = field(default_factory=list)

    def note(self, label: str, problems: Sequence[str], *, acked: bool = False) -> None:
        self.cases += 1
        self.acked += acked
        self.problems += [f"{self.operation}, {label}: {problem}" for problem in problems]


Sweep = Callable[..., Report]
"""Takes a folder to work in, and then what it sweeps over."""

Submit = Callable[..., Future[Report]]
"""Takes a sweep, and its arguments without the folder."""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """The undisturbed operation: its events (each call has two, one on each side) and what it comes to.

    `limits` are file sizes that only SQLite's writes go past.
    """

    events: list[str]
    after: Seen
    limits: range


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that a sweep needs; in `disturbed` a mutant's rule is broken while the verb runs."""

    name: str
    arena: Arena
    operation: Operation
    disturbed: Operation
    rehearsal: Rehearsal
    stop_at_first: bool


def count_calls(events: Sequence[str]) -> int:
    return sum(event.startswith("before") for event in events)


def set_stage(folder: str, name: str, mutant: Mutant) -> Stage:
    return stage_in(_arena_in(folder, closed=OPERATIONS[name].checkpoints), name, mutant)


def stage_in(arena: Arena, name: str, mutant: Mutant) -> Stage:
    operation = OPERATIONS[name]

    async def run(world: World) -> None:
        with mutant():
            await operation.run(world)

    return Stage(
        name,
        arena,
        operation,
        replace(operation, run=run),
        _rehearse(arena, operation),
        stop_at_first=mutant is not nullcontext,
    )


@cache
def _arena_in(folder: str, *, closed: bool) -> Arena:
    return make_arena(os.path.join(folder, f"root-{os.getpid()}-{closed}"), closed=closed)


def _rehearse(arena: Arena, operation: Operation) -> Rehearsal:
    arena.restore()
    wal, database = (os.path.join(arena.root, name) for name in ("index.db-wal", "index.db"))
    start = max(_SHM, os.path.getsize(wal) if os.path.exists(wal) else 0)

    def act(say: Say) -> None:
        events: list[str] = []
        switch = Switch()
        store = open_store(arena.root, probe=switch)
        switch.set(record(events, arena.root))
        asyncio.run(run_verb(operation, store, arena))
        say(json.dumps(events).encode())
        die()

    end = run_in_child(act)
    assert end.said, "the operation does not work even undisturbed"
    longest = max(os.path.getsize(wal), os.path.getsize(database))
    return Rehearsal(json.loads(end.said), look(arena.root), range(start + 1, longest, _LIMIT_STEP))


async def run_verb(operation: Operation, store: Store, arena: Arena) -> None:
    await operation.run(World(store, arena.session))


def sweep(
    stage: Stage, disturbances: Iterable[Disturbance], case: Callable[[Stage, Disturbance], Found]
) -> Report:
    report = Report(stage.name, count_calls(stage.rehearsal.events))
    for disturbance in disturbances:
        stage.arena.restore()
        problems, acked = case(stage, disturbance)
        report.note(disturbance[0], problems, acked=acked)
        if report.problems and stage.stop_at_first:
            break
    return report


def planned(event: int, act: Callable[[], None]) -> tuple[Arrange, Switch]:
    switch = Switch()
    return partial(switch.set, at(event, act)), switch


def answer(said: bytes) -> Found:
    """What a child said as JSON."""
    problems, acked = json.loads(said or b'[["the process could not go on"], false]')
    return problems, acked


# -- kill -9 -------------------------------------------------------------------------------------------


def kill_everywhere(folder: str, name: str, mutant: Mutant = nullcontext) -> Report:
    """End the operation before and after each call, inside each write, and inside SQLite's writes."""
    stage = set_stage(folder, name, mutant)
    return sweep(stage, _deaths(stage.rehearsal), _kill)


def _deaths(rehearsal: Rehearsal) -> Iterator[Disturbance]:
    for number, event in enumerate(rehearsal.events):
        yield f"killed {event}", *planned(number, die)
        if event.startswith("before write"):
            for fraction in FRACTIONS:
                yield f"killed inside{event.removeprefix('before')}", *planned(number, tear(fraction))
    for limit in rehearsal.limits:
        yield f"killed where a file would pass {limit} bytes", partial(die_at_file_size, limit), Switch()
    yield "killed after the answer", *planned(len(rehearsal.events), die)


def _kill(stage: Stage, disturbance: Disturbance) -> Found:
    _, arrange, switch = disturbance
    end = perform(stage.arena, stage.disturbed, arrange, switch)
    acked = end.said == ACKED
    problems = [] if end.signal in (signal.SIGKILL, signal.SIGXFSZ) else [f"ended by {end}"]
    return problems + start_again(stage, acked=acked), acked


def start_again(stage: Stage, *, acked: bool, cut: bool = False) -> list[str]:
    """As the next server would, on what a death has left, or a cut of the power."""
    arena, after = stage.arena, stage.rehearsal.after

    def act(say: Say) -> None:
        if cut:
            reboot()
        store = open_store(arena.root)
        found = asyncio.run(verdict.go_on(store, arena, stage.operation, after, acked=acked, cut=cut))
        say(json.dumps([found + verdict.close(store, after), acked]).encode())

    return answer(run_in_child(act).said)[0]
