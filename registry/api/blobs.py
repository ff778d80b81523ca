"""GET, HEAD and DELETE of blobs (distribution-spec, "Pulling blobs", "Deleting Blobs")."""

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from registry.api.ranges import Span, closing, content_range, multipart_length, parse_range, part_header
from registry.api.wire import IMMUTABLE, Call, digest_headers
from storage.contracts import BlobFile
from storage.digest import Digest

_BYTES = "application/octet-stream"


class FileResponse(StreamingResponse):
    """Streams an open file and closes it, whether the client stays or not."""

    def __init__(
        self,
        stack: AsyncExitStack,
        content: AsyncIterator[bytes],
        *,
        status_code: int,
        headers: dict[str, str],
    ) -> None:
        super().__init__(content, status_code=status_code, headers=headers)
        self._stack = stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._stack:
            await super().__call__(scope, receive, send)


async def read(call: Call) -> Response:
    """GET: all of it, one range or many (RFC 9110, section 14)."""
    digest = _digest(call)
    async with AsyncExitStack() as stack:
        file = await stack.enter_async_context(call.repository.blob(digest))
        headers = _headers(digest)
        if call.condition().not_modified(digest):
            return Response(status_code=304, headers=headers)
        spans = parse_range(_range_header(call, digest), file.size)
        content, status, more = _content(file, spans)
        return FileResponse(stack.pop_all(), content, status_code=status, headers=headers | more)


async def head(call: Call) -> Response:
    digest = _digest(call)
    size = await call.repository.blob_size(digest)
    if call.condition().not_modified(digest):
        return Response(status_code=304, headers=_headers(digest))
    return Response(headers=_headers(digest) | {"Content-Type": _BYTES, "Content-Length": str(size)})


async def delete(call: Call) -> Response:
    digest = _digest(call)
    await call.repository.delete_blob(digest)
    return Response(status_code=202, headers={"Docker-Content-Digest": str(digest)})


def _digest(call: Call) -> Digest:
    assert call.digest is not None
    return call.digest


def _headers(digest: Digest) -> dict[str, str]:
    return digest_headers(digest) | {"Accept-Ranges": "bytes", "Cache-Control": IMMUTABLE}


def _range_header(call: Call, digest: Digest) -> str | None:
    """`Range`, unless `If-Range` names other bytes than these (section 13.1.5)."""
    headers = call.request.headers
    if_range = headers.get("if-range")
    return headers.get("range") if if_range in (None, f'"{digest}"') else None


def _content(file: BlobFile, spans: list[Span] | None) -> tuple[AsyncIterator[bytes], int, dict[str, str]]:
    if spans is None:
        return file.chunks(0, file.size), 200, {"Content-Type": _BYTES, "Content-Length": str(file.size)}
    if len(spans) == 1:
        return (
            file.chunks(spans[0].start, spans[0].length),
            206,
            {
                "Content-Type": _BYTES,
                "Content-Length": str(spans[0].length),
                "Content-Range": content_range(spans[0], file.size),
            },
        )
    boundary = secrets.token_hex(16)
    length = multipart_length(boundary, spans, file.size, _BYTES)
    return (
        _parts(file, spans, boundary),
        206,
        {"Content-Type": f"multipart/byteranges; boundary={boundary}", "Content-Length": str(length)},
    )


async def _parts(file: BlobFile, spans: list[Span], boundary: str) -> AsyncIterator[bytes]:
    for span in spans:
        yield part_header(boundary, span, file.size, _BYTES)
        async for chunk in file.chunks(span.start, span.length):
            yield chunk
    yield closing(boundary)
