"""docs/fuzzing.md says how much is tried: as much as the tests do."""

import re
from pathlib import Path

from tests.fuzz import test_api, test_targets, test_wire
from tests.fuzz.targets import TARGETS

PAGE = Path(__file__).parents[2] / "docs" / "fuzzing.md"
ROW = re.compile(r"^\| (.*) \| .* \| ([\d,]+) \| `(test_\w+)` \|$", re.MULTILINE)
SAID = re.compile(r"turns of (\d+)$")


def test_counts_are_those_of_the_tests() -> None:
    rows = [(what, int(count.replace(",", "")), test) for what, count, test in ROW.findall(PAGE.read_text())]
    assert {test: count for _, count, test in rows} == {
        "test_any_bytes": test_targets.EXAMPLES,
        "test_guided": test_targets.RUNS,
        "test_answers": test_api.TURNS,
        "test_uploads": test_api.TURNS,
        "test_nothing_is_smuggled": test_wire.CONNECTIONS,
    }
    turns = {test: int(found[1]) for what, _, test in rows if (found := SAID.search(what))}
    assert turns == {"test_answers": test_api.EXAMPLES, "test_uploads": test_api.SCENARIOS}
    assert rows[0][0].startswith(f"{len(TARGETS)} readers")


def test_every_row_names_tests() -> None:
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert all(f"def {test}" in tests for _, _, test in ROW.findall(PAGE.read_text()))
