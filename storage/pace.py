"""How fast a long reader may go."""

import asyncio
import math
import time


class Pace:
    """`rate` bytes a second on average; time that was not used is not saved up for a burst."""

    def __init__(self, rate: float = math.inf) -> None:
        self._rate, self._due = rate, time.monotonic()

    async def took(self, count: int) -> None:
        """Sleep until `count` bytes more are all right; others have their turn in any case."""
        now = time.monotonic()
        self._due = max(self._due + count / self._rate, now)
        await asyncio.sleep(self._due - now)
