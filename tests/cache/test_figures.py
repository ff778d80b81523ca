"""What a process counts is noted once, whatever fails meanwhile."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from registry.cache.figures import ASKED, FAILED, FETCHED, HIT, MISS, Figures
from registry.upstream.errors import UpstreamFailed
from registry.upstream.notes import Notes
from storage.errors import StoreFull
from storage.figures import Counts, State
from tests.auth.hands import Hand

HUB, QUAY = "docker.io", "quay.io"


@dataclass(slots=True)
class Notebook:
    """What was noted, each time; `meanwhile` is counted while it is."""

    times: list[tuple[dict[tuple[str, str], int], dict[str, State], int]] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)
    figures: Figures | None = None

    async def __call__(self, counts: Counts, states: Mapping[str, State], now: int) -> None:
        if self.figures:
            self.figures.count(QUAY, MISS)
        if self.failures:
            raise self.failures.pop()
        self.times.append((dict(counts), dict(states), now))


async def test_counts_are_noted_together_and_once() -> None:
    notebook = Notebook()
    figures = Figures(notebook, Hand())
    for upstream, what, number in ((HUB, HIT, 1), (HUB, HIT, 2), (QUAY, FETCHED, 10**12)):
        figures.count(upstream, what, number)
    await figures.flush()
    await figures.flush()
    assert notebook.times == [({(HUB, HIT): 3, (QUAY, FETCHED): 10**12}, {}, 1000)]


async def test_what_a_failure_kept_back_comes_the_next_time() -> None:
    notebook = Notebook(failures=[StoreFull("full")])
    figures = notebook.figures = Figures(notebook, Hand())
    figures.count(HUB, HIT)
    figures.answered(HUB)
    with pytest.raises(StoreFull):
        await figures.flush()
    notebook.figures = None
    await figures.flush()
    assert notebook.times == [({(HUB, HIT): 1, (QUAY, MISS): 1}, {HUB: State(answered=1000)}, 1000)]


async def test_what_comes_during_a_flush_is_of_the_next() -> None:
    notebook = Notebook()
    figures = notebook.figures = Figures(notebook, Hand())
    figures.count(HUB, HIT)
    await figures.flush()
    notebook.figures = None
    await figures.flush()
    assert [counts for counts, _, _ in notebook.times] == [{(HUB, HIT): 1}, {(QUAY, MISS): 1}]


async def test_an_upstream_tells_what_is_asked_of_it() -> None:
    notebook, hand = Notebook(), Hand()
    figures = Figures(notebook, hand)
    notes: Notes = figures.of(HUB)
    notes.asked()
    notes.received(7)
    notes.answered()
    hand.now += 5
    notes.asked()
    notes.failed(UpstreamFailed(HUB, "it answered 500"), 30.0)
    await figures.flush()
    ((counts, states, _),) = notebook.times
    assert counts == {(HUB, ASKED): 2, (HUB, FETCHED): 7, (HUB, FAILED): 1}
    assert states == {HUB: State(1000, 1005, "it answered 500", 1035)}
