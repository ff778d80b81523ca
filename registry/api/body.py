"""A request's body: who reads it, and what is left of it when the answer goes out."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from storage.digest import Bytes
from storage.sources import Pieces, Source

TAKE_BODY = "oci_registry.request.take"  # an extension of our server: the body without ASGI's messages

# Of a refused body: more would let a client fill the line for nothing.
_DRAIN_BYTES, _DRAIN_SECONDS = 2**20, 2.0
_LINGER_BYTES = 2**24  # what Linux lets be under way to us, and to spare: who reads the answer stops sending


class Body:
    """Watches a request's body go by, so that an early answer knows what is left of it."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        headers = dict(scope["headers"])
        self._scope, self._receive = scope, receive
        self._expects = b"expect" in headers
        self._complete = headers.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in headers
        self._started = False
        self._source: Source | None = None
        self._pours = False

    async def receive(self) -> Message:
        message = await self._receive()
        self._started = True
        if message["type"] != "http.request" or not message.get("more_body"):
            self._complete = True
        return message

    async def ready(self) -> bool:
        """With `take`, the body as an upload's source. Raises ClientDisconnect, BodyMalformed."""
        if self._source is None:
            self._source = self._open()
        return await self._source.ready()

    def take(self, buffer: bytearray) -> Sequence[Bytes]:
        return self._source.take(buffer) if self._source else []

    def _open(self) -> Source:
        """Not before someone waits for the body: until then a client may hold it back."""
        extension = self._scope.get("extensions", {}).get(TAKE_BODY)
        taken: Source | None = extension["take"]() if extension else None
        if taken is None:
            return Pieces(self._stream())
        self._started = True
        return taken

    async def _stream(self) -> AsyncIterator[bytes]:
        while not self._complete or not self._started:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            if piece := message.get("body"):
                yield piece

    async def spent(self) -> bool:
        """Read what is left of a small body, and say whether the connection can be used again.

        A body that the client holds back until it is told to go on (`Expect`) is never asked for.
        """
        if self._complete:
            return True
        if self._expects and not self._started:
            return False
        self._pours = await self._drain(_DRAIN_BYTES)
        return self._complete

    async def _drain(self, left: int) -> bool:
        """Whether so much came in time, and not all of the body with it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                while left > 0 and not self._complete:
                    left -= len((await self.receive()).get("body", b""))
                    await asyncio.sleep(0)  # what comes fast enough never waits
        return left <= 0 and not self._complete

    def lingering(self, send: Send) -> Send:
        """For an answer after which the connection closes: it is given, then the rest let go by for a while.

        A close while bytes come in resets the connection (RFC 9112, section 9.6): a client that is still
        sending would be told that, and not what the answer says.
        """

        async def sent(message: Message) -> None:
            last = message["type"] == "http.response.body" and not message.get("more_body")
            if not last or not self._pours:
                await send(message)
                return
            await send({**message, "more_body": True})
            await self._drain(_LINGER_BYTES)
            await send({"type": "http.response.body", "body": b""})

        return sent
