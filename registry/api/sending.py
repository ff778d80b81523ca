"""Sending an open blob: by the server's zero-copy extension where it has one, else through memory."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from itertools import groupby

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from registry.api.ranges import Span
from storage.contracts import BlobFile

ZERO_COPY = "http.response.zerocopysend"
# An extension of our server, for tests of clients: the connection ends in the middle of whatever.
END_CONNECTION = "oci_registry.connection.end"

Part = bytes | Span
"""Bytes to send as they are, or a span of the file."""

_SMALL = 64 * 2**10  # bytes of a span below which reading it costs less than a sendfile of its own
_GATHER = 2**20  # bytes of small parts that are sent as one


class FileResponse(StreamingResponse):
    """Sends the parts in order and closes the file, whether the client stays or not."""

    def __init__(
        self,
        stack: AsyncExitStack,
        file: BlobFile,
        parts: Sequence[Part],
        *,
        status_code: int,
        headers: dict[str, str],
    ) -> None:
        super().__init__(_read_all(file, parts), status_code=status_code, headers=headers)
        self._stack, self._file, self._parts = stack, file, parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._stack:
            if ZERO_COPY in scope.get("extensions", {}) and self._file.descriptor is not None:
                await self._send_zero_copy(self._file.descriptor, send)
            else:
                await super().__call__(scope, receive, send)

    async def _send_zero_copy(self, descriptor: int, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        parts = list(self._parts_by_size()) or [[]]
        for number, part in enumerate(parts, 1):
            message: dict[str, object]
            if isinstance(part, Span):
                message = {"type": ZERO_COPY, "file": descriptor, "offset": part.start, "count": part.length}
            else:
                message = {"type": "http.response.body", "body": await _join(self._file, part)}
            await send(message | {"more_body": number < len(parts)})

    def _parts_by_size(self) -> Iterator[Span | list[Part]]:
        """Large spans alone; what is small in groups of a mebibyte at most."""
        for large, group in groupby(
            self._parts, lambda part: isinstance(part, Span) and part.length >= _SMALL
        ):
            if large:
                yield from (part for part in group if isinstance(part, Span))
                continue
            gathered: list[Part] = []
            waiting = 0
            for part in group:
                gathered.append(part)
                waiting += part.length if isinstance(part, Span) else len(part)
                if waiting >= _GATHER:
                    yield gathered
                    gathered, waiting = [], 0
            if gathered:
                yield gathered


async def _join(file: BlobFile, parts: Sequence[Part]) -> bytes:
    """Bytes and small spans as one, with one hop for all the reading."""
    read = iter(await file.read([(part.start, part.length) for part in parts if isinstance(part, Span)]))
    return b"".join(next(read) if isinstance(part, Span) else part for part in parts)


async def _read_all(file: BlobFile, parts: Sequence[Part]) -> AsyncIterator[bytes]:
    for part in parts:
        if isinstance(part, bytes):
            yield part
            continue
        async for chunk in file.chunks(part.start, part.length):
            yield chunk
