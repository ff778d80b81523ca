"""uvicorn's HTTP protocol, stricter, bounded, and able to send files. Only this module knows its inside.

- Requests that another reader might understand in another way are refused.
- What comes before a body is bounded in size and time: uvicorn bounds neither.
- It offers the ASGI extension `http.response.zerocopysend` (file, offset, count, more_body).
- It offers the extension `oci_registry.request.take`: an upload's body, past the parser (taken.py).
- It answers by itself, without a task and an ASGI call, what the app has at hand (registry/api/prompt.py).
- A body that passes the parser, as under TLS, may run further ahead of its reader.

What this relies on is listed in tests/server/test_protocol.py, which holds that the installed uvicorn has it.
"""

import asyncio
import json
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from registry.api.body import TAKE_BODY
from registry.api.prompt import Prompt
from registry.api.sending import ZERO_COPY
from registry.app import PROMPT, THREADS
from registry.server.corked import Corked
from registry.server.framing import framing_of
from registry.server.taken import TakenBody
from registry.server.zero_copy import Copier

logger = logging.getLogger("registry")

COPIER = "copier"  # in the app's state, beside what the lifespan has put there: one for all connections

READ_AHEAD = 2**18  # bytes of a body that is not taken which may wait for its reader; uvicorn has 64 KiB
TLS_WAITING = 2**17  # bytes for a slow client under TLS: uvloop's 512 KiB were no faster
TLS_FAREWELL = 3.0  # seconds for a client to take the rest and answer a close; uvloop waits for 30
HEAD_BYTES = 64 * 2**10  # of request line and fields: podman asks for 1,024 ranges in one field
HEAD_FIELDS = 100
HEAD_SECONDS = 10.0  # for a whole head, and for the first byte of a new connection
PIPELINED = 64  # requests of one piece behind a body that may wait for the answer before them
STALL_SECONDS = 60.0  # in which a body must bring something, and a client take something of an answer

_FIELDS = (
    b"content-type: application/json\r\n"
    b"x-content-type-options: nosniff\r\n"
    b"content-security-policy: default-src 'none'; sandbox\r\n"
    b"connection: close\r\n"
)

_HEAD_END = b"\r\n\r\n"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

Send = Callable[[Any], Awaitable[None]]


class Refused(Exception):
    """Raised in a parser's callback: uvicorn then calls `send_400_response`."""


class Protocol(HttpToolsProtocol):
    # The request that is being answered; `cycle`, uvicorn's own, is the last one read.
    _running: RequestResponseCycle | None = None
    _corked: Corked
    _refusal = (400, "")
    _head_bytes = 0  # received since the last head was complete
    _in_head = True
    _begun = False  # a head has begun, and is not complete
    _prompted = False  # the request that is being read has its answer
    _prompt: Prompt | None = None
    _copier: Copier | None = None
    _between = 0  # bytes since the body last brought something: chunk extensions, trailers
    _deaf = False  # a fault was found behind a complete request: its answer comes, and nothing more
    _head_timer: asyncio.TimerHandle | None = None
    _body_timer: asyncio.TimerHandle | None = None
    _write_timer: asyncio.TimerHandle | None = None
    _last_body = 0.0
    _end_of_last = b""  # the last bytes of a head that is not yet complete
    _held: bytearray | None = None  # what came behind a head whose body nobody has asked for yet
    _taken: TakenBody | None = None  # a body that does not pass the parser
    _behind = b""  # what came behind a request that waits for another's answer

    # -- the head ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._corked = Corked(transport, self.loop)
        self._prompt = self.app_state.get(PROMPT)
        if (threads := self.app_state.get(THREADS)) is not None:
            self._copier = self.app_state.setdefault(COPIER, Copier(threads))
        if self.scheme == "https":
            transport.set_write_buffer_limits(high=TLS_WAITING)
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._head_is_late)

    def data_received(self, data: bytes) -> None:
        while data and not self._is_closed():
            if self._held is not None:
                self._held += data
                self._bound(self._held)
                return
            if self.pipeline:
                # A request that waits takes a hundred times its bytes: one does, the rest stays as it came.
                self._behind += data
                self._bound(self._behind)
                return
            piece, data = self._split(data)
            self._parse(piece)

    def _split(self, data: bytes) -> tuple[bytes, bytes]:
        """What the parser is given, and what is kept from it: nothing behind the end of a head."""
        if not self._in_head:
            self._end_of_last = data[-3:]  # the next head may begin in here
            return data, b""
        joined = self._end_of_last + data
        end = joined.find(_HEAD_END)
        if end < 0:
            self._end_of_last = joined[-3:]
            return data, b""
        end += len(_HEAD_END) - len(self._end_of_last)
        self._end_of_last = b""
        return (data, b"") if end == len(data) else (data[:end], data[end:])

    def _parse(self, data: bytes) -> None:
        if was_head := self._in_head:
            self._head_bytes += len(data)
        else:
            self._between += len(data)
        super().data_received(data)
        if self._is_closed():
            return
        # The parser keeps a field until it is whole, and copies it at every piece that arrives.
        if (self._head_bytes if self._in_head else self._between) > HEAD_BYTES:
            self._refusal = (431, f"the request's head or trailers are larger than {HEAD_BYTES} bytes")
            self.send_400_response("")
        elif was_head and not self._in_head:
            # A body waits here until its reader asks for it, and may then not pass the parser at all.
            self._held = bytearray()
            self.flow.pause_reading()
            if self._body_timer is None:
                self._body_timer = self.loop.call_later(STALL_SECONDS, self._body_is_late)
        elif self._begun:
            if self._head_timer is None:
                self._head_timer = self.loop.call_later(HEAD_SECONDS, self._head_is_late)
        elif self._is_idle() and self.timeout_keep_alive_task is None:
            # uvicorn has stopped the keep-alive's time for bytes that began no request.
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _is_closed(self) -> bool:
        return self._deaf or self.transport.is_closing()

    def _is_idle(self) -> bool:
        answered = self._running is None or self._running.response_complete
        return answered and self._head_timer is None and not self.pipeline

    def on_message_begin(self) -> None:
        # uvicorn would make the ASGI scope already here: `on_headers_complete` does, for who needs one.
        self.url, self.headers, self.expect_100_continue = b"", [], False
        self._in_head, self._begun = True, True

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:
            super().on_header(name, value)  # trailers say nothing here, and are counted with what is between

    def on_headers_complete(self) -> None:
        size, self._head_bytes = self._head_bytes, 0
        self._in_head, self._begun, self._between = False, False, 0
        self._stop_head_timer()
        self._require_bounds(size)
        self._require_one_meaning()
        if len(self.pipeline) >= PIPELINED:
            raise Refused  # the parser was given them with a body's end, and does not stop there
        if self._answer_promptly():
            return
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.headers.extend(headers)
        self.url, self.expect_100_continue = url, expects
        super().on_headers_complete()
        self._last_body = self.loop.time()

    def on_message_complete(self) -> None:
        if self._prompted:
            self._prompted = False
        else:
            super().on_message_complete()
        self._in_head = True  # what follows in the same piece is the next one's

    def _answer_promptly(self) -> bool:
        """Without a task and an ASGI call, if the app has an answer at hand and nothing waits before it."""
        waits = self._running is not None and not self._running.response_complete
        if self._prompt is None or waits or self.flow.write_paused or not self.parser.should_keep_alive():
            return False
        if self.parser.get_http_version() != "1.1":  # the long way keeps no connection of an older client
            return False
        try:
            answer = self._prompt.find(self.parser.get_method(), self.url, self.headers, self.client)
        except Exception:  # to the parser it would be the request's fault
            logger.exception("an answer could not be given again")
            return False
        if answer is None:
            return False
        self._corked.write(b"".join((STATUS_LINE[200], *self._default_fields(), answer)))
        self._prompted = True
        self.server_state.total_requests += 1
        return True

    def _default_fields(self) -> list[bytes]:
        return [b"%b: %b\r\n" % field for field in self.server_state.default_headers]

    def _require_bounds(self, size: int) -> None:
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
        if self.parser.should_upgrade() and not self._is_bodiless():
            raise Refused  # the parser ends it at its head, and would read its body as requests

    def _is_bodiless(self) -> bool:
        lengths = [value for name, value in self.headers if name in (b"content-length", b"transfer-encoding")]
        return lengths in ([], [b"0"])

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self.transport.is_closing():
            return
        if self._running is not None and not self._running.response_complete:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._head_is_late)
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
        """With an OCI code. Never in the place, or into the middle, of another request's answer."""
        running = self._running
        unanswered = running is not None and not running.response_complete
        self._stop_head_timer()
        if running is not None and unanswered and not (running.more_body and running is self.cycle):
            self._deaf, running.keep_alive = True, False
            self.pipeline.clear()
            return
        answering = running is not None and unanswered and running.response_started
        self._disconnect()
        self._corked.flush()
        if not answering:
            status, message = self._refusal
            code = "UNSUPPORTED"
            # The parser tells in its own words what a callback raised, and this is no fault of the head.
            if isinstance(getattr(sys.exception(), "__context__", None), MemoryError):
                status, message, code = 503, "the server is short of memory: try again", "UNKNOWN"
            error = {"code": code, "message": message or msg, "detail": {}}
            body = json.dumps({"errors": [error]}).encode()
            fields = [*self._default_fields(), _FIELDS, b"content-length: %d\r\n\r\n" % len(body)]
            self.transport.write(b"".join([STATUS_LINE[status], *fields, body]))
        self.transport.close()

    # -- the body and the answer -----------------------------------------------------------------------

    def on_body(self, body: bytes) -> None:
        self._between, self._last_body = 0, self.loop.time()
        if self.cycle.response_complete:
            return
        self.cycle.body += body
        self._bound(self.cycle.body)
        self.cycle.message_event.set()

    def _bound(self, waiting: bytes | bytearray) -> None:
        if len(waiting) > READ_AHEAD:
            self.flow.pause_reading()

    def _take_body(self, cycle: RequestResponseCycle) -> TakenBody | None:
        """The extension: the body as a Source; None where it is here already or has begun to be read."""
        if self._held is None or cycle is not self.cycle or self.scheme != "http":
            return None
        if self.transport.is_closing():  # its descriptor may be another's by now
            return None
        framing = framing_of(self.headers)
        if framing is None or framing.most(READ_AHEAD) <= len(self._held):
            return None
        # First what may fail, as for want of descriptors: the body can still be read then.
        descriptor = os.dup(self.transport.get_extra_info("socket").fileno())
        try:
            taken = TakenBody(
                bytes(self._held), descriptor, framing, leave=self._abort, patience=STALL_SECONDS
            )
        except BaseException:
            os.close(descriptor)
            raise
        self.flow.pause_reading()
        if cycle.waiting_for_100_continue:
            cycle.waiting_for_100_continue = False
            cycle.transport.write(_CONTINUE)
        self._held, self._taken = None, taken
        return taken

    def _release(self) -> None:
        """Let the parser have what was held."""
        if self._held is None:
            return
        held, self._held = bytes(self._held), None
        self._last_body = self.loop.time()  # before, it was not the client that kept it waiting
        self.flow.resume_reading()
        self.data_received(held)

    def _give_back(self, taken: TakenBody) -> None:
        """What is behind a body that has been taken is the parser's, which still waits for the body."""
        self._taken = None
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self._in_head, self.cycle.more_body = True, False
        self.data_received(taken.framing.rest)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._is_closed():
            return
        if self._taken:
            self._give_back(self._taken)
        elif self._behind:  # the one that waited is being answered now, and nothing of this can be yet
            behind, self._behind = self._behind, b""
            self.data_received(behind)
        elif self.cycle.response_complete:
            self._release()
        elif self._held is not None:  # of the next one, which has not asked for it; uvicorn resumes for it
            self.flow.pause_reading()

    def _body_is_late(self) -> None:
        """Look now and then whether the body still comes; a reader that does not ask for it is no stall."""
        self._body_timer = None
        if not self.cycle.more_body or self.cycle.response_complete:
            return
        idle = self.loop.time() - self._last_body
        if idle >= STALL_SECONDS and not self.flow.read_paused:
            self._abort()
            return
        left = STALL_SECONDS - idle if idle < STALL_SECONDS else STALL_SECONDS
        self._body_timer = self.loop.call_later(left, self._body_is_late)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_writing(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _watch_writing(self, waiting: int) -> None:
        self._write_timer = self.loop.call_later(STALL_SECONDS, self._writing_is_late, waiting)

    def _writing_is_late(self, before: int) -> None:
        waiting = self.transport.get_write_buffer_size()
        if waiting < before:
            self._watch_writing(waiting)
        else:
            self._abort()

    def _abort(self) -> None:
        self._disconnect()
        self.transport.abort()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        # Under TLS the bytes have to pass through the transport.
        sends = self.scheme == "http" and self._copier is not None
        cycle.scope["extensions"] = {ZERO_COPY: {}} if sends else {}
        cycle.transport = cast("asyncio.Transport", self._corked)
        super()._start_asgi_task(cycle, partial(self._run, cycle, app))

    async def _run(self, cycle: RequestResponseCycle, app: Any, scope: Any, receive: Any, send: Send) -> None:
        taken: TakenBody | None = None

        def take() -> TakenBody | None:
            nonlocal taken
            taken = taken or self._take_body(cycle)
            return taken

        async def extended(message: Any) -> None:
            if taken and not taken.framing.ended:
                cycle.keep_alive = False  # what is left of the body would be read as the next request
            if message["type"] == ZERO_COPY:
                await self._send_file(cycle, message)
            else:
                await send(message)

        async def received() -> Any:
            if taken and taken is self._taken and not (cycle.disconnected or cycle.response_complete):
                message = await taken.message()
                if taken.framing.ended:
                    self._give_back(taken)
                return message
            if cycle is self.cycle:
                self._release()
            message = await receive()
            if message["type"] == "http.disconnect" and cycle.body and not cycle.response_complete:
                # uvicorn would drop what had arrived before the client went, and an upload keeps it.
                body, cycle.body = bytes(cycle.body), bytearray()
                return {"type": "http.request", "body": body, "more_body": True}
            return message

        scope["extensions"][TAKE_BODY] = {"take": take}
        try:
            await app(scope, received, extended)
        finally:
            if taken:
                taken.close()

    async def _send_file(self, cycle: RequestResponseCycle, message: dict[str, Any]) -> None:
        def wanted() -> bool:
            return not cycle.disconnected

        copier = self._copier
        if copier is None or not wanted():
            return
        count: int = message["count"]
        if count > cycle.expected_content_length:
            raise RuntimeError("Response content longer than Content-Length")
        await self._flush()
        if not wanted():
            return
        target = os.dup(self.transport.get_extra_info("socket").fileno())
        try:
            sent = await copier.copy(target, message["file"], message["offset"], count, wanted=wanted)
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
        for timer in (self._body_timer, self._write_timer):
            if timer is not None:
                timer.cancel()
        self._disconnect()

    def shutdown(self) -> None:
        self._corked.flush()  # uvicorn closes the transport, not what waits before it
        super().shutdown()
        if self.scheme == "https" and self.transport.is_closing():
            # A client that only keeps its connection does not look at it, and would hold up the stop.
            self.loop.call_later(TLS_FAREWELL, self.transport.abort)

    def _disconnect(self) -> None:
        """Tell the request in flight that its client is gone: writing for it would raise from now on."""
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
            self.flow.resume_writing()
