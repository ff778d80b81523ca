"""Upstreams that do as a test says: what each request brings, and how it ends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from registry.cache.wanted import Wanted
from registry.upstream.client import Stream
from storage.contracts import BlobFile
from storage.digest import Digest
from storage.store import Store

UPSTREAM, REPOSITORY = "up.example", "@up.example/team/app"


@dataclass(frozen=True)
class Answer:
    """What one request brings: content from its offset on, up to `end`; then it ends, hangs or raises.

    `said` is the blob's size as its head has it: a number, nothing, or (by default) the truth.
    """

    end: int | None = None
    raises: Exception | None = None
    refuses: Exception | None = None
    hangs: bool = False
    said: int | str | None = "true"
    content: bytes | None = None
    gate: asyncio.Event | None = None


@dataclass
class Script:
    """One answer for each request, then the last one again. `asked` has their offsets."""

    content: bytes
    answers: list[Answer] = field(default_factory=lambda: [Answer()])
    piece: int = 10_000
    asked: list[int] = field(default_factory=list)
    brought: int = 0

    @asynccontextmanager
    async def source(self, offset: int) -> AsyncIterator[Stream]:
        answer = self.answers[min(len(self.asked), len(self.answers) - 1)]
        self.asked.append(offset)
        await asyncio.sleep(0)
        if answer.refuses:
            raise answer.refuses
        content = self.content if answer.content is None else answer.content
        size = len(content) if isinstance(answer.said, str) else answer.said
        yield Stream(size, self._bring(content, offset, answer))

    async def _bring(self, content: bytes, offset: int, answer: Answer) -> AsyncIterator[bytes]:
        end = len(content) if answer.end is None else answer.end
        for start in range(offset, end, self.piece):
            if answer.gate and start > offset:
                await answer.gate.wait()
            chunk = content[start : min(start + self.piece, end)]
            self.brought += len(chunk)
            yield chunk
            await asyncio.sleep(0)
        if answer.hangs:
            await asyncio.Event().wait()
        if answer.raises:
            raise answer.raises


@dataclass
class Claims:
    """What the index would know: who has claimed what."""

    store: Store
    claimed: list[Digest] = field(default_factory=list)

    def wanted(self, script: Script, *, digest: Digest | None = None) -> Wanted:
        digest = digest or Digest.of(script.content)

        async def held() -> bool:
            return digest in self.claimed

        async def landed() -> None:
            assert self.store.blobs.size(digest) == len(script.content)
            self.claimed.append(digest)

        return Wanted(UPSTREAM, REPOSITORY, digest, script.source, held, landed)


async def whole(file: BlobFile, start: int = 0) -> bytes:
    return b"".join([chunk async for chunk in file.chunks(start, file.size - start)])
