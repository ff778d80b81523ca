"""States that a power cut may leave by what was synced, each opened and judged: one of them is enough to lose.

A file system persists more than it must: on ext4 any fsync takes all earlier renames with it, so that a
missing one cannot be seen there. Here every change that no sync made safe is kept or lost by itself.
"""

import os
import random
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import chain

from tests.crash.arena import Contents, perform, write_files
from tests.crash.faults import Switch
from tests.crash.sweep import Found, Mutant, Report, Stage, planned, set_stage, start_again
from tests.crash.syscalls import read_calls, trace
from tests.crash.volatile import Change, History

_MOST_LOST = 3  # changes lost, or kept, together, beyond the regular ones
_TRIES = 20  # random choices for each state wanted: many lead to one that was seen
_NO_MATTER = "write.lock"  # its bytes mean nothing after a crash


@dataclass(frozen=True, slots=True)
class State:
    label: str
    contents: Contents
    acked: bool


def lose_unsynced(
    folder: str,
    name: str,
    number: int,
    seed: int,
    seconds: float,
    mutant: Mutant = nullcontext,
    durable: bool = True,
) -> Report:
    """Judge `number` states after one operation, or those that there is time for."""
    stage = set_stage(folder, name, mutant)
    history = _record(stage, durable=durable)
    report = Report(name, len(history.changes))
    end = time.monotonic() + seconds
    for state in states(history, number, random.Random(f"{seed}/{name}")):
        problems, acked = _judge(stage, state)
        report.note(state.label, problems, acked=acked)
        if time.monotonic() > end or (problems and stage.stop_at_first):
            break
    return report


def _record(stage: Stage, *, durable: bool) -> History:
    arena = stage.arena
    arena.restore()
    history = History.of(os.path.dirname(arena.root), arena.contents, _folders(arena.root))
    log = f"{arena.root}.strace"
    end = perform(stage.arena, stage.disturbed, lambda: None, durable=durable, run=partial(trace, log=log))
    assert end.signal == signal.SIGKILL, end
    history.add(read_calls(log))
    assert history.acked < history.now, "the record lacks the answer"
    return history


def _folders(root: str) -> list[str]:
    return [os.path.dirname(root), *(path for path, _, _ in os.walk(root))]


def _judge(stage: Stage, state: State) -> Found:
    write_files(stage.arena.root, {path: each for path, each in state.contents.items() if path[-1] != "/"})
    return start_again(stage, acked=state.acked, cut=True), state.acked


def states(history: History, number: int, choice: random.Random) -> Iterator[State]:
    """Different ones: first all and nothing lost at each sync, then a mixture of the others."""
    seen: set[object] = set()
    for moment, lost in _choices(history, number * _TRIES, choice):
        contents = history.after(moment, lost)
        acked = history.acked < moment
        key = frozenset((p, each) for p, each in contents.items() if not p.endswith(_NO_MATTER)), acked
        if key not in seen:
            seen.add(key)
            yield State(_label(history, moment, lost), contents, acked)
        if len(seen) == number:
            return


def _choices(history: History, most: int, choice: random.Random) -> Iterator[tuple[int, Sequence[Change]]]:
    stakes = {moment: history.at_stake(moment) for moment in history.ends()}
    for moment, stake in stakes.items():
        yield moment, stake
        yield moment, []
    regular = [(moment, lost) for moment, stake in stakes.items() for lost in _regular(stake)]
    yield from choice.sample(regular, len(regular))
    moments = [moment for moment, stake in stakes.items() if len(stake) > _MOST_LOST]
    for _ in range(most if moments else 0):
        moment = choice.choice(moments)
        stake = stakes[moment]
        few = choice.sample(stake, choice.randint(2, _MOST_LOST))
        yield moment, few if choice.getrandbits(1) else [each for each in stake if each not in few]


def _regular(stake: Sequence[Change]) -> Iterator[Sequence[Change]]:
    """Any one, all but one, the last ones, the first ones."""
    for place in range(len(stake)):
        yield stake[place : place + 1]
        yield [*stake[:place], *stake[place + 1 :]]
        yield stake[place:]
        yield stake[:place]


def _label(history: History, moment: int, lost: Sequence[Change]) -> str:
    named = "; ".join(change.what for change in lost[:4])
    return f"cut at {moment} of {history.now}, {len(lost)} changes lost ({named})"
