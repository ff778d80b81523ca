"""What has to go from a disk that is nearly full: of 100 bytes with a floor of 5, with so many free."""

import pytest

from registry.cache.fullness import Fullness
from storage.room import Room


def fullness(free: list[int], rested: float = 1000.0) -> Fullness:
    return Fullness(lambda: Room(free[0], 100), lambda: rested)


@pytest.mark.parametrize(
    ("free", "rested", "wanted"),
    [
        (100, 1000.0, 0),
        (10, 1000.0, 0),
        (9, 1000.0, 3),
        (9, 30.0, 3),
        (9, 29.0, 0),
        (7, 29.0, 5),
        (7, 4.0, 0),
        (6, 4.0, 6),
        (6, 0.4, 0),
        (5, 0.4, 0),
        (4, 0.4, 8),
        (4, 0.0, 8),
    ],
)
def test_the_nearer_the_floor_the_less_is_waited_for(free: int, rested: float, wanted: int) -> None:
    assert fullness([free], rested).wanted() == wanted


@pytest.mark.parametrize(("free", "is_tight"), [(100, False), (13, False), (12, True), (1, True)])
def test_it_is_looked_at_often_before_anything_goes(free: int, is_tight: bool) -> None:
    found = fullness([free])
    assert not found.is_tight
    found.wanted()
    assert found.is_tight is is_tight


def test_one_eviction_takes_what_was_wanted_when_it_began() -> None:
    free = [9]
    leave = fullness(free).leaver()
    free[0] = 8
    assert leave(50) == 46
    free[0] = 4
    assert leave(48) == 46, "what went need not be free yet"
