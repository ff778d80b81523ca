"""A pace keeps to its rate on average, and saves nothing up."""

import asyncio
import math

import pytest

from storage.pace import Pace


class Clock:
    """Time that only sleeping, or `work`, lets pass."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.slept = 100.0, [0.0]
        monkeypatch.setattr("time.monotonic", lambda: self.now)
        monkeypatch.setattr(asyncio, "sleep", self._sleep)

    async def _sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.slept.append(seconds)
        self.now += seconds


async def test_it_keeps_to_its_rate_whatever_the_work_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    pace = Pace(1000)
    for work in (0.0, 0.4, 0.9, 0.0):
        clock.now += work
        await pace.took(1000)
    assert clock.now == pytest.approx(104)


async def test_what_was_not_used_is_not_saved_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    pace = Pace(1000)
    clock.now += 60
    await pace.took(1000)
    await pace.took(1000)
    assert clock.slept[1:] == pytest.approx([0, 1])


async def test_without_a_rate_others_have_their_turn_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    pace = Pace(math.inf)
    for _ in range(3):
        await pace.took(10**12)
    assert clock.slept[1:] == [0, 0, 0]
