"""Bodies of uploads on the short way: a thread takes them from the socket into the file's buffer.

Through the parser and ASGI's messages every byte is copied four times more, and what has been read waits in
memory for each connection, where here each thread has one buffer (docs/decisions/006).
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from starlette.requests import ClientDisconnect

from registry.api.errors import BodyMalformed
from registry.server.framing import Framing
from registry.server.patience import Patience
from registry.server.readiness import readable

_SIP = 64 * 2**10  # bytes of a message
ENOUGH = 128 * 2**10  # bytes that are worth a hop


class TakenBody:
    """A `storage.sources.Source` over a connection whose transport has been told to read no more.

    `held` came with the head; `descriptor` is of the socket, and is closed by `close`. `leave` gives the
    connection up: it is called when the client has gone (False), or brought too little for too long (True).
    """

    def __init__(
        self,
        held: bytes,
        descriptor: int,
        framing: Framing,
        *,
        leave: Callable[[bool], None],
        patience: Patience,
    ) -> None:
        self.framing = framing
        self._held = bytearray(held)
        self._socket = socket.socket(fileno=descriptor)
        self._socket.setblocking(False)
        self._leave, self._patience = leave, patience
        self._dry = not held  # nothing was left at the last look
        self._late = False  # nor has enough come for as long as it may take
        self._gone = False

    async def ready(self) -> bool:
        """Raises ClientDisconnect, BodyMalformed."""
        if self.framing.ended:
            return False
        if self.framing.fault:
            raise self.framing.fault
        if self._dry and not (self._gone or self._late):
            # A client that sends little at a time shall not cost a hop for each piece.
            self._wake_at(min(self.framing.due, ENOUGH))
            loop = asyncio.get_running_loop()
            begun = loop.time()
            with suppress(TimeoutError):  # whether it is over, the next look at what has come tells
                await readable(loop, self._socket.fileno(), self._patience.left)
            self._patience.waited(loop.time() - begun)
            self._dry = False
        if self._gone or self._late:
            self._leave(self._late)
            raise ClientDisconnect
        return True

    def take(self, buffer: bytearray) -> Sequence[memoryview]:
        if self._held:
            held, self._held = self._held, bytearray()
            return self.framing.parts(memoryview(held))
        if self._is_over():
            return []
        view = memoryview(buffer)[: self.framing.most(len(buffer))]
        filled = 0
        while filled < len(view) and not (self._dry or self._gone or self._late):
            filled += self._receive(view[filled:])
        parts = self.framing.parts(view[:filled])
        if self._is_over():
            self._wake_at(1)  # the option is the connection's, which may have other requests to come
        return parts

    def _is_over(self) -> bool:
        return self.framing.ended or self.framing.fault is not None

    def _receive(self, view: memoryview) -> int:
        try:
            count = self._socket.recv_into(view)
        except BlockingIOError:
            self._dry, self._late = True, self._patience.is_over
            return 0
        except OSError:  # what is left of the connection says why, and nobody is there to hear it
            count = 0
        self._gone = count == 0
        self._patience.brought(count)
        return count

    def _wake_at(self, count: int) -> None:
        """The loop is told once so many bytes are there, or the end is."""
        with suppress(OSError):  # it is gone, which the next look at it tells
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)

    async def message(self) -> dict[str, Any]:
        """The same as ASGI's receive: for who wants the rest of a body only to be rid of it."""
        try:
            more = await self.ready()
        except (ClientDisconnect, BodyMalformed):
            return {"type": "http.disconnect"}
        body = b"".join(self.take(bytearray(_SIP))) if more else b""
        return {"type": "http.request", "body": body, "more_body": not self.framing.ended}

    def close(self) -> None:
        self._socket.close()
