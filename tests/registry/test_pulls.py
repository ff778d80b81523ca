"""Pulls are gathered, and noted together; a failure loses none, and no flood fills the memory."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from registry.names import RepositoryName
from registry.pulls import Pull, Pulls
from storage.digest import Digest
from storage.errors import StoreFull
from tests.auth.hands import Hand

NAME = RepositoryName("team/app")


def pull(number: int) -> Pull:
    return NAME, Digest.of(b"%d" % number)


@dataclass(slots=True)
class Notes:
    """What was noted, each time; `meanwhile` are pulls that come while it is."""

    times: list[set[Pull]] = field(default_factory=list)
    ages: list[int] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)
    meanwhile: list[Pull] = field(default_factory=list)
    pulls: Pulls | None = None

    async def __call__(self, pulls: Sequence[Pull], *, ago: int) -> None:
        for each in self.meanwhile:
            assert self.pulls
            self.pulls.add(each)
        if self.failures:
            raise self.failures.pop()
        self.times.append(set(pulls))
        self.ages.append(ago)
        assert len(set(pulls)) == len(pulls)


async def test_many_pulls_of_one_are_noted_once() -> None:
    notes = Notes()
    pulls = Pulls(notes)
    for number in (1, 2, 1, 1):
        pulls.add(pull(number))
    await pulls.flush()
    await pulls.flush()
    assert notes.times == [{pull(1), pull(2)}]


async def test_what_a_failure_kept_back_comes_the_next_time() -> None:
    notes = Notes(failures=[StoreFull("full")])
    pulls = Pulls(notes)
    pulls.add(pull(1))
    with pytest.raises(StoreFull):
        await pulls.flush()
    pulls.add(pull(2))
    await pulls.flush()
    assert notes.times == [{pull(1), pull(2)}]


async def test_what_comes_during_a_flush_is_of_the_next() -> None:
    notes = Notes(meanwhile=[pull(2)])
    notes.pulls = pulls = Pulls(notes)
    pulls.add(pull(1))
    await pulls.flush()
    notes.meanwhile.clear()
    await pulls.flush()
    assert notes.times == [{pull(1)}, {pull(2)}]


async def test_each_is_noted_for_when_it_was_last() -> None:
    notes, hand = Notes(), Hand()
    pulls = Pulls(notes, clock=hand)
    for number in (1, 2, 1, 3):
        pulls.add(pull(number))
        hand.now += 1
    await pulls.flush()
    assert sorted(zip(notes.ages, notes.times, strict=True)) == [
        (1, {pull(3)}),
        (2, {pull(1)}),
        (3, {pull(2)}),
    ]


async def test_what_is_pulled_again_during_a_flush_is_of_the_next_too() -> None:
    hand = Hand()
    notes = Notes(meanwhile=[pull(1)])
    notes.pulls = pulls = Pulls(notes, clock=hand)
    pulls.add(pull(1))
    hand.now += 5
    await pulls.flush()
    notes.meanwhile.clear()
    await pulls.flush()
    assert notes.ages == [5, 0]


async def test_a_full_house_wakes_who_waits_and_takes_no_more() -> None:
    notes = Notes()
    pulls = Pulls(notes, most=3)
    waiting = asyncio.create_task(pulls.wait(60))
    for number in range(3):
        pulls.add(pull(number))
    pulls.add(pull(0))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    pulls.add(pull(3))
    await asyncio.wait_for(waiting, 5)
    await pulls.flush()
    assert notes.times == [{pull(number) for number in range(3)}]
    pulls.add(pull(3))
    await pulls.flush()
    assert notes.times[1] == {pull(3)}


async def test_nobody_waits_longer_than_told() -> None:
    pulls = Pulls(Notes())
    await asyncio.wait_for(pulls.wait(0.01), 5)
