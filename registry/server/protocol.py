"""uvicorn's HTTP protocol, stricter, bounded, and able to send files. Only this module knows its inside.

- Requests that another reader might understand in another way are refused.
- What comes before a body is bounded in size and time: uvicorn bounds neither.
- It offers the ASGI extension `http.response.zerocopysend` (file, offset, count, more_body).
- A body may run further ahead of its reader, so that uploads are read in larger pieces.

`pinned` names what this relies on; tests/server/test_protocol.py holds that the installed uvicorn has it.
"""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from registry.server.zero_copy import copy

ZERO_COPY = "http.response.zerocopysend"

READ_AHEAD = 2**19  # bytes of a body that may wait for its reader; uvicorn's 64 KiB pauses at every read
HEAD_BYTES = 64 * 2**10  # of request line and fields: podman asks for 1,024 ranges in one field
HEAD_FIELDS = 100
HEAD_SECONDS = 10.0  # for a whole head, and for the first byte of a new connection

_FIELDS = (
    b"content-type: application/json\r\n"
    b"x-content-type-options: nosniff\r\n"
    b"content-security-policy: default-src 'none'; sandbox\r\n"
    b"connection: close\r\n"
)

_CORK = 64 * 2**10  # bytes above which a write is worth a system call of its own

Send = Callable[[Any], Awaitable[None]]


class Refused(Exception):
    """Raised in a parser's callback: uvicorn then calls `send_400_response`."""


class Corked:
    """A transport for answers: what is written in one turn of the loop goes out at once.

    uvicorn writes head and body one after the other, and each write is a system call.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._waiting: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self._waiting:
            self._loop.call_soon(self.flush)
        self._waiting.append(data)
        if len(data) > _CORK:
            self.flush()

    def flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        if waiting and not self._transport.is_closing():  # else the client is gone: writing would raise
            self._transport.writelines(waiting)

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()


class Protocol(HttpToolsProtocol):
    # The request that is being answered; `cycle`, uvicorn's own, is the last one read.
    _running: RequestResponseCycle | None = None
    _corked: Corked
    _refusal = (400, "")
    _head_bytes = 0  # received since the last head was complete
    _in_head = True
    _head_timer: asyncio.TimerHandle | None = None

    # -- the head ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._corked = Corked(transport, self.loop)
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._head_is_late)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
            # The parser keeps a field until it is whole, and copies it at every piece that arrives.
            self._refusal = (431, f"the request's head is larger than {HEAD_BYTES} bytes")
            self.send_400_response("")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._head_is_late)

    def on_headers_complete(self) -> None:
        self._in_head, self._head_bytes = False, 0
        self._stop_head_timer()
        self._require_bounds()
        self._require_one_meaning()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_head = True  # what follows in the same piece is the next one's

    def _require_bounds(self) -> None:
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > HEAD_BYTES or len(self.headers) > HEAD_FIELDS:
            self._refusal = (
                431,
                f"the request's head has more than {HEAD_BYTES} bytes or {HEAD_FIELDS} fields",
            )
            raise Refused

    def _require_one_meaning(self) -> None:
        version = self.parser.get_http_version()
        names = [name for name, _ in self.headers]
        if version not in ("1.0", "1.1"):
            raise Refused
        if version == "1.1" and names.count(b"host") != 1:  # RFC 9112, section 3.2
            raise Refused
        if version == "1.0" and b"transfer-encoding" in names:  # section 6.1: faulty framing
            raise Refused

    def _head_is_late(self) -> None:
        self._head_timer = None
        running = self._running
        if self.transport.is_closing() or (running is not None and not running.response_complete):
            return
        if self._head_bytes:
            self._refusal = (408, f"the request's head was not complete within {HEAD_SECONDS:.0f} s")
            self.send_400_response("")
        else:
            self.transport.close()

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def send_400_response(self, msg: str) -> None:
        """With an OCI code. Never into the middle of an earlier answer: that one is cut short instead."""
        running = self._running
        answering = running is not None and running.response_started and not running.response_complete
        self._disconnect()
        self._stop_head_timer()
        self._corked.flush()
        if not answering:
            status, message = self._refusal
            error = {"code": "UNSUPPORTED", "message": message or msg, "detail": {}}
            body = json.dumps({"errors": [error]}).encode()
            fields = [b"%b: %b\r\n" % field for field in self.server_state.default_headers]
            length = b"content-length: %d\r\n\r\n" % len(body)
            self.transport.write(b"".join([STATUS_LINE[status], *fields, _FIELDS, length, body]))
        self.transport.close()

    # -- the body and the answer -----------------------------------------------------------------------

    def on_body(self, body: bytes) -> None:
        if self.cycle.response_complete:
            return
        self.cycle.body += body
        if len(self.cycle.body) > READ_AHEAD:
            self.flow.pause_reading()
        self.cycle.message_event.set()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        if self.scheme == "http":  # under TLS the bytes have to pass through the transport
            cycle.scope["extensions"] = {ZERO_COPY: {}}
        cycle.transport = cast("asyncio.Transport", self._corked)
        super()._start_asgi_task(cycle, partial(self._run, cycle, app))

    async def _run(self, cycle: RequestResponseCycle, app: Any, scope: Any, receive: Any, send: Send) -> None:
        async def extended(message: Any) -> None:
            if message["type"] == ZERO_COPY:
                await self._send_file(cycle, message)
            else:
                await send(message)

        async def received() -> Any:
            message = await receive()
            if message["type"] == "http.disconnect" and cycle.body and not cycle.response_complete:
                # uvicorn would drop what had arrived before the client went, and an upload keeps it.
                body, cycle.body = bytes(cycle.body), bytearray()
                return {"type": "http.request", "body": body, "more_body": True}
            return message

        await app(scope, received, extended)

    async def _send_file(self, cycle: RequestResponseCycle, message: dict[str, Any]) -> None:
        def wanted() -> bool:
            return not cycle.disconnected

        if not wanted():
            return
        count: int = message["count"]
        if count > cycle.expected_content_length:
            raise RuntimeError("Response content longer than Content-Length")
        await self._flush()
        if not wanted():
            return
        target = os.dup(self.transport.get_extra_info("socket").fileno())
        try:
            sent = await copy(target, message["file"], message["offset"], count, wanted=wanted)
        finally:
            os.close(target)
        if not sent:
            cycle.disconnected = True  # the transport says so only later; what follows goes nowhere
            self.transport.abort()
            return
        cycle.expected_content_length -= count
        if not message.get("more_body", False):
            await cycle.send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _flush(self) -> None:
        """Wait until the transport holds nothing back: what it holds goes before the file."""
        self._corked.flush()
        self.transport.set_write_buffer_limits(high=0)
        try:
            await self.flow.drain()
        finally:
            if not self.transport.is_closing():
                self.transport.set_write_buffer_limits()

    # -- the end ---------------------------------------------------------------------------------------

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop_head_timer()
        self._disconnect()

    def _disconnect(self) -> None:
        """Tell the request in flight that its client is gone: writing for it would raise from now on."""
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
            self.flow.resume_writing()


def pinned() -> list[str]:
    """What this module uses of uvicorn and this uvicorn lacks; empty means that it can be used."""
    used: dict[type, tuple[str, ...]] = {
        HttpToolsProtocol: ("on_body", "_start_asgi_task", "connection_made", "send_400_response"),
        RequestResponseCycle: ("send", "receive", "run_asgi"),
    }
    missing = [
        f"{owner.__name__}.{name}"
        for owner, names in used.items()
        for name in names
        if not hasattr(owner, name)
    ]
    assigned = RequestResponseCycle.__init__.__code__.co_names
    attributes = ("body", "disconnected", "expected_content_length", "message_event", "response_complete")
    return missing + [f"RequestResponseCycle().{name}" for name in attributes if name not in assigned]
