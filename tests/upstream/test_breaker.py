"""When an upstream is left alone, and how it is tried again."""

import asyncio
import email.utils

import pytest

from registry.upstream.breaker import Breaker, read_retry_after
from registry.upstream.errors import UpstreamBusy, UpstreamFailed, UpstreamMissing
from tests.auth.hands import Hand

NAME = "up.example"


def attempt(breaker: Breaker, error: BaseException | None = None) -> None:
    with breaker.attempt():
        if error:
            raise error
    breaker.succeed()


def failed() -> UpstreamFailed:
    return UpstreamFailed(NAME, "it failed")


def fail(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        with pytest.raises(UpstreamFailed):
            attempt(breaker, failed())


def made() -> tuple[Breaker, Hand]:
    hand = Hand()
    return Breaker(NAME, hand), hand


def test_five_failures_in_turn_open_it() -> None:
    breaker, _ = made()
    fail(breaker, 4)
    attempt(breaker)
    fail(breaker, 4)
    assert not breaker.is_open()
    fail(breaker, 1)
    assert breaker.is_open()
    with pytest.raises(UpstreamFailed, match="asked again in 5 s") as raised:
        attempt(breaker)
    assert raised.value.retry_after == 5


def test_what_is_missing_is_an_answer() -> None:
    breaker, _ = made()
    fail(breaker, 4)
    with pytest.raises(UpstreamMissing):
        attempt(breaker, UpstreamMissing(NAME, "no"))
    fail(breaker, 4)
    assert not breaker.is_open()


def test_a_failure_that_many_share_counts_once() -> None:
    breaker, _ = made()
    shared = UpstreamFailed(NAME, "no token")
    for _ in range(50):
        with pytest.raises(UpstreamFailed, match="no token"):
            attempt(breaker, shared)
    assert not breaker.is_open()


def test_one_tries_and_decides() -> None:
    breaker, hand = made()
    fail(breaker, 5)
    hand.now += 5
    with breaker.attempt(), pytest.raises(UpstreamFailed, match="asked again in 1 s"):
        attempt(breaker)
    assert not breaker.is_open()
    fail(breaker, 4)
    assert not breaker.is_open()


def test_pauses_grow_up_to_a_minute() -> None:
    breaker, hand = made()
    fail(breaker, 5)
    for pause in (5, 10, 20, 40, 60, 60):
        hand.now += pause - 0.1
        with pytest.raises(UpstreamFailed, match="failed just now"):
            attempt(breaker)
        hand.now += 0.1
        with pytest.raises(UpstreamFailed, match=r"it failed$"):
            attempt(breaker, failed())
    hand.now += 60
    attempt(breaker)
    fail(breaker, 5)
    hand.now += 5
    attempt(breaker)


@pytest.mark.parametrize("error", [asyncio.CancelledError(), RuntimeError()])
def test_who_leaves_decides_nothing(error: BaseException) -> None:
    breaker, hand = made()
    fail(breaker, 5)
    hand.now += 5
    for _ in range(2):
        with pytest.raises(type(error)):
            attempt(breaker, error)
        assert breaker.is_open()
    attempt(breaker)
    assert not breaker.is_open()


@pytest.mark.parametrize(("asked", "seconds"), [(7.0, 7.0), (100_000.0, 300.0), (0.0, 1.0)])
def test_patience_that_is_asked_for(asked: float, seconds: float) -> None:
    breaker, hand = made()
    with pytest.raises(UpstreamBusy):
        attempt(breaker, UpstreamBusy(NAME, "429", asked))
    hand.now += seconds - 0.01
    with pytest.raises(UpstreamBusy, match="asked for patience") as raised:
        attempt(breaker)
    assert raised.value.retry_after == 1
    hand.now += 0.01
    attempt(breaker)


def test_a_503_that_says_when() -> None:
    breaker, hand = made()
    with pytest.raises(UpstreamFailed):
        attempt(breaker, UpstreamFailed(NAME, "503", 30))
    with pytest.raises(UpstreamFailed, match="in 30 s"):
        attempt(breaker)
    hand.now += 30
    attempt(breaker)


def test_who_asked_before_ends_no_patience() -> None:
    breaker, _ = made()
    with breaker.attempt(), pytest.raises(UpstreamBusy):
        attempt(breaker, UpstreamBusy(NAME, "429", 7))
    breaker.succeed()
    with pytest.raises(UpstreamBusy):
        attempt(breaker)


def test_a_shorter_patience_ends_no_longer_one() -> None:
    breaker, hand = made()
    with breaker.attempt():
        for seconds in (60, 5):
            breaker.fail(UpstreamFailed(NAME, "503", seconds))
    hand.now += 59
    with pytest.raises(UpstreamFailed):
        attempt(breaker)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("7", 7),
        ("0", 0),
        ("9" * 400, 300),
        ("-7", None),
        ("soon", None),
        ("٧", None),
        (email.utils.formatdate(1_000_060, usegmt=True), 60),
        (email.utils.formatdate(999_000, usegmt=True), 0),
        (email.utils.formatdate(2_000_000, usegmt=True), 300),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert read_retry_after(value, lambda: 1_000_000.0) == seconds
