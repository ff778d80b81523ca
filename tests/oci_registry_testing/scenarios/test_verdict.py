"""How an end is judged."""

import pytest

from oci_registry_testing.scenarios.client import Done
from oci_registry_testing.scenarios.scenario import Scenario
from oci_registry_testing.scenarios.verdict import Step, Verdict, is_bad, judge

MAY = Scenario("may", "", ("push", "pull"))
CANNOT = Scenario("cannot", "", ("pull",), refuse=True)
PLAIN = Scenario("plain", "", ("pull",), plain=True)
ENDS = {
    "right": [Step("push", Done(0, ""), True), Step("pull", Done(0, ""), True)],
    "wrong at last": [Step("push", Done(0, ""), True), Step("pull", Done(0, ""), False)],
    "wrong before": [Step("push", Done(0, ""), False), Step("pull", Done(0, ""), True)],
    "failed": [Step("push", Done(1, ""), False)],
    "late": [Step("push", Done(None, ""), False)],
}


@pytest.mark.parametrize(
    ("scenario", "end", "verdict", "bad"),
    [
        (MAY, "right", Verdict.SURVIVES, False),
        (MAY, "wrong at last", Verdict.WRONG, True),
        (MAY, "wrong before", Verdict.WRONG, True),
        (MAY, "failed", Verdict.GIVES_UP, False),
        (MAY, "late", Verdict.HANGS, True),
        (CANNOT, "right", Verdict.SURVIVES, False),
        (CANNOT, "wrong at last", Verdict.WRONG, True),
        (CANNOT, "failed", Verdict.REFUSES, False),
        (CANNOT, "late", Verdict.HANGS, True),
        (PLAIN, "failed", Verdict.GIVES_UP, True),
    ],
)
def test_judging(scenario: Scenario, end: str, verdict: Verdict, bad: bool) -> None:
    assert judge(scenario, ENDS[end]) is verdict
    assert is_bad(scenario, verdict) is bad


def test_who_fails_by_itself_has_refused_nothing() -> None:
    assert judge(CANNOT, ENDS["failed"], met=False) is Verdict.GIVES_UP
