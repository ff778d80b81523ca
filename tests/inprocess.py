"""The service without a server: through httpx, or message by message as an ASGI server would ask it."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
from starlette.types import ASGIApp, Message

from registry.app import build
from registry.settings import Settings
from storage.files import Probe
from storage.store import Store, open_store

BASE = "http://registry.test"


@contextmanager
def opened(folder: Path, probe: Probe | None = None) -> Iterator[Store]:
    """A store of its own below `folder`, without fsync."""
    store = open_store(str(folder / "root"), durable=False, probe=probe)
    try:
        yield store
    finally:
        store.close()


def connect(store: Store, **settings: Any) -> httpx.AsyncClient:
    """A client of the service over `store`; `settings` are those that differ from the defaults."""
    return connect_app(build(store, Settings(root=store.layout.root, **settings)))


def connect_app(app: ASGIApp) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE)


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
    body: Iterable[Message] = ({"type": "http.request", "body": b"", "more_body": False},),
) -> Answer:
    """One request with exactly these bytes in its path; behind `body` the client waits."""
    waiting = iter(body)
    sent: list[Message] = []

    async def receive() -> Message:
        for message in waiting:
            return message
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
        "path": unquote(raw_path.decode("latin-1")),
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
