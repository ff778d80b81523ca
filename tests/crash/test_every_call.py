"""`kill -9`, a failure and a lost file at every file-system call of every operation.

After each of them: what was acknowledged is there, anything else is there as a whole or not at all, every
name leads to complete bytes, what is left over goes by expiry, and the operation can be repeated.
"""

from collections.abc import Callable

import pytest

from tests.crash.failures import fail_everywhere, remove_everywhere
from tests.crash.first_start import fail_first_starts, kill_first_starts
from tests.crash.operations import FRESH, NEW, OPERATIONS, PART
from tests.crash.sweep import Report, Submit, Sweep, kill_everywhere

pytestmark = pytest.mark.crash

ReportOf = Callable[[str, Sweep, str], Report]
Say = Callable[[str], None]


def found(report: Report) -> str:
    return "\n".join(report.problems[:20])


@pytest.mark.parametrize("operation", OPERATIONS)
def test_kill(report_of: ReportOf, operation: str) -> None:
    report = report_of("kill -9 at every call", kill_everywhere, operation)
    assert not report.problems, found(report)
    assert report.calls >= 1
    assert report.cases > 2 * report.calls, "both sides of each call, and after the answer"
    assert 1 <= report.acked < report.cases


@pytest.mark.parametrize("operation", OPERATIONS)
def test_failure(report_of: ReportOf, operation: str) -> None:
    report = report_of("EIO, ENOSPC and EFBIG at every call", fail_everywhere, operation)
    assert not report.problems, found(report)
    assert report.cases >= 2 * report.calls + 1


@pytest.mark.parametrize(
    ("operation", "data"),
    [
        ("push a blob in one request", FRESH),
        ("close an upload", PART),
        ("put a manifest by tag", NEW),
    ],
)
def test_installed_file_goes_away(submit: Submit, operation: str, data: bytes) -> None:
    report = submit(remove_everywhere, operation, data).result()
    assert not report.problems, found(report)
    assert report.cases >= 5


def test_first_start(submit: Submit, say: Say) -> None:
    killed, failed = submit(kill_first_starts), submit(fail_first_starts)
    for what, report in (("killed", killed.result()), ("failed", failed.result())):
        say(
            f"first start, {what} at every call: {report.calls} calls, {report.cases} cases;"
            f" half-made or unusable afterwards: {len(report.problems)}"
        )
        assert not report.problems, found(report)
        assert report.cases >= report.calls > 500
