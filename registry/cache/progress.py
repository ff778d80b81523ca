"""How far a blob has landed, as those who wait for its bytes are told."""

import asyncio

WITHHELD = 64 * 2**10
"""Bytes at the end that nobody gets before all are verified: no client can take a bad blob for whole."""

# Seconds between two calls of those who wait: fifty clients who each took every piece of the network by
# itself would cost more than the fetch.
_CALLS = 0.01


class Progress:
    """`size` is known once it has `begun`. It ends whole, or with the fact that the rest will not come."""

    def __init__(self) -> None:
        self.size: int | None = None
        self.begun = self.whole = False
        self.there = 0
        self._fact: Exception | None = None
        self._news = asyncio.Event()
        self._call: asyncio.TimerHandle | None = None

    @property
    def ended(self) -> bool:
        return self.whole or self._fact is not None

    def begin(self, size: int) -> None:
        """The upstream has answered, here or elsewhere."""
        if not self.begun:
            self.size, self.begun = size, True
            self._tell()

    def reach(self, written: int) -> None:
        """So many bytes are in the file, unverified."""
        there = min(written, (self.size or 0) - WITHHELD)
        if not self.begun or there <= self.there:
            return
        first, self.there = self.there == 0, there
        if first:
            self._tell()
        elif self._call is None:
            self._call = asyncio.get_running_loop().call_later(_CALLS, self._tell)

    def complete(self, size: int) -> None:
        """All of it is verified."""
        self.size, self.there, self.begun, self.whole = size, size, True, True
        self._tell()

    def fail(self, fact: Exception) -> None:
        if not self.ended:
            self._fact = fact
            self._tell()

    async def await_begin(self) -> None:
        """Raises what keeps it from coming."""
        while not self.begun:
            await self._wait()

    async def await_byte(self, start: int) -> int:
        """Wait for the byte at `start`; return how many bytes there are behind that and before the end."""
        self.require()
        while self.there <= start:
            if self.whole:
                raise EOFError(f"the blob has {self.there} bytes")
            await self._wait()
        return self.there - start

    async def _wait(self) -> None:
        self.require()
        await self._news.wait()
        self.require()

    def require(self) -> None:
        """Raises what keeps it from coming."""
        if self._fact:
            raise self._fact.with_traceback(
                None
            )  # or each of those who wait would add its own to the others'

    def _tell(self) -> None:
        if self._call:
            self._call.cancel()
            self._call = None
        self._news.set()
        self._news = asyncio.Event()
