"""How long small requests take while a server is busy with something else."""

import math
import statistics
import time
from collections.abc import Callable

from tests.live.wire import Wire, wire

ATTEMPTS = 5


def ninety_ninth(latencies: list[float]) -> float:
    return sorted(latencies)[math.ceil(len(latencies) * 0.99) - 1]


def require_alike(measure: Callable[[], tuple[list[float], list[float]]], most: float) -> None:
    """The medians of what is measured differ by less than a factor.

    If they do not, more is measured, and added: by chance they differ less and less, by nature as before.
    """
    ratios: list[float] = []
    ones: list[float] = []
    others: list[float] = []
    while not ratios or not 1 / most < ratios[-1] < most:
        assert len(ratios) < ATTEMPTS, ratios
        for all_of_them, more in zip((ones, others), measure(), strict=True):
            all_of_them += more
        ratios.append(statistics.median(ones) / statistics.median(others))


def slowdown(seconds: float = 0.1) -> float:
    """How many times longer than so many seconds their work takes here now: 1 on a core of one's own."""
    begun, end = time.perf_counter(), time.thread_time() + seconds
    while time.thread_time() < end:
        pass
    return max(1.0, (time.perf_counter() - begun) / seconds)


def latencies(ask: Callable[[Wire], None], host: str, busy: Callable[[], bool]) -> list[float]:
    """Of requests one after the other on one connection, as long as the server is busy."""
    found = []
    with wire(host) as connection:
        while busy():
            began = time.monotonic()
            ask(connection)
            found.append(time.monotonic() - began)
            time.sleep(0.005)
    return found


def expect_ok(method: str, target: str) -> Callable[[Wire], None]:
    def ask(connection: Wire) -> None:
        connection.send_head(method, target)
        assert connection.answer(method).status == 200

    return ask
