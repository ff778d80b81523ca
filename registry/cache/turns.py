"""Whose turn it is: so many at once, the others in the order in which they came."""

import asyncio


class Turn:
    """One of a semaphore's places: asked for when it is first wanted, and waited for beside other things."""

    def __init__(self, places: asyncio.Semaphore) -> None:
        self._places = places
        self._asked: asyncio.Task[bool] | None = None

    async def come(self) -> bool:
        """Whether it is ours."""
        if self._asked is None:
            self._asked = asyncio.create_task(self._places.acquire())
            await asyncio.sleep(0)  # a free place is had at once
        return self._asked.done()

    def give_back(self) -> None:
        """The place, or the wait for one; it can be asked for again."""
        asked, self._asked = self._asked, None
        if asked and asked.done():
            self._places.release()
        elif asked:
            asked.cancel()
