"""The figures of docs/testing.md: what a test waits for its registry."""

import statistics

from bench.fixture import measure_start, measure_use


def test_a_registry_in_this_process_is_ready_at_once() -> None:
    """7 ms on two cores with nothing else to do: what makes it slow again has to show."""
    assert statistics.median(measure_start(isolated=False)) <= 0.05


def test_a_registry_of_its_own_process_is_ready_soon() -> None:
    """0.2 s on cores with nothing else to do, which they have here: most of it is imports."""
    assert min(measure_start(isolated=True, times=3)) <= 1.0


def test_a_whole_life_is_short() -> None:
    assert statistics.median(measure_use()) <= 0.15
