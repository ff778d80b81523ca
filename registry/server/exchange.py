"""One request and its answer: ASGI's receive and send, with the extensions beside them."""

import asyncio
import os
from typing import Any, Literal, Protocol

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from registry.api.body import TAKE_BODY
from registry.api.sending import END_CONNECTION, ZERO_COPY
from registry.server.corked import Corked
from registry.server.limits import Limits
from registry.server.patience import Patience
from registry.server.taken import TakenBody
from registry.server.zero_copy import Copier


class Connection(Protocol):
    """What an exchange needs of the connection that it is one of."""

    limits: Limits
    loop: asyncio.AbstractEventLoop
    scheme: Literal["http", "https"] | None
    transport: asyncio.Transport
    flow: FlowControl
    corked: Corked
    copier: Copier | None
    taken: TakenBody | None
    taking: Patience  # with the client, as far as it takes what it is sent

    def take_body(self, cycle: RequestResponseCycle) -> TakenBody | None:
        """The body as a Source; None where it is here already or has begun to be read."""

    def give_back(self, taken: TakenBody) -> None:
        """The body has ended: the parser goes on with what is behind it."""

    def release(self, cycle: RequestResponseCycle) -> None:
        """Let the parser have what was held back of this request."""

    def body_is_late(self) -> None:
        """End a request whose body brings too little for too long."""

    def end(self, *, reset: bool) -> None:
        """End the connection in the middle of whatever, with a reset or without."""


class Exchange:
    def __init__(self, connection: Connection, cycle: RequestResponseCycle) -> None:
        self._connection, self._cycle = connection, cycle
        self._taken: TakenBody | None = None
        self._patience: Patience | None = None  # with a body that passes the parser

    async def run(self, app: Any, scope: Any, receive: Any, send: Any) -> None:
        async def received() -> Any:
            return await self._receive(receive)

        async def extended(message: Any) -> None:
            await self._send(message, send)

        scope["extensions"][TAKE_BODY] = {"take": self._take}
        scope["extensions"][END_CONNECTION] = {"end": self._connection.end}
        try:
            await app(scope, received, extended)
        finally:
            if self._taken:
                self._taken.close()

    def _take(self) -> TakenBody | None:
        self._taken = self._taken or self._connection.take_body(self._cycle)
        return self._taken

    async def _receive(self, receive: Any) -> Any:
        cycle, taken, connection = self._cycle, self._taken, self._connection
        if taken and taken is connection.taken and not (cycle.disconnected or cycle.response_complete):
            message = await taken.message()
            if taken.framing.ended:
                connection.give_back(taken)
            return message
        connection.release(cycle)
        message = await (self._await_body(receive) if cycle.more_body else receive())
        if message["type"] == "http.disconnect" and cycle.body and not cycle.response_complete:
            # uvicorn would drop what had arrived before the client went, and an upload keeps it.
            body, cycle.body = bytes(cycle.body), bytearray()
            return {"type": "http.request", "body": body, "more_body": True}
        return message

    async def _await_body(self, receive: Any) -> Any:
        """Only here does the client keep the server waiting: in between, the reader keeps the client."""
        loop, limits = self._connection.loop, self._connection.limits
        patience = self._patience = self._patience or Patience(limits.stall_seconds, limits.rate)
        begun = loop.time()
        timer = loop.call_later(patience.left, self._connection.body_is_late)
        try:
            message = await receive()
        finally:
            timer.cancel()
        patience.waited(loop.time() - begun)
        patience.brought(len(message.get("body", b"")))
        return message

    async def _send(self, message: Any, send: Any) -> None:
        if self._taken and not self._taken.framing.ended:
            self._cycle.keep_alive = False  # what is left of the body would be read as the next request
        if message["type"] == ZERO_COPY:
            await self._send_file(message)
        elif self._ends_connection(message):
            # A close under TLS counts its time at once, so what waits goes before, at the client's own rate.
            await send({**message, "more_body": True})
            await self._flush()
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        else:
            await send(message)

    def _ends_connection(self, message: Any) -> bool:
        is_last = message["type"] == "http.response.body" and not message.get("more_body", False)
        return is_last and self._connection.scheme == "https" and not self._cycle.keep_alive

    async def _send_file(self, message: dict[str, Any]) -> None:
        cycle, transport, copier = self._cycle, self._connection.transport, self._connection.copier

        def wanted() -> bool:
            return not cycle.disconnected

        if copier is None or not wanted():
            return
        count: int = message["count"]
        if count > cycle.expected_content_length:
            raise RuntimeError("Response content longer than Content-Length")
        await self._flush()
        if not wanted():
            return
        target = os.dup(transport.get_extra_info("socket").fileno())
        try:
            patience = self._connection.taking
            sent = await copier.copy(
                target, message["file"], message["offset"], count, wanted=wanted, patience=patience
            )
        finally:
            os.close(target)
        if not sent:
            cycle.disconnected = True  # the transport says so only later; what follows goes nowhere
            self._connection.corked.reset()
            return
        cycle.expected_content_length -= count
        if not message.get("more_body", False):
            await cycle.send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _flush(self) -> None:
        """Wait until the transport holds nothing back: what it holds goes before the file."""
        transport = self._connection.transport
        self._connection.corked.flush()
        transport.set_write_buffer_limits(high=0)
        try:
            await self._connection.flow.drain()
        finally:
            if not transport.is_closing():
                transport.set_write_buffer_limits()
