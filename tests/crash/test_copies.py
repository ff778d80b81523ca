"""`kill -9` and a failure at every call of a backup and of a restore.

After each of them: the folder is the old backup or the new one, or says that it is unfinished; the same
command goes on and leaves nothing behind.
"""

from collections.abc import Callable

import pytest

from tests.crash.copies import COPIES, fail_copies, kill_copies
from tests.crash.sweep import Submit, Sweep

pytestmark = pytest.mark.crash


@pytest.mark.parametrize("sweep", [kill_copies, fail_copies], ids=["killed", "failed"])
@pytest.mark.parametrize("name", COPIES)
def test_copies(submit: Submit, say: Callable[[str], None], name: str, sweep: Sweep) -> None:
    report = submit(sweep, name).result()
    say(
        f"{name}, {'killed' if sweep is kill_copies else 'failed'} at every call: {report.calls} calls,"
        f" {report.cases} cases; half-made, lost or left over: {len(report.problems)}"
    )
    assert not report.problems, "\n".join(report.problems[:20])
    assert report.cases >= 15
