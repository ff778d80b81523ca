"""A blob's bytes from the upstream into its file, gone on with where they broke off; not yet verified."""

import asyncio

from registry.cache.progress import Progress
from registry.cache.wanted import Wanted
from registry.upstream.client import Stream
from registry.upstream.errors import UpstreamBusy, UpstreamFailed, UpstreamForged
from storage import contracts

PATIENCE = 30.0  # seconds without a byte, whoever fetches; then all who wait are told
_SILENCE = 10.0  # seconds without a byte until another connection is tried
_PAUSES = (0.1, 0.5, 1.0, 2.0, 4.0, 8.0)  # seconds between two of those
_PROMPT = (
    5.0  # seconds in which the first try and the second have to begin: some clients would go on elsewhere
)


class Intake:
    """`brought` is when the last byte came, by the loop's clock."""

    def __init__(self, wanted: Wanted, file: contracts.Fetch, progress: Progress, brought: float) -> None:
        self._wanted, self._file, self._progress = wanted, file, progress
        self._loop = asyncio.get_running_loop()
        self._begun, self._brought, self._failures = self._loop.time(), brought, 0
        self._written = 0

    async def take(self, written: int) -> None:
        """All that is behind the first `written` bytes. Raises the facts of upstreams, StoreFull."""
        self._written = written
        while True:
            try:
                await self._stream()
                return
            except TimeoutError:
                await self._pause(self._failed(f"no byte has come for {_SILENCE:.0f} s"))
            except (UpstreamFailed, UpstreamBusy) as fact:
                await self._pause(fact)

    async def _stream(self) -> None:
        async with (
            asyncio.timeout(self._silence()) as silence,
            self._wanted.source(self._written) as stream,
        ):
            silence.reschedule(None)  # what the disk takes is not the upstream's time
            await self._announce(stream)
            silence.reschedule(self._loop.time() + self._silence())
            async for chunk in stream.chunks:
                silence.reschedule(None)
                await self._write(chunk)
                silence.reschedule(self._loop.time() + _SILENCE)
        if self._progress.size is None:
            await self._begin(self._written)
        if self._written != self._progress.size:
            raise self._forged(f"it ends after {self._written} of {self._progress.size} bytes")

    async def _announce(self, stream: Stream) -> None:
        known, said = self._progress.size, stream.size
        if known is not None and said not in (None, known):
            raise self._forged(f"it says that the blob has {said} bytes, {known} were expected")
        size = known if said is None else said
        if size is not None:
            await self._begin(size)

    async def _begin(self, size: int) -> None:
        await self._file.announce(size)
        self._progress.begin(size)
        self._progress.reach(self._written)

    async def _write(self, chunk: bytes) -> None:
        size = self._progress.size
        if size is not None and self._written + len(chunk) > size:
            raise self._forged(f"it sends more than {size} bytes")
        self._written = await self._file.append(chunk)
        self._brought, self._failures = self._loop.time(), 0
        self._progress.reach(self._written)

    async def _pause(self, fact: UpstreamFailed | UpstreamBusy) -> None:
        """Until another try; raises the fact if there is no point in one."""
        if isinstance(fact, UpstreamBusy) and not self._progress.begun:
            raise fact  # who has nothing yet may ask another registry, or come again when that one says so
        now = self._loop.time()
        tries = len(_PAUSES) if self._progress.begun else 1
        late = now - self._brought > PATIENCE if self._progress.begun else now - self._begun > _PROMPT
        if late or self._failures >= tries:
            raise fact
        pause = max(_PAUSES[self._failures], fact.retry_after or 0.0)
        if now + pause - self._brought > PATIENCE:
            raise fact
        self._failures += 1
        await asyncio.sleep(pause)

    def _silence(self) -> float:
        """For the first byte of a connection. Who takes over from one that waited in vain waits no more."""
        return min(_SILENCE, max(1.0, self._brought + PATIENCE - self._loop.time()))

    def _failed(self, why: str) -> UpstreamFailed:
        return UpstreamFailed(self._wanted.upstream, why)

    def _forged(self, why: str) -> UpstreamForged:
        return UpstreamForged(self._wanted.upstream, f"{self._wanted.digest}: {why}")
