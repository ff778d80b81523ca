"""The service without a server: through httpx, or message by message as an ASGI server would ask it."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
from starlette.types import ASGIApp, Message

from registry.app import build
from registry.config import Settings
from storage.store import Store

BASE = "http://registry.test"


def connect(store: Store, **settings: Any) -> httpx.AsyncClient:
    """A client of the service over `store`; `settings` are those that differ from the defaults."""
    return connect_app(build(store, Settings(root=store.layout.root, **settings)))


def connect_app(app: ASGIApp) -> httpx.AsyncClient:
    # mypy knows httpx's ASGI callables and Starlette's as two types of the same shape.
    transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
    return httpx.AsyncClient(transport=transport, base_url=BASE)


@dataclass(frozen=True, slots=True)
class Answer:
    """Header names in lower case. `status` is 0 if the app sent nothing."""

    status: int
    headers: Mapping[str, str]
    body: bytes


async def ask(
    app: ASGIApp,
    method: str,
    raw_path: bytes,
    *,
    query: bytes = b"",
    headers: Sequence[tuple[bytes, bytes]] = (),
    body: Sequence[Message] = ({"type": "http.request", "body": b"", "more_body": False},),
) -> Answer:
    """One request with exactly these bytes in its path; the client stays connected after `body` is used up."""
    waiting = list(body)
    sent: list[Message] = []

    async def receive() -> Message:
        if waiting:
            return waiting.pop(0)
        await asyncio.Event().wait()
        raise AssertionError("nobody sets that event")

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": raw_path.decode("latin-1"),
        "raw_path": raw_path,
        "query_string": query,
        "root_path": "",
        "headers": [(b"host", b"registry.test"), *headers],
        "client": ("192.0.2.7", 40000),
        "server": ("192.0.2.1", 5000),
        "state": {},
    }
    await app(scope, receive, send)
    starts = [message for message in sent if message["type"] == "http.response.start"]
    status, pairs = (starts[0]["status"], starts[0]["headers"]) if starts else (0, [])
    return Answer(
        status,
        {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in pairs},
        b"".join(message.get("body", b"") for message in sent),
    )
