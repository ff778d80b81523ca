"""A blob that lands while it is read: a BlobFile as any other, but for the waits."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from registry.cache.progress import Progress
from storage.contracts import BlobFile

_PIECE = 2**20


@dataclass(frozen=True, slots=True)
class LandingFile:
    size: int
    _progress: Progress
    _file: BlobFile

    @property
    def descriptor(self) -> int | None:
        return self._file.descriptor

    async def ready(self, start: int, length: int) -> int:
        return min(length, await self._progress.await_byte(start))

    async def read(self, pieces: Sequence[tuple[int, int]]) -> list[bytes]:
        for start, length in pieces:
            if length:
                await self._progress.await_byte(start + length - 1)
        return await self._file.read(pieces)

    async def chunks(self, start: int, length: int) -> AsyncIterator[bytes]:
        while length:
            count = min(await self.ready(start, length), _PIECE)
            yield (await self._file.read([(start, count)]))[0]
            start, length = start + count, length - count
