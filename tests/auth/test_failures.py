"""Failures counted: how many in a minute, for how many keys."""

from registry.auth.failures import Failures
from tests.auth.hands import Hand


def test_so_many_in_a_minute() -> None:
    hand = Hand()
    failures = Failures(3, clock=hand)
    for _ in range(2):
        failures.add("a")
        hand.now += 10
        assert failures.wait("a") == 0
    failures.add("a")
    assert (failures.wait("a"), failures.wait("b")) == (40, 0)
    assert (failures.count("a"), failures.count("b")) == (3, 0)
    hand.now += 39.5
    assert failures.wait("a") == 1
    hand.now += 0.5
    assert failures.wait("a") == 0
    failures.add("a")
    assert failures.wait("a") == 10
    assert failures.count("a") == 3
    hand.now += 59.5
    assert failures.count("a") == 1


def test_the_table_is_bounded_and_keeps_the_latest() -> None:
    failures = Failures(2, most=3)
    for key in "aabcad":
        failures.add(key)
    assert len(failures) == 3
    assert failures.wait("a")  # heard of again before d came
    assert not failures.wait("b")
    failures.add("b")
    assert not failures.wait("b")


def test_a_key_takes_no_more_room_than_its_limit() -> None:
    failures = Failures(2)
    for _ in range(1000):
        failures.add("a")
    assert len(failures._times["a"]) == 2
