"""What the conformance script accepts: every test passed and none was left out."""

import pytest

from tests.conformance import complete, read_counts

REPORT = """Test results
  Pass: 1
OCI Conformance Result: Skip
  Disabled......................:          {disabled}
  Skip..........................:          {skip}
  Pass..........................:          {passed}
  FAIL..........................:          {failed}
  Error.........................:          0
  Total.........................:          {total}

API conformance:
  Tag listing...................:       Pass
"""


@pytest.mark.parametrize(
    ("passed", "failed", "skip", "disabled", "good"),
    [
        (986, 0, 0, 0, True),
        (990, 0, 0, 0, True),
        (985, 0, 0, 0, False),  # the runner left one out
        (986, 1, 0, 0, False),
        (986, 0, 1, 0, False),
        (986, 0, 0, 1, False),
    ],
)
def test_only_a_full_pass_is_good(passed: int, failed: int, skip: int, disabled: int, good: bool) -> None:
    total = passed + failed + skip + disabled
    report = REPORT.format(passed=passed, failed=failed, skip=skip, disabled=disabled, total=total)

    assert complete(read_counts(report), 986) is good


@pytest.mark.parametrize("output", ["", "failed to load config: no such file", REPORT.partition("OCI")[0]])
def test_a_runner_without_a_report_is_not_good(output: str) -> None:
    assert not complete(read_counts(output), 986)
