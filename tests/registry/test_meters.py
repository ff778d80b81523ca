"""Rates of requests: whose they are, when they are refused, and how much memory they take."""

import itertools
import random
from contextlib import suppress

import pytest

from registry.access import Action, Actor, Operation
from registry.access import meter as admit
from registry.errors import TooManyRequests
from registry.meters.request_rate import RequestRate
from registry.rates import Rate

PULL = Operation(Action.PULL)


class Time:
    """A clock by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def passed(meter: RequestRate, actor: Actor, tries: int = 1000) -> int:
    """How many requests go through at once."""
    for number in range(tries):
        try:
            admit([meter], actor, PULL)
        except TooManyRequests:
            return number
    return tries


def at(address: str, name: str = "") -> Actor:
    return Actor(name, address=address)


def test_a_burst_and_then_the_rate() -> None:
    time = Time()
    meter = RequestRate(Rate(10, 1, 30), clock=time)
    assert passed(meter, at("10.0.0.1")) == 30
    time.now += 0.5
    assert passed(meter, at("10.0.0.1")) == 5
    time.now += 3600
    assert passed(meter, at("10.0.0.1")) == 30


@pytest.mark.parametrize("seed", range(3))
def test_over_any_time_no_more_than_the_burst_and_the_rate(seed: int) -> None:
    time, choose = Time(), random.Random(seed)
    meter = RequestRate(Rate(7, 3, 5), clock=time)
    times = []
    for _ in range(2000):
        time.now += choose.choice([0, 0.01, 0.4, 3])
        if passed(meter, at("10.0.0.1"), 1):
            times.append(time.now)
    for first, last in itertools.combinations(range(0, len(times), 10), 2):
        assert last - first + 1 <= 5 + (times[last] - times[first]) * 7 / 3 + 1e-6
    assert len(times) > 500


def test_what_is_said() -> None:
    time = Time()
    meter = RequestRate(Rate(2, 60, 2), clock=time)
    assert passed(meter, at("10.0.0.1")) == 2
    time.now += 0.5
    with pytest.raises(TooManyRequests, match="more than 2 requests in 60 s: try again in 30 s") as caught:
        meter.ask(at("10.0.0.1"), PULL)
    assert caught.value.retry_after == 30
    time.now += caught.value.retry_after
    assert passed(meter, at("10.0.0.1")) == 1


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (at("10.0.0.1"), at("10.0.0.2"), False),
        (at("10.0.0.1", "alice"), at("10.0.0.2", "alice"), True),
        (at("10.0.0.1", "alice"), at("10.0.0.1", "bob"), False),
        (at("10.0.0.1", "alice"), at("10.0.0.1"), False),
        (at("10.0.0.1"), at("10.0.0.1", "10.0.0.1"), False),
        (at("2001:db8::1"), at("2001:db8::ffff:0:0:1"), True),
        (at("2001:db8::1"), at("2001:db8:0:1::1"), False),
        (at("::ffff:10.0.0.1"), at("::ffff:10.0.0.2"), False),
        (at("::ffff:10.0.0.1"), at("10.0.0.1"), True),
        (at("fe80::1%eth0"), at("fe80::2%eth1"), True),
        (at(""), at(""), True),
    ],
)
def test_whose_a_bucket_is(one: Actor, other: Actor, same: bool) -> None:
    meter = RequestRate(Rate(1, 60, 1), clock=Time())
    assert passed(meter, one) == 1
    assert passed(meter, other) == (0 if same else 1)


def test_what_one_rate_refuses_no_other_has_counted() -> None:
    time = Time()
    meters = [RequestRate(rate, clock=time) for rate in (Rate(1000, 3600, 1000), Rate(10, 1, 10))]
    for _ in range(3000):  # ten times as often as the second lets pass
        time.now += 0.01
        with suppress(TooManyRequests):
            admit(meters, at("10.0.0.1"), PULL)
    assert 1000 - passed(meters[0], at("10.0.0.1")) <= 310  # 30 s of the second and its burst


def test_others_are_not_counted() -> None:
    meter = RequestRate(Rate(1, 60, 1, "anonymous", ("push",)), clock=Time())
    assert passed(meter, at("10.0.0.1"), 50) == 50


def test_however_many_clients_memory_is_bounded_and_the_busiest_are_remembered() -> None:
    time = Time()
    meter = RequestRate(Rate(1, 1, 100), clock=time, most=64)
    assert passed(meter, at("10.0.0.1")) == 100
    for number in range(1000):
        meter.count(at(f"10.1.{number // 250}.{number % 250}"), PULL)
        assert len(meter._full) <= 64
    assert passed(meter, at("10.0.0.1")) == 0
    time.now += 100
    for number in range(32):
        meter.count(at(f"10.2.0.{number}"), PULL)
    assert len(meter._full) == 32  # those that were full again were forgotten first
    assert passed(meter, at("10.2.0.0")) == 99
    assert passed(meter, at("10.0.0.1")) == 100
