"""docs/reliability.md says how often each fault is tried: as often as the tests do."""

import re
from collections.abc import Callable, Iterator
from math import prod
from pathlib import Path
from types import ModuleType

import pytest

from tests.live import test_disconnects, test_stop

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "reliability.md"
ROW = re.compile(r"^\| (F\d+b?) \| .* \| ([\d,]+|all) \| ([\d,]+|all) \| `(\w+)` \|$", re.MULTILINE)
FAULTS = ["F1", "F1b", "F2", "F2b", *(f"F{number}" for number in range(3, 14))]

Tiers = tuple[int, int]


def picked(module: str, constant: str, factor: int = 1) -> Tiers:
    """What the module picks for CI and for the long tier."""
    found = re.search(
        rf"^{constant} = tiers.pick\(ci=([\d_]+), soak=([\d_]+)\)", _source(module), re.MULTILINE
    )
    assert found
    return factor * int(found[1]), factor * int(found[2])


def _source(module: str) -> str:
    return (HERE / f"{module}.py").read_text()


def marked(module: ModuleType, fault: str) -> Tiers:
    """How many of a fault the module's marked tests make."""
    counts = [(each * cases, each * cases * soak) for each, cases, soak in _marks(module, fault)]
    return sum(count[0] for count in counts), sum(count[1] for count in counts)


def _marks(module: ModuleType, fault: str) -> Iterator[tuple[int, int, int]]:
    for value in vars(module).values():
        marks: list[pytest.Mark] = getattr(value, "pytestmark", []) if callable(value) else []
        cases = prod(len(list(mark.args[1])) for mark in marks if mark.name == "parametrize")
        for mark in marks:
            if mark.name == "fault" and mark.args == (fault,):
                yield mark.kwargs.get("each", 1), cases, mark.kwargs["soak"]


def cuts() -> Tiers:
    ext4, xfs = picked("test_power", "EXT4"), picked("test_power", "XFS")
    return ext4[0] + xfs[0], ext4[1] + xfs[1]


ALL = ("F1", "F3", "F4")
COUNTS: dict[str, Callable[[], Tiers]] = {
    "F1b": lambda: picked("test_live_server", "CYCLES", 2),  # by the numbers of workers
    "F2": cuts,
    "F2b": lambda: picked("test_power", "ALL_STATES"),
    "F5": lambda: picked("test_damage", "CASES"),
    "F6": lambda: picked("test_slow_disk", "ROUNDS"),
    "F7": lambda: marked(test_stop, "F7"),
    "F8": lambda: marked(test_disconnects, "F8"),
    "F9": lambda: picked("test_collecting", "EVENTS", 2),  # by the numbers of workers
    "F10": lambda: picked("test_races", "RACES"),
    "F11": lambda: picked("test_clocks", "ROUNDS", 4),  # jumps in each
    "F12": lambda: marked(test_disconnects, "F12"),
    "F13": lambda: picked("test_scarcity", "ROUNDS", 2),  # of each limit
}


def rows() -> dict[str, tuple[str, str, str]]:
    return {fault: (ci, long, where) for fault, ci, long, where in ROW.findall(PAGE.read_text())}


def test_every_fault_has_a_row() -> None:
    assert list(rows()) == FAULTS


@pytest.mark.parametrize("fault", COUNTS)
def test_counts_are_those_of_the_tests(fault: str) -> None:
    ci, long, where = rows()[fault]
    assert (int(ci.replace(",", "")), int(long.replace(",", ""))) == COUNTS[fault]()
    assert list(HERE.parent.glob(f"*/{where}.py"))


@pytest.mark.parametrize("fault", ALL)
def test_all_is_all_in_both_tiers(fault: str) -> None:
    *counts, where = rows()[fault]
    assert counts == ["all", "all"]
    assert "tiers" not in _source(where)
