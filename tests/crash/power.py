"""Operations whose power is cut at their calls, on real file systems, and the restart after that."""

import random
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from itertools import islice

from tests.crash.arena import ACKED, Arena, make_arena, perform
from tests.crash.children import die
from tests.crash.disks import Disk, disk
from tests.crash.operations import OPERATIONS
from tests.crash.sweep import Found, Mutant, Report, Stage, planned, stage_in, start_again

_Moment = tuple[str, int]
"""An operation and the event at which its power goes; one more than it has is right after the answer."""


def cut_power(
    folder: str,
    kind: str,
    number: int,
    seed: int,
    names: Sequence[str] = tuple(OPERATIONS),
    mutant: Mutant = nullcontext,
    durable: bool = True,
) -> Report:
    """Cut the power `number` times on a file system of that kind, evenly over operations and their events."""
    report = Report(kind, 0)
    with disk(folder, kind) as device:
        arenas = {closed: _make_arena(device, closed=closed) for closed in (False, True)}
        stages = {name: stage_in(arenas[OPERATIONS[name].checkpoints], name, mutant) for name in names}
        report.calls = sum(len(stage.rehearsal.events) for stage in stages.values()) // 2
        for name, event in islice(_moments(stages, random.Random(seed)), number):
            stage = stages[name]
            label = [*stage.rehearsal.events, "after the answer"][event]
            problems, acked = _cut(device, stage, event, durable=durable)
            report.note(f"{name}, cut {label}", problems, acked=acked)
            if problems and stage.stop_at_first:
                break
    return report


def _make_arena(device: Disk, *, closed: bool) -> Arena:
    return make_arena(f"{device.mount}/root-{closed}", closed=closed)


def _moments(stages: Mapping[str, Stage], choice: random.Random) -> Iterator[_Moment]:
    """Of one operation after the other: some event, another one the next time, and right after the answer."""
    counts = {name: len(stage.rehearsal.events) for name, stage in stages.items()}
    events = {name: _endless(count, choice) for name, count in counts.items()}
    while True:
        for name in choice.sample(list(counts), len(counts)):
            yield name, next(events[name])
            yield name, counts[name]


def _endless(count: int, choice: random.Random) -> Iterator[int]:
    while True:
        yield from choice.sample(range(count), count)


def _cut(device: Disk, stage: Stage, event: int, *, durable: bool) -> Found:
    def lose_power() -> None:
        device.cut()
        die()

    stage.arena.restore()
    device.restart()  # which syncs what every case begins with
    arrange, switch = planned(event, lose_power)
    end = perform(stage.arena, stage.disturbed, arrange, switch, durable=durable)
    acked = end.said == ACKED
    if acked:
        device.cut()
    problems = [] if end.signal == signal.SIGKILL else [f"ended by {end}"]
    device.restart()
    return problems + start_again(stage, acked=acked, cut=True), acked
