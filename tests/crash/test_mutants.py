"""The harness proves itself: a registry with a broken rule must turn a sweep red, for the right reason.

What is not synced no `kill -9` can show, for the kernel keeps what a dead process has written: such mutants
are for power cuts. A folder that is not synced is caught by the replay alone (tests/crash/test_power.py).
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import pytest

from tests.crash import mutants
from tests.crash.failures import fail_everywhere, remove_everywhere
from tests.crash.intruders import intrude_everywhere
from tests.crash.lives import lose_unsynced_of_a_life
from tests.crash.operations import FRESH
from tests.crash.power import cut_power
from tests.crash.replay import lose_unsynced
from tests.crash.sweep import Mutant, Report, Submit, Sweep, kill_everywhere

pytestmark = pytest.mark.crash

Say = Callable[[str], None]

PUSH, PUT, REPLACE = "push a blob in one request", "put a manifest by tag", "push a blob that is there"
SWEEP = "collect: sweep"
_CUTS, _STATES, _SECONDS = 20, 60, 30.0


def remove(folder: str, operation: str, mutant: Mutant) -> Report:
    return remove_everywhere(folder, operation, FRESH, mutant)


def cut(folder: str, operation: str, mutant: Mutant = nullcontext, *, durable: bool = True) -> Report:
    return cut_power(folder, "ext4", _CUTS, 0, [operation], mutant, durable=durable)


def replay(folder: str, operation: str, mutant: Mutant = nullcontext, *, durable: bool = True) -> Report:
    return lose_unsynced(folder, operation, _STATES, 0, _SECONDS, mutant, durable=durable)


def live(folder: str, _operation: str, mutant: Mutant) -> Report:
    return lose_unsynced_of_a_life(folder, _STATES, 0, _SECONDS, mutant)


Case = tuple[Mutant, Sweep, str, str]
KILLED: list[Case] = [
    (mutants.names_before_bytes, kill_everywhere, PUT, "is present in the index and has no file"),
    (mutants.name_before_complete, kill_everywhere, PUT, "bytes that hash to something else"),
    (mutants.answer_before_commit, kill_everywhere, PUSH, "acknowledged, but links"),
    (mutants.answer_before_commit, kill_everywhere, "delete a tag", "acknowledged, but tags"),
    (mutants.overwritten_in_place, kill_everywhere, REPLACE, "bytes that hash to something else"),
    (mutants.full_disk_ignored, fail_everywhere, PUSH, "bytes that hash to something else"),
    (mutants.fsync_tried_again, fail_everywhere, PUSH, "the verb said that all went well"),
    (mutants.claim_without_look, remove, PUSH, "is present in the index and has no file"),
    (
        mutants.files_taken_without_the_lock,
        intrude_everywhere,
        SWEEP,
        "is present in the index and has no file",
    ),
    (mutants.evicted_files_first, kill_everywhere, "evict", "is present in the index and has no file"),
    (mutants.marks_not_looked_at_again, intrude_everywhere, SWEEP, "told of sha256:"),
]
CUT: list[Case] = [
    (mutants.no_file_fsync, cut, PUSH, "bytes that hash to something else"),
    (mutants.no_file_fsync, replay, PUSH, "bytes that hash to something else"),
    (mutants.no_folder_fsync, replay, PUSH, "is present in the index and has no file"),
    (mutants.no_folder_fsync, replay, PUT, "is present in the index and has no file"),
    (mutants.no_index_fsync, cut, PUT, "acknowledged, but manifests"),
    (mutants.no_index_fsync, replay, "delete a tag", "acknowledged, but tags"),
    (mutants.mode_not_synced, replay, PUSH, "has mode 100600"),
    (mutants.hash_outlives_its_boot, live, "a life", "bytes that hash to something else"),
    (mutants.names_before_bytes, cut, PUT, "is present in the index and has no file"),
    (mutants.names_before_bytes, replay, PUT, "is present in the index and has no file"),
    (mutants.overwritten_in_place, replay, REPLACE, "bytes that hash to something else"),
]


def named(case: Case) -> str:
    mutant, sweep, operation, _ = case
    return f"{getattr(mutant, '__name__', '')}-{getattr(sweep, '__name__', '')}-{operation}"


@dataclass(frozen=True, slots=True)
class Catch:
    submit: Submit
    say: Say

    def __call__(self, mutant: Mutant, sweep: Sweep, operation: str, complaint: str) -> None:
        report = self.submit(sweep, operation, mutant).result()
        assert any(complaint in problem for problem in report.problems), "\n".join(report.problems[:20])
        name, how = getattr(mutant, "__name__", ""), getattr(sweep, "__name__", "")
        self.say(f"mutant {name} ({how}, {operation}): caught in case {report.cases}")


@pytest.fixture
def catch(submit: Submit, say: Say) -> Catch:
    return Catch(submit, say)


@pytest.mark.parametrize("case", KILLED, ids=named)
def test_caught(catch: Catch, case: Case) -> None:
    catch(*case)


@pytest.mark.usefixtures("images", "strace")
@pytest.mark.parametrize("case", CUT, ids=named)
def test_caught_by_power_cuts(catch: Catch, case: Case) -> None:
    catch(*case)


@pytest.mark.usefixtures("images", "strace")
@pytest.mark.parametrize("sweep", [cut, replay])
def test_a_store_that_syncs_nothing_is_caught(submit: Submit, say: Say, sweep: Sweep) -> None:
    report = submit(partial(sweep, durable=False), PUT).result()
    assert any("acknowledged, but manifests" in it for it in report.problems), report.problems[:20]
    how = getattr(sweep, "__name__", "")
    say(f"without any fsync ({how}): {report.cases} cases, {len(report.problems)} complaints")
