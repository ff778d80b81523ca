"""Turns: how many at once, and who goes next."""

import asyncio

from registry.auth.turns import Turns


class Works:
    """Each begins when it may, and ends when it is told."""

    def __init__(self, at_once: int) -> None:
        self._turns = Turns(at_once)
        self.begun: list[str] = []
        self._ends: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def start(self, name: str, rank: int = 0) -> None:
        self._ends[name] = asyncio.Event()
        self._tasks[name] = asyncio.create_task(self._work(name, rank))
        await asyncio.sleep(0)

    async def _work(self, name: str, rank: int) -> None:
        async with self._turns.turn(rank):
            self.begun.append(name)
            await self._ends[name].wait()

    async def end(self, *names: str) -> None:
        for name in names:
            self._ends[name].set()
            await self._tasks[name]
        await asyncio.sleep(0)

    def cancel(self, name: str) -> None:
        self._tasks[name].cancel()

    def let_end(self, name: str) -> None:
        self._ends[name].set()


async def test_the_lowest_rank_goes_next_and_of_one_who_came_first() -> None:
    works = Works(2)
    for name, rank in (("a", 9), ("b", 9), ("c", 2), ("d", 1), ("e", 0), ("f", 0)):
        await works.start(name, rank)
    assert works.begun == ["a", "b"]
    await works.end("b")
    assert works.begun == ["a", "b", "e"]
    await works.end("a", "e")
    assert works.begun == ["a", "b", "e", "f", "d"]
    await works.end("f", "d", "c")
    assert works.begun[-1] == "c"
    for name in ("x", "y", "z"):
        await works.start(name)
    assert works.begun[-2:] == ["x", "y"]
    await works.end("x", "y", "z")


async def test_who_goes_away_while_it_waits_takes_no_turn() -> None:
    works = Works(1)
    for name in ("a", "b", "c"):
        await works.start(name)
    works.cancel("b")
    await works.end("a")
    assert works.begun == ["a", "c"]
    await works.end("c")


async def test_who_goes_away_when_its_turn_has_come_passes_it_on() -> None:
    works = Works(1)
    for name in ("a", "b", "c"):
        await works.start(name)
    works.let_end("a")
    await asyncio.sleep(0)  # a ends, and gives its turn to b, which has not woken yet
    works.cancel("b")
    for _ in range(3):
        await asyncio.sleep(0)
    assert works.begun == ["a", "c"]
    await works.end("c")
