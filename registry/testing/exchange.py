"""One request on its way to the registry, and what comes back, as switches and effects handle them."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import unquote_plus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from registry.api.body import Body
from registry.api.sending import END_CONNECTION
from registry.testing.targets import Target, target_of


class Head:
    """Status and fields of an answer, to be changed in place."""

    def __init__(self, message: Message) -> None:
        self._message = message

    @property
    def status(self) -> int:
        status: int = self._message["status"]
        return status

    @status.setter
    def status(self, value: int) -> None:
        self._message["status"] = value

    def get(self, name: str) -> str:
        wanted = name.lower().encode()
        return next((value.decode("latin-1") for key, value in self._fields if key.lower() == wanted), "")

    def set(self, name: str, value: str) -> None:
        self.remove(name)
        self._message["headers"] = [*self._fields, (name.lower().encode(), value.encode("latin-1"))]

    def remove(self, *names: str) -> None:
        gone = {name.lower().encode() for name in names}
        self._message["headers"] = [pair for pair in self._fields if pair[0].lower() not in gone]

    @property
    def _fields(self) -> list[tuple[bytes, bytes]]:
        fields: list[tuple[bytes, bytes]] = self._message["headers"]
        return fields


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def messages(self, *, head_only: bool) -> tuple[Message, Message]:
        fields = {"content-length": str(len(self.body)), **self.headers}
        pairs = [(name.lower().encode(), value.encode("latin-1")) for name, value in fields.items()]
        return (
            {"type": "http.response.start", "status": self.status, "headers": pairs},
            {"type": "http.response.body", "body": b"" if head_only else self.body},
        )


def error(status: int, code: str, message: str, **headers: str) -> Reply:
    """As the specification writes errors; `Retry_After` stands for `Retry-After`."""
    body = json.dumps({"errors": [{"code": code, "message": message, "detail": {}}]}).encode()
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, {"content-type": "application/json", **fields}, body)


class Ask:
    """A request. Its scope is its own, so that it can be changed for the registry alone."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.target: Target = target_of(scope)
        self.scope: Scope = {**scope, "extensions": dict(scope.get("extensions") or {})}
        self._body = Body(scope, receive)
        self._read: list[Message] = []

    async def receive(self) -> Message:
        return self._read.pop(0) if self._read else await self._body.receive()

    async def read(self, most: int) -> bytes:
        """So much of the body at most, and a little more; the registry gets it all the same."""
        seen, messages = b"", []
        while len(seen) <= most:
            messages.append(await self.receive())
            seen += messages[-1].get("body", b"")
            if messages[-1]["type"] != "http.request" or not messages[-1].get("more_body"):
                break
        self._read = messages + self._read
        return seen

    def header(self, name: str) -> str:
        wanted = name.lower().encode()
        return ", ".join(value.decode("latin-1") for key, value in self.scope["headers"] if key == wanted)

    def drop_headers(self, *names: str) -> None:
        gone = {name.lower().encode() for name in names}
        self.scope["headers"] = [pair for pair in self.scope["headers"] if pair[0] not in gone]

    def query(self, name: str) -> str | None:
        return next((value for key, value in self._pairs() if key == name), None)

    def drop_query(self, *names: str) -> None:
        pieces = self.scope["query_string"].split(b"&")
        kept = [piece for piece in pieces if _split(piece)[0] not in names]
        self.scope["query_string"] = b"&".join(kept)

    def set_query(self, name: str, value: str) -> None:
        self.drop_query(name)
        before = [self.scope["query_string"]] if self.scope["query_string"] else []
        self.scope["query_string"] = b"&".join([*before, f"{name}={value}".encode()])

    def _pairs(self) -> Iterable[tuple[str, str]]:
        return map(_split, self.scope["query_string"].split(b"&"))

    def without(self, *extensions: str) -> None:
        """Bytes that this server would send or take by itself come as messages, which can be changed."""
        for name in extensions:
            self.scope["extensions"].pop(name, None)

    @property
    def origin(self) -> str:
        """Scheme and host as the client sees them."""
        return f"{self.scope.get('scheme', 'http')}://{self.header('host')}"

    async def reply(self, reply: Reply, send: Send) -> None:
        """Instead of the registry, which never sees the request."""
        start, body = reply.messages(head_only=self.target.method == "HEAD")
        if not await self._body.spent():
            start["headers"].append((b"connection", b"close"))
            send = self._body.lingering(send)
        await send(start)
        await send(body)

    async def aside(self, app: ASGIApp, method: str) -> Reply:
        """Another request of the same client for the same path, between it and the registry."""
        answer: list[Message] = []

        async def nothing() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def keep(message: Message) -> None:
            answer.append(message)

        length = {b"content-length", b"transfer-encoding", b"content-range", b"content-type", b"expect"}
        fields = [pair for pair in self.scope["headers"] if pair[0] not in length]
        scope = {**self.scope, "method": method, "query_string": b"", "headers": fields, "extensions": {}}
        await app(scope, nothing, keep)
        pairs = {key.decode("latin-1"): value.decode("latin-1") for key, value in answer[0]["headers"]}
        return Reply(answer[0]["status"], pairs, b"".join(each.get("body", b"") for each in answer[1:]))

    def end(self, *, reset: bool) -> None:
        """The connection, in the middle of whatever. Raises ConnectionResetError where there is none."""
        extension = self.scope["extensions"].get(END_CONNECTION)
        if extension is None:
            raise ConnectionResetError("the connection was ended by a fault")
        extension["end"](reset=reset)


def _split(piece: bytes) -> tuple[str, str]:
    name, _, value = piece.decode("latin-1").partition("=")
    return unquote_plus(name), unquote_plus(value)
