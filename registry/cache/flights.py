"""Work that many wait for and one does: it goes on when those who wait have left."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, TypeVar

Result = TypeVar("Result")


class Flights:
    """Of one worker."""

    def __init__(self) -> None:
        self._tasks: dict[Hashable, asyncio.Task[Any]] = {}

    def join(self, key: Hashable, begin: Callable[[], Coroutine[Any, Any, Result]]) -> asyncio.Task[Result]:
        """The flight under this key, which begins with this call if there is none. Wait by `land`."""
        task = self._tasks.get(key)
        if task is None:
            task = self._tasks[key] = asyncio.create_task(begin())
            task.add_done_callback(lambda done: self._forget(key, done))
        return task

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget(self, key: Hashable, task: asyncio.Task[Any]) -> None:
        del self._tasks[key]
        if not task.cancelled():
            task.exception()  # seen, even if nobody waits any longer


async def land(flight: asyncio.Task[Result]) -> Result:
    """What comes of it; who is cancelled here leaves it going."""
    return await asyncio.shield(flight)


async def lands_within(flight: asyncio.Task[Result], seconds: float) -> bool:
    """Whether it has ended by then."""
    done, _ = await asyncio.wait({flight}, timeout=seconds)
    return bool(done)
