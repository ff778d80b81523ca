"""Work that is shared: begun once, and ended by nobody who leaves."""

import asyncio

import pytest

from registry.cache.flights import Flights, land, lands_within


class Work:
    def __init__(self) -> None:
        self.begun, self.go_on = 0, asyncio.Event()

    async def __call__(self) -> int:
        self.begun += 1
        await self.go_on.wait()
        return self.begun


async def test_many_wait_for_one() -> None:
    flights, work = Flights(), Work()
    waiting = [asyncio.create_task(land(flights.join("key", work))) for _ in range(10)]
    other = asyncio.create_task(land(flights.join("other", work)))
    await asyncio.sleep(0)
    work.go_on.set()
    assert await asyncio.gather(*waiting, other) == [2] * 11
    assert await land(flights.join("key", work)) == 3


async def test_who_leaves_ends_nothing() -> None:
    flights, work = Flights(), Work()
    first = asyncio.create_task(land(flights.join("key", work)))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    second = asyncio.create_task(land(flights.join("key", work)))
    await asyncio.sleep(0)
    work.go_on.set()
    assert await second == 1


async def test_who_waits_so_long_goes_and_leaves_it_flying() -> None:
    flights, work = Flights(), Work()
    flight = flights.join("key", work)
    assert not await lands_within(flight, 0.01)
    work.go_on.set()
    assert await lands_within(flight, 5)
    assert flight.result() == 1


async def test_what_fails_fails_for_all_and_begins_anew() -> None:
    flights = Flights()

    async def fail() -> None:
        await asyncio.sleep(0)
        raise OSError("broken")

    flight = flights.join("key", fail)
    for waiting in (flight, flights.join("key", fail)):
        with pytest.raises(OSError, match="broken"):
            await land(waiting)
    assert flights.join("key", fail) is not flight
    await flights.close()


async def test_a_close_ends_them_all() -> None:
    flights, work = Flights(), Work()
    flight = flights.join("key", work)
    await asyncio.sleep(0)
    await flights.close()
    assert flight.cancelled()
