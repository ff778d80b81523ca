"""States that a power cut may leave by what was synced, each of them opened and judged.

A file system persists more than it must: on ext4 any fsync takes all earlier renames with it, so that a
missing one cannot be seen there. Here every change that no sync made safe is kept or lost by itself.
"""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

from tests.crash.arena import Contents, perform, write_files
from tests.crash.children import die
from tests.crash.recorder import Recorder
from tests.crash.sweep import Found, Mutant, Report, Stage, planned, set_stage, start_again
from tests.crash.syscalls import read_calls, trace
from tests.crash.volatile import NEVER, Bytes, Change, History, Length, Names

_KINDS = (object, Bytes, (Bytes, Length), Names)  # lost as a whole: all; bytes, but no length; files; names
_MOST_LOST = 3  # changes lost, or kept, together, beyond the regular ones
_WAYS: Sequence[Callable[[list[Change], int], list[Change]]] = (
    lambda stake, at: [stake[at]],
    lambda stake, at: [*stake[:at], *stake[at + 1 :]],
    lambda stake, at: stake[at:],
    lambda stake, at: stake[:at],
)
"""One, all but one, the last ones, the first ones."""
_TRIES = 20  # random choices for each state wanted: many lead to one that was seen
_IN_VAIN = 1000  # choices in a row that led to no other state: most operations have few
_NO_MATTER = "write.lock"  # its bytes mean nothing after a crash


@dataclass(frozen=True, slots=True)
class State:
    label: str
    contents: Contents
    answered: int


def lose_unsynced(
    folder: str,
    name: str,
    number: int,
    seed: int,
    seconds: float,
    mutant: Mutant = nullcontext,
    durable: bool = True,
) -> Report:
    """Judge `number` states after one operation, or those that there is time for.

    A third of them after its repetition by another process, since the first was killed: the second sees what
    it did, and no power cut has yet asked whether it was synced.
    """
    stage = set_stage(folder, name, mutant)
    choice, end = random.Random(f"{seed}/{name}"), time.monotonic() + seconds
    histories = [_record(stage, durable=durable)]
    if not stage.stop_at_first:
        death = choice.randrange(len(stage.rehearsal.events))
        histories.append(_record(stage, durable=durable, death=death))
    report = Report(name, sum(history.calls for history in histories))
    shares = (number,) if stage.stop_at_first else (number - number // 3, number // 3)
    for history, share in zip(histories, shares, strict=True):
        for state in states(history, share, choice):
            problems, acked = _judge(stage, state)
            report.note(state.label, problems, acked=acked)
            if time.monotonic() > end or (problems and stage.stop_at_first):
                return report
    return report


def _record(stage: Stage, *, durable: bool, death: int | None = None) -> History:
    arena, log = stage.arena, f"{stage.arena.root}.strace"
    arena.restore()
    recorder = Recorder(os.path.dirname(arena.root), arena.contents, _folders(arena.root))
    watched = partial(perform, arena, durable=durable, run=partial(trace, log=log))
    plans = [(stage.disturbed, *planned(NEVER, die))]
    if death is not None:
        again = replace(stage.operation, run=stage.operation.again)
        plans = [(stage.disturbed, *planned(death, die)), (again, *planned(NEVER, die))]
    for operation, arrange, switch in plans:
        end = watched(operation, arrange, switch)
        assert end.signal == signal.SIGKILL, end
        recorder.add(read_calls(log))
    assert len(recorder.history.answers) == 1, "the record lacks the answer"
    return recorder.history


def _folders(root: str) -> list[str]:
    return [os.path.dirname(root), *(path for path, _, _ in os.walk(root))]


def _judge(stage: Stage, state: State) -> Found:
    write_files(stage.arena.root, {path: each for path, each in state.contents.items() if path[-1] != "/"})
    acked = state.answered > 0
    return start_again(stage, acked=acked, cut=True), acked


def states(history: History, number: int, choice: random.Random) -> Iterator[State]:
    """Different ones: first nothing and all of a kind lost at each sync, then a mixture of the others."""
    seen: set[int] = set()  # not the states themselves: a process of their size takes long to fork
    vain = 0
    for moment, lost in _choices(history, number * _TRIES, choice):
        contents = history.after(moment, lost)
        answered = history.answered(moment)
        matter = frozenset(item for item in contents.items() if not item[0].endswith(_NO_MATTER))
        key = hash((matter, answered))
        vain = vain + 1 if key in seen else 0
        if not vain:
            seen.add(key)
            yield State(_label(history, moment, lost), contents, answered)
        if len(seen) == number or vain == _IN_VAIN:
            return


def _choices(history: History, most: int, choice: random.Random) -> Iterator[tuple[int, Sequence[Change]]]:
    stakes = {moment: history.at_stake(moment) for moment in history.ends()}
    for moment, stake in choice.sample(list(stakes.items()), len(stakes)):
        yield moment, []
        for kinds in _KINDS:
            yield moment, [change for change in stake if isinstance(change.effect, kinds)]
    places = [(moment, at) for moment, stake in stakes.items() for at in range(len(stake))]
    for (moment, at), lose in choice.sample([*product(places, _WAYS)], len(places) * len(_WAYS)):
        yield moment, lose(stakes[moment], at)
    moments = [moment for moment, stake in stakes.items() if len(stake) > _MOST_LOST]
    for _ in range(most if moments else 0):
        moment = choice.choice(moments)
        stake = stakes[moment]
        few = choice.sample(stake, choice.randint(2, _MOST_LOST))
        yield moment, few if choice.getrandbits(1) else [each for each in stake if each not in few]


def _label(history: History, moment: int, lost: Sequence[Change]) -> str:
    named = "; ".join(change.what for change in lost[:4])
    return f"cut at {moment} of {history.now}, {len(lost)} changes lost ({named})"
