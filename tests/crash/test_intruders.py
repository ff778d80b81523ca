"""Clients at every call and before every change of a collector: what they were told is true."""

from collections.abc import Callable

import pytest

from tests.crash.intruders import INTRUDERS, intrude_everywhere
from tests.crash.sweep import Submit

pytestmark = pytest.mark.crash


def test_nothing_that_a_client_leans_on_is_swept(submit: Submit, say: Callable[[str], None]) -> None:
    report = submit(intrude_everywhere, "collect: sweep").result()
    say(
        f"{len(INTRUDERS)} sorts of clients at every call and before every change of a collector:"
        f" {report.cases} cases; lost, dangling or falsely refused: {len(report.problems)}"
    )
    assert not report.problems, "\n".join(report.problems[:20])
    assert report.cases >= 20 * len(INTRUDERS)
