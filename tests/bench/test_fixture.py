"""The figures of docs/testing.md: what a test waits for its registry.

As on a core of one's own, in the best of some seconds: what others do on the same cores comes and goes.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial

from bench.fixture import measure_start, measure_use
from tests.live.measuring import slowdown

SECONDS = 10


def best(measure: Callable[[], list[float]], enough: float) -> float:
    found, end, before = float("inf"), time.monotonic() + SECONDS, slowdown()
    while found > enough and time.monotonic() < end:
        median = statistics.median(measure())
        after = slowdown()
        found, before = min(found, median / min(before, after)), after
    return found


def test_a_registry_in_this_process_is_ready_at_once() -> None:
    """7 ms on two cores with nothing else to do: what makes it slow again has to show."""
    assert best(partial(measure_start, isolated=False), 0.05) <= 0.05


def test_a_registry_of_its_own_process_is_ready_soon() -> None:
    """0.2 s on cores with nothing else to do: most of it is imports."""
    assert best(partial(measure_start, isolated=True, times=3), 1.0) <= 1.0


def test_a_whole_life_is_short() -> None:
    assert best(partial(measure_use, times=3), 0.15) <= 0.15
