"""The harness proves itself: a registry with a broken rule must turn a sweep red, for the right reason.

Two mutants are left out, because no `kill -9` can show them: one that skips the fsync of a file, and one
that skips the fsync of its folder. The kernel keeps what a dead process has written; only a power cut
takes it away.
"""

from collections.abc import Callable

import pytest

from tests.crash import mutants
from tests.crash.failures import fail_everywhere, remove_everywhere
from tests.crash.intruders import intrude_everywhere
from tests.crash.operations import FRESH
from tests.crash.sweep import Mutant, Report, Submit, Sweep, kill_everywhere

pytestmark = pytest.mark.crash

PUSH, PUT, SWEEP = "push a blob in one request", "put a manifest by tag", "collect: sweep"


def remove(folder: str, operation: str, mutant: Mutant) -> Report:
    return remove_everywhere(folder, operation, FRESH, mutant)


@pytest.mark.parametrize(
    ("mutant", "sweep", "operation", "complaint"),
    [
        (mutants.names_before_bytes, kill_everywhere, PUT, "is present in the index and has no file"),
        (mutants.name_before_complete, kill_everywhere, PUT, "bytes that hash to something else"),
        (mutants.answer_before_commit, kill_everywhere, PUSH, "acknowledged, but links"),
        (mutants.answer_before_commit, kill_everywhere, "delete a tag", "acknowledged, but tags"),
        (mutants.full_disk_ignored, fail_everywhere, PUSH, "bytes that hash to something else"),
        (mutants.fsync_tried_again, fail_everywhere, PUSH, "the verb said that all went well"),
        (mutants.claim_without_look, remove, PUSH, "is present in the index and has no file"),
        (
            mutants.files_taken_without_the_lock,
            intrude_everywhere,
            SWEEP,
            "is present in the index and has no file",
        ),
        (mutants.marks_not_looked_at_again, intrude_everywhere, SWEEP, "told of sha256:"),
    ],
)
def test_caught(
    submit: Submit,
    say: Callable[[str], None],
    mutant: Mutant,
    sweep: Sweep,
    operation: str,
    complaint: str,
) -> None:
    report = submit(sweep, operation, mutant).result()
    assert any(complaint in problem for problem in report.problems), "\n".join(report.problems[:20])
    say(f"mutant {getattr(mutant, '__name__', '')} ({operation}): caught in case {report.cases}")
