"""`kill -9` and a failure at every call of a `registry reindex` that puts a damaged index aside."""

from collections.abc import Callable

import pytest

from tests.crash.replacing import replace_everywhere
from tests.crash.sweep import Submit

pytestmark = pytest.mark.crash


def test_replacing(submit: Submit, say: Callable[[str], None]) -> None:
    report = submit(replace_everywhere).result()
    say(
        f"a damaged index replaced, killed and failed at every call: {report.calls} calls,"
        f" {report.cases} cases; half an index, or an old one lost: {len(report.problems)}"
    )
    assert not report.problems, "\n".join(report.problems[:20])
    assert report.cases == 4 * report.calls >= 20
