"""uvicorn's HTTP protocol, stricter, bounded, and able to send files. Only this module knows its inside.

- Requests that another reader might understand in another way are refused.
- What comes before a body is bounded in size and time: uvicorn bounds neither.
- It offers the ASGI extension `http.response.zerocopysend` (file, offset, count, more_body).
- It offers the extension `oci_registry.request.take`: an upload's body, past the parser (taken.py).
- It offers the extension `oci_registry.connection.end`: a connection that breaks, for tests of clients.
- It answers by itself, without a task and an ASGI call, what the app has at hand (registry/api/prompt.py).
- A body that passes the parser, as under TLS, may run further ahead of its reader.

What this relies on is listed in tests/server/test_protocol.py, which holds that the installed uvicorn has it.
"""

import asyncio
import logging
import os
import sys
import time
from functools import partial
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from registry.api.prompt import PROMPT, Prompt
from registry.api.sending import ZERO_COPY
from registry.app import THREADS
from registry.server.client_names import end_of, is_outdated, name_of
from registry.server.corked import Corked
from registry.server.crowd import Crowd, most_connections
from registry.server.exchange import Exchange
from registry.server.framing import framing_of
from registry.server.handshakes import HANDSHAKE
from registry.server.heads import Ends, Refused, require_one_meaning
from registry.server.limits import Limits
from registry.server.patience import Patience
from registry.server.readiness import untaken
from registry.server.refusals import refusal
from registry.server.seldom import Seldom
from registry.server.taken import TakenBody
from registry.server.timers import Timer
from registry.server.zero_copy import Copier

logger = logging.getLogger("registry")

# In the app's state, beside what the lifespan has put there: one for all connections.
COPIER, CROWD, SELDOM = "copier", "crowd", "seldom"

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Protocol(HttpToolsProtocol):
    limits = Limits()

    corked: Corked
    copier: Copier | None = None
    taken: TakenBody | None = None  # a body that does not pass the parser

    # The request that is being answered; `cycle`, uvicorn's own, is the last one read.
    _running: RequestResponseCycle | None = None
    _refusal = (400, "")
    _head_bytes = 0  # received since the last head was complete
    _in_head = True
    _begun = False  # a head has begun, and is not complete
    _prompted = False  # the request that is being read has its answer
    _prompt: Prompt | None = None
    _between = 0  # bytes since the body last brought something: chunk extensions, trailers
    _deaf = False  # a fault was found behind a complete request: its answer comes, and nothing more
    _passed = 0  # bytes since
    silent_since: float | None = None  # a new connection, which has not sent a byte
    _surplus = False  # one connection too many: whatever it asks, it is refused
    _paused = (0.0, 0)  # when writing had to wait, and for how many bytes
    _held: bytearray | None = None  # what came behind a head whose body nobody has asked for yet
    _behind = b""  # what came behind a request that waits for another's answer
    _certificate = ""  # the name in the client's, which the TLS layer has verified
    _certified_until = 0.0

    # -- the head ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.corked = Corked(transport, self.loop, self.limits)
        self.taking = Patience(self.limits.stall_seconds, self.limits.rate)
        self._ends = Ends()
        self._head_timer = Timer(self.loop)
        self._write_timer = Timer(self.loop)
        self._prompt = self.app_state.get(PROMPT)
        if (threads := self.app_state.get(THREADS)) is not None:
            self.copier = self.app_state.setdefault(COPIER, Copier(threads))
        if self.scheme == "https":
            transport.set_write_buffer_limits(high=self.limits.tls_waiting)
            self._certificate = name_of(transport, self._seldom())
            self._certified_until = end_of(transport)
        self._head_timer.start(self.limits.head_seconds, self._head_is_late)
        self.silent_since = self.loop.time()
        self._join_crowd()

    def _join_crowd(self) -> None:
        if (crowd := self.app_state.get(CROWD)) is None:
            crowd = self.app_state[CROWD] = Crowd(most_connections(self.limits.connections), self.loop)
        count = len(self.connections)
        others = (each for each in cast("set[Protocol]", self.connections) if not each.transport.is_closing())
        if crowd.has_room(others, count):
            return
        self._surplus, self.silent_since = True, None
        if self.scheme == "https" and count > crowd.most + 2 * self.limits.surplus:
            self.transport.abort()  # those before it wait for a farewell that may not come
        elif count > crowd.most + self.limits.surplus:
            self._turn_away()
        else:
            # A client that has not asked yet takes an answer for a fault.
            self._head_timer.start(self.limits.surplus_seconds, self._turn_away)

    def _turn_away(self) -> None:
        if not self.transport.is_closing():
            self._refuse(503, "the server has as many connections as it can serve: try again")

    @property
    def idle_until(self) -> float | None:
        timer = self.timeout_keep_alive_task
        return None if timer is None else timer.when()

    def leave(self) -> None:
        self.corked.flush()
        if self.scheme == "https" and not self.transport.get_write_buffer_size():
            self.transport.abort()  # a farewell would keep the descriptor
        else:
            self.timeout_keep_alive_handler()

    def timeout_keep_alive_handler(self) -> None:
        self._unset_keepalive_if_required()
        if not self.transport.is_closing():
            self.corked.close()

    def data_received(self, data: bytes) -> None:
        self.silent_since = None
        if self._surplus:
            self._turn_away()
        if self._deaf:
            self._passed += len(data)
            if self._passed > self.limits.read_ahead:
                self.flow.pause_reading()  # not before: a close with bytes unread may take the answer back
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
            piece, data = self._ends.split(data, in_head=self._in_head)
            self._parse(piece)

    def _parse(self, data: bytes) -> None:
        # The parser keeps a field until it is whole, and copies it at every piece that arrives.
        most = self.limits.head_bytes
        if was_head := self._in_head:
            if data[0] == HANDSHAKE and not self._head_bytes:
                self._refuse_tls()
                return
            room, self._head_bytes = most - self._head_bytes, self._head_bytes + len(data)
            super().data_received(data[:room])
        else:
            self._between += len(data)
            super().data_received(data)
        if self._is_closed():
            return
        if (self._head_bytes if self._in_head else self._between) > most:
            self._refuse(431, f"the request's head or trailers are larger than {most} bytes")
        elif was_head and not self._in_head:
            # A body waits here until its reader asks for it, and may then not pass the parser at all.
            self._held = bytearray()
            self.flow.pause_reading()
        elif self._begun:
            if not self._head_timer.runs:
                self._head_timer.start(self.limits.head_seconds, self._head_is_late)
        elif self._is_idle() and self.timeout_keep_alive_task is None:
            # uvicorn has stopped the keep-alive's time for bytes that began no request.
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _seldom(self) -> Seldom:
        found: Seldom = self.app_state.setdefault(SELDOM, Seldom())
        return found

    def _refuse_tls(self) -> None:
        """In HTTP, and no alert: Go's clients know it by that, say so, and some go on in plain HTTP."""
        self._seldom().say(
            "TLS on the plain HTTP port by %s, answered with 400: some clients try it first; for the others "
            "serve HTTPS (--tls-cert and --tls-key, or --tls-self-signed), or let them use http://",
            self.client[0] if self.client else "?",
        )
        self._refuse(400, "this port speaks plain HTTP, and the request came by TLS: use http://")

    def _is_closed(self) -> bool:
        return self._deaf or self.transport.is_closing()

    def _is_idle(self) -> bool:
        answered = self._running is None or self._running.response_complete
        return answered and not self._head_timer.runs and not self.pipeline

    def on_message_begin(self) -> None:
        # uvicorn would make the ASGI scope already here: `on_headers_complete` does, for who needs one.
        self.url, self.headers, self.expect_100_continue = b"", [], False
        self._in_head, self._begun = True, True

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > self.limits.target_bytes:
            raise self._refused(414, f"the request's target is larger than {self.limits.target_bytes} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:
            super().on_header(name, value)  # trailers say nothing here, and are counted with what is between

    def on_headers_complete(self) -> None:
        self._in_head, self._begun, self._head_bytes, self._between = False, False, 0, 0
        self._head_timer.stop()
        if len(self.headers) > self.limits.head_fields:
            raise self._refused(431, f"the request has more than {self.limits.head_fields} header fields")
        version = self.parser.get_http_version()
        require_one_meaning(version, self.headers, upgrades=self.parser.should_upgrade())
        if len(self.pipeline) >= self.limits.pipelined:
            raise Refused  # the parser was given them with a body's end, and does not stop there
        if self._certificate and (time.time() > self._certified_until or is_outdated(self.transport)):
            # A connection may be older than that, and only a handshake verifies anew.
            raise self._refused(
                503, "the client's certificate has ended, or its authority was replaced: connect again"
            )
        if self._answer_promptly():
            return
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.headers.extend(headers)
        self.url, self.expect_100_continue = url, expects
        super().on_headers_complete()

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
            method = self.parser.get_method()
            answer = self._prompt.find(method, self.url, self.headers, self.client, self._certificate)
        except Exception:  # to the parser it would be the request's fault
            logger.exception("an answer could not be given again")
            return False
        if answer is None:
            return False
        self.corked.write(b"".join((STATUS_LINE[200], *self._default_fields(), answer)))
        self._prompted = True
        self.server_state.total_requests += 1
        return True

    def _default_fields(self) -> list[bytes]:
        return [b"%b: %b\r\n" % field for field in self.server_state.default_headers]

    def _refused(self, status: int, message: str) -> Refused:
        """To be raised in a parser's callback."""
        self._refusal = (status, message)
        return Refused()

    def _head_is_late(self) -> None:
        if self.transport.is_closing():
            return
        if self._running is not None and not self._running.response_complete:
            self._head_timer.start(self.limits.head_seconds, self._head_is_late)
            return
        if self._head_bytes:
            self._refuse(408, f"the request's head was not complete within {self.limits.head_seconds:.0f} s")
        else:
            self.transport.close()

    def _refuse(self, status: int, message: str) -> None:
        self._refusal = (status, message)
        self.send_400_response("")

    def send_400_response(self, msg: str) -> None:
        """With an OCI code. Never in the place, or into the middle, of another request's answer."""
        running = self._running
        unanswered = running is not None and not running.response_complete
        self._head_timer.stop()
        if running is not None and unanswered and not (running.more_body and running is self.cycle):
            self._deaf, running.keep_alive = True, False
            self.pipeline.clear()
            return
        answering = running is not None and unanswered and running.response_started
        self._disconnect()
        self.corked.flush()
        if not answering:
            status, message = self._refusal
            # The parser tells in its own words what a callback raised, and this is no fault of the head.
            if isinstance(getattr(sys.exception(), "__context__", None), MemoryError):
                status, message = 503, "the server is short of memory: try again"
            self.corked.write(refusal(status, message or msg, self._default_fields()))
        self.corked.close()

    # -- the body and the answer -----------------------------------------------------------------------

    def on_body(self, body: bytes) -> None:
        self._between = 0
        if self.cycle.response_complete:
            return
        self.cycle.body += body
        self._bound(self.cycle.body)
        self.cycle.message_event.set()

    def _bound(self, waiting: bytes | bytearray) -> None:
        if len(waiting) > self.limits.read_ahead:
            self.flow.pause_reading()

    def take_body(self, cycle: RequestResponseCycle) -> TakenBody | None:
        if self._held is None or cycle is not self.cycle or self.scheme != "http":
            return None
        if self.transport.is_closing():  # its descriptor may be another's by now
            return None
        framing = framing_of(self.headers)
        if framing is None or framing.most(self.limits.read_ahead) <= len(self._held):
            return None
        # First what may fail, as for want of descriptors: the body can still be read then.
        descriptor = os.dup(self.transport.get_extra_info("socket").fileno())
        try:
            patience = Patience(self.limits.stall_seconds, self.limits.rate)
            taken = TakenBody(
                bytes(self._held), descriptor, framing, leave=self._leave_body, patience=patience
            )
        except BaseException:
            os.close(descriptor)
            raise
        self.flow.pause_reading()
        if cycle.waiting_for_100_continue:
            cycle.waiting_for_100_continue = False
            cycle.transport.write(_CONTINUE)
        self._held, self.taken = None, taken
        return taken

    def release(self, cycle: RequestResponseCycle) -> None:
        if self._held is None or cycle is not self.cycle:
            return
        held, self._held = bytes(self._held), None
        self.flow.resume_reading()
        self.data_received(held)

    def give_back(self, taken: TakenBody) -> None:
        self.taken = None  # the parser still waits for the body: what is behind it is another one's
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self._in_head, self.cycle.more_body = True, False
        self.data_received(taken.framing.rest)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._is_closed():
            return
        if self.taken:
            self.give_back(self.taken)
        elif self._behind:  # the one that waited is being answered now, and nothing of this can be yet
            behind, self._behind = self._behind, b""
            self.data_received(behind)
        elif self.cycle.response_complete:
            self.release(self.cycle)
        elif self._held is not None:  # of the next one, which has not asked for it; uvicorn resumes for it
            self.flow.pause_reading()

    def _leave_body(self, late: bool) -> None:
        if late:
            self.body_is_late()
        else:
            self._abort()

    def body_is_late(self) -> None:
        limits = self.limits
        self._refuse(
            408,
            f"the request's body brought less than {limits.rate:.0f} bytes a second, "
            f"or nothing for {limits.stall_seconds:.0f} s",
        )

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_writing()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._write_timer.runs:
            self._write_timer.stop()
            self._count_taken()

    def _watch_writing(self) -> None:
        self._paused = self.loop.time(), self._untaken()
        self._write_timer.start(self.taking.left, self._writing_is_late)

    def _count_taken(self) -> None:
        since, waiting = self._paused
        self.taking.waited(self.loop.time() - since)
        self.taking.brought(max(0, waiting - self._untaken()))

    def _untaken(self) -> int:
        """Of the answers, in the transport and in the kernel."""
        socket = self.transport.get_extra_info("socket")
        return self.transport.get_write_buffer_size() + untaken(socket.fileno())

    def _writing_is_late(self) -> None:
        self._count_taken()
        if self.taking.is_over:
            self._abort()
        else:
            self._watch_writing()

    def _abort(self) -> None:
        self.end(reset=True)

    def end(self, *, reset: bool) -> None:
        self._disconnect()
        if reset:
            self.corked.reset()
        else:
            self.corked.close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        # Under TLS the bytes have to pass through the transport.
        sends = self.scheme == "http" and self.copier is not None
        cycle.scope["extensions"] = {ZERO_COPY: {}} if sends else {}
        if self._certificate:
            cycle.scope["extensions"]["tls"] = {"client_cert_name": self._certificate}
        cycle.transport = cast("asyncio.Transport", self.corked)
        super()._start_asgi_task(cycle, partial(Exchange(self, cycle).run, app))

    # -- the end ---------------------------------------------------------------------------------------

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._head_timer.stop()
        self._write_timer.stop()
        self.corked.closed()
        self._disconnect()

    def shutdown(self) -> None:
        self.corked.flush()  # uvicorn closes the transport, not what waits before it
        super().shutdown()

    def _disconnect(self) -> None:
        """Tell the request in flight that its client is gone: writing for it would raise from now on."""
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
            self.flow.resume_writing()
