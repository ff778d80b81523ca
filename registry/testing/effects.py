"""What a fault does to the request that it hits.

Most change bytes, so they ask our server for messages instead of its short ways; how a connection ends, only
the server can do (`registry.api.sending.END_CONNECTION`).
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from registry.api.body import TAKE_BODY
from registry.api.sending import ZERO_COPY
from registry.testing.exchange import Ask, Head, error
from registry.testing.targets import Target

_TURN = 0.05  # seconds between two pieces of an answer that drips, which are of a byte at least
_ARRIVAL = 0.05  # seconds for what was sent to arrive: a reset takes along what is still on its way
_CODES = {401: "UNAUTHORIZED", 403: "DENIED", 404: "NAME_UNKNOWN", 429: "TOOMANYREQUESTS"}


@dataclass(frozen=True, slots=True)
class Effect(ABC):
    def around(self, app: ASGIApp) -> ASGIApp:
        async def hit(scope: Scope, receive: Receive, send: Send) -> None:
            await self.act(Ask(scope, receive), app, send)

        return hit

    def fits(self, target: Target) -> bool:
        """Whether it can happen to such a request at all."""
        return True

    @abstractmethod
    async def act(self, ask: Ask, app: ASGIApp, send: Send) -> None:
        """In the place of `app(scope, receive, send)`."""


@dataclass(frozen=True, slots=True)
class Refuse(Effect):
    """An error, with `Retry-After` if that is not negative; the registry never sees the request."""

    status: int = 503
    retry_after: int = -1
    code: str = ""

    async def act(self, ask: Ask, app: ASGIApp, send: Send) -> None:
        code = self.code or _CODES.get(self.status, "UNKNOWN" if self.status >= 500 else "UNSUPPORTED")
        later = {"Retry_After": str(self.retry_after)} if self.retry_after >= 0 else {}
        await ask.reply(error(self.status, code, "refused by a fault", **later), send)


@dataclass(frozen=True, slots=True)
class Delay(Effect):
    """So long nothing happens, then all is as it always is."""

    seconds: float = 1.0

    async def act(self, ask: Ask, app: ASGIApp, send: Send) -> None:
        await asyncio.sleep(self.seconds)
        await app(ask.scope, ask.receive, send)


@dataclass(frozen=True, slots=True)
class Drip(Effect):
    """The answer's body comes with so many bytes a second."""

    rate: int = 1024

    async def act(self, ask: Ask, app: ASGIApp, send: Send) -> None:
        ask.without(ZERO_COPY)
        size = max(1, round(self.rate * _TURN))

        async def drip(message: Message) -> None:
            body = message.get("body", b"")
            while len(body) > size:
                await send({**message, "body": body[:size], "more_body": True})
                await asyncio.sleep(size / self.rate)
                body = body[size:]
            await asyncio.sleep(len(body) / self.rate)
            await send({**message, "body": body} if body else message)

        await app(ask.scope, ask.receive, drip)


@dataclass(frozen=True, slots=True)
class _Break(Effect):
    after: int = 0
    sending: bool = False

    async def act(self, ask: Ask, app: ASGIApp, send: Send) -> None:
        ask.without(ZERO_COPY, TAKE_BODY)
        broken = _Broken(ask, send, self.after)
        try:
            if self.sending:
                await app(ask.scope, broken.receive, broken.pass_on)
            else:
                await app(ask.scope, ask.receive, broken.send)
        except ClientDisconnect:
            pass
        if broken.over:
            await asyncio.sleep(_ARRIVAL)
            ask.end(reset=isinstance(self, Reset))


@dataclass(frozen=True, slots=True)
class Cut(_Break):
    """The connection closes after so many bytes of the answer's body; if `sending`, of the request's.

    What has fewer bytes comes through. After none, not even the answer's head is sent.
    """


@dataclass(frozen=True, slots=True)
class Reset(_Break):
    """The same with a reset (RST), as from a machine that has lost the connection."""


class _Broken:
    def __init__(self, ask: Ask, send: Send, left: int) -> None:
        self._ask, self._send, self._left = ask, send, left
        self._at_once, self.over = left == 0, False

    async def send(self, message: Message) -> None:
        if self._at_once or self.over:
            self.over = True
            raise ClientDisconnect
        await self._send(self._shortened(message))
        if self.over:
            raise ClientDisconnect  # so it is, to the app

    async def receive(self) -> Message:
        if self._at_once or self.over:
            self.over = True
            return {"type": "http.disconnect"}
        return self._shortened(await self._ask.receive())

    def _shortened(self, message: Message) -> Message:
        """To what is left; it is over with the first byte beyond."""
        body = message.get("body", b"")
        self.over = len(body) > self._left
        if self.over:
            message = {**message, "body": body[: self._left], "more_body": True}
        self._left -= min(len(body), self._left)
        return message

    async def pass_on(self, message: Message) -> None:
        if not self.over:
            await self._send(message)


@dataclass(frozen=True, slots=True)
class WrongDigest(Effect):
    """The head names the digest of something else."""

    async def act(self, ask: Ask, app: ASGIApp, send: Send) -> None:
        async def lie(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message}
                head = Head(message)
                if digest := head.get("docker-content-digest"):
                    algorithm, _, digits = digest.partition(":")
                    head.set("docker-content-digest", f"{algorithm}:{'0' * len(digits)}")
            await send(message)

        await app(ask.scope, ask.receive, lie)


@dataclass(frozen=True, slots=True)
class Corrupt(Effect):
    """One byte of the answer's body is another, and everything else is as it should be."""

    at: int = 0

    async def act(self, ask: Ask, app: ASGIApp, send: Send) -> None:
        ask.without(ZERO_COPY)
        left = self.at

        async def spoil(message: Message) -> None:
            nonlocal left
            body = message.get("body", b"")
            if 0 <= left < len(body):
                body = body[:left] + bytes([body[left] ^ 0xFF]) + body[left + 1 :]
                message = {**message, "body": body}
            left -= len(message.get("body", b""))
            await send(message)

        await app(ask.scope, ask.receive, spoil)


@dataclass(frozen=True, slots=True)
class WrongLength(Effect):
    """Content-Length is larger by so much, and then the connection closes; or smaller, and so is the body."""

    by: int = -1

    async def act(self, ask: Ask, app: ASGIApp, send: Send) -> None:
        await _resize(ask, app, send, lambda length: max(0, length + self.by))


@dataclass(frozen=True, slots=True)
class Half(Effect):
    """The first half of the body, with a Content-Length that says so: a manifest is no JSON then."""

    async def act(self, ask: Ask, app: ASGIApp, send: Send) -> None:
        await _resize(ask, app, send, lambda length: length // 2)


@dataclass(frozen=True, slots=True)
class ExpiredToken(Effect):
    """401, with the challenge of a token that was good a moment ago."""

    async def act(self, ask: Ask, app: ASGIApp, send: Send) -> None:
        name = ask.target.repository
        scope = f'scope="repository:{name}:{_words(ask.target)}",' if name else ""
        challenge = f'Bearer realm="{ask.origin}/token",service="oci-registry",{scope}error="invalid_token"'
        await ask.reply(error(401, "UNAUTHORIZED", "the token has expired", WWW_Authenticate=challenge), send)


def _words(target: Target) -> str:
    """What a token has to allow for it; as our own challenge, wider for a HEAD of what may be pushed next."""
    if target.route == "upload" or (target.route == "blob" and target.method == "HEAD"):
        return "pull,push"
    return {"GET": "pull", "HEAD": "pull", "DELETE": "delete"}.get(target.method, "pull,push")


class _OfAnUpload(Effect):
    def fits(self, target: Target) -> bool:
        """What else it might ask for on the side could be large, and what it deletes could be a tag."""
        return target.route == "upload"


@dataclass(frozen=True, slots=True)
class RangeRefused(_OfAnUpload):
    """416, with the place where the upload really is: what was sent before has not arrived as it should."""

    async def act(self, ask: Ask, app: ASGIApp, send: Send) -> None:
        status = await ask.aside(app, "GET")
        if status.status != 204:
            await app(ask.scope, ask.receive, send)
            return
        place = {name.title().replace("-", "_"): status.headers[name] for name in ("location", "range")}
        await ask.reply(error(416, "BLOB_UPLOAD_INVALID", "this is not the next chunk", **place), send)


@dataclass(frozen=True, slots=True)
class SessionLost(_OfAnUpload):
    """The upload's session ends, as if it had expired, before the request comes."""

    async def act(self, ask: Ask, app: ASGIApp, send: Send) -> None:
        await ask.aside(app, "DELETE")
        await app(ask.scope, ask.receive, send)


async def _resize(ask: Ask, app: ASGIApp, send: Send, resized: Callable[[int], int]) -> None:
    """The same answer, with another length; where that is larger, the connection ends in its place."""
    ask.without(ZERO_COPY)
    left, larger = 0, False

    async def resize(message: Message) -> None:
        nonlocal left, larger
        if message["type"] == "http.response.start":
            message = {**message}
            head = Head(message)
            length = int(head.get("content-length") or 0)
            left = resized(length)
            larger = left > length and ask.target.method != "HEAD"
            head.set("content-length", str(left))
        else:
            body = message.get("body", b"")[:left]
            left -= len(body)
            message = {**message, "body": body, "more_body": larger or message.get("more_body", False)}
        await send(message)

    await app(ask.scope, ask.receive, resize)
    if larger:
        await asyncio.sleep(_ARRIVAL)
        ask.end(reset=False)


BY_NAME: Mapping[str, type[Effect]] = {
    "refuse": Refuse,
    "delay": Delay,
    "drip": Drip,
    "cut": Cut,
    "reset": Reset,
    "wrong_digest": WrongDigest,
    "corrupt": Corrupt,
    "wrong_length": WrongLength,
    "half": Half,
    "expired_token": ExpiredToken,
    "range_refused": RangeRefused,
    "session_lost": SessionLost,
}
