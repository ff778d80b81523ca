"""GET, HEAD and DELETE of blobs (distribution-spec, "Pulling blobs", "Deleting Blobs")."""

import secrets
from contextlib import AsyncExitStack

from starlette.responses import Response

from registry.api.prompt import LARGEST
from registry.api.ranges import Span, closing, content_range, multipart_length, parse_range, part_header
from registry.api.sending import FileResponse, Part
from registry.api.wire import IMMUTABLE, Call, Lasting, digest_headers
from registry.sources import Source
from storage.digest import Digest

_BYTES = "application/octet-stream"


async def read(call: Call) -> Response:
    """GET: all of it, one range or many (RFC 9110, section 14)."""
    digest, source = _digest(call), call.source
    size = await source.known_size(digest)
    if size is not None and (answer := await _answer_small(call, source, digest, size)):
        return answer
    headers = _headers(digest)
    async with AsyncExitStack() as stack:
        file = await stack.enter_async_context(source.blob(digest, size))
        if call.condition().not_modified(digest):
            return Response(status_code=304, headers=headers)
        parts, status, more = _content(file.size, parse_range(_range_header(call, digest), file.size))
        return FileResponse(stack.pop_all(), file, parts, status_code=status, headers=headers | more)


async def _answer_small(call: Call, source: Source, digest: Digest, size: int) -> Response | None:
    """What needs no open file: kept in memory, as manifests are, are configs, mostly."""
    if call.condition().not_modified(digest):
        return Response(status_code=304, headers=_headers(digest))
    spans = parse_range(_range_header(call, digest), size)
    if spans is not None or size > LARGEST:
        return None
    _, _, more = _content(size, spans)
    raw = await source.blob_bytes(digest)
    return Lasting(raw, headers=_headers(digest) | more, content=(digest, size))


async def head(call: Call) -> Response:
    digest = _digest(call)
    size = await call.pushed.blob_size(digest)
    if call.condition().not_modified(digest):
        return Response(status_code=304, headers=_headers(digest))
    headers = _headers(digest) | {"Content-Type": _BYTES, "Content-Length": str(size)}
    return Lasting(headers=headers, content=(digest, size))


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


def _content(size: int, spans: list[Span] | None) -> tuple[list[Part], int, dict[str, str]]:
    """What to send, with which status, and the headers that depend on it."""
    if spans is None:
        whole: list[Part] = [Span(0, size)] if size else []
        return whole, 200, {"Content-Type": _BYTES, "Content-Length": str(size)}
    if len(spans) == 1:
        headers = {
            "Content-Type": _BYTES,
            "Content-Length": str(spans[0].length),
            "Content-Range": content_range(spans[0], size),
        }
        return [spans[0]], 206, headers
    boundary = secrets.token_hex(16)
    headers = {
        "Content-Type": f"multipart/byteranges; boundary={boundary}",
        "Content-Length": str(multipart_length(boundary, spans, size, _BYTES)),
    }
    parts: list[Part] = []
    for span in spans:
        parts += [part_header(boundary, span, size, _BYTES), span]
    return [*parts, closing(boundary)], 206, headers
