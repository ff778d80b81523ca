"""How long a client may keep the server waiting, by how it brings its bytes."""

from itertools import chain, repeat

import pytest

from registry.server.patience import Patience

SECONDS, RATE = 60.0, 1024.0

Step = tuple[float, int]
"""Seconds waited for so many bytes."""


def lasts(*steps: Step, then: Step, most: int = 100_000) -> float | None:
    """After how many seconds of waiting a look finds nothing; None: never."""
    patience, waited = Patience(SECONDS, RATE), 0.0
    for seconds, count in chain(steps, repeat(then, most)):
        if seconds > patience.left:
            return waited + patience.left
        patience.waited(seconds)
        waited += seconds
        patience.brought(count)
    return None


@pytest.mark.parametrize(
    ("steps", "then", "least", "most"),
    [
        pytest.param((), (1.0, 0), 60, 60, id="nothing"),
        pytest.param(((0.0, 10**9),), (1.0, 0), 60, 60, id="a gigabyte, then nothing"),
        pytest.param((), (1.0, 1), 60, 61, id="a byte a second"),
        pytest.param((), (59.0, 1), 60, 61, id="a byte a minute"),
        pytest.param((), (1.0, 512), 119, 121, id="half the rate"),
        pytest.param((), (0.01, 9), 480, 520, id="nearly the rate"),
    ],
)
def test_who_is_left(steps: tuple[Step, ...], then: Step, least: float, most: float) -> None:
    found = lasts(*steps, then=then)
    assert found is not None
    assert least <= found <= most


@pytest.mark.parametrize(
    "then",
    [(1.0, 1024), (0.001, 2), (50.0, 51_200), (59.0, 2**20), (0.0, 1)],
    ids=["evenly", "in drops", "in portions", "in bursts", "as asked"],
)
def test_who_is_not(then: Step) -> None:
    assert lasts(then=then) is None


def test_what_came_while_nobody_looked_counts() -> None:
    """The loop was held up: more was waited than there was, and the bytes were there all the time."""
    patience = Patience(SECONDS, RATE)
    patience.waited(1000)
    assert patience.is_over
    patience.brought(2048)
    assert patience.left == 2
