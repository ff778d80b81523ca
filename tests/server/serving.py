"""A server of our protocol in this process, and clients that send it bytes."""

import asyncio
import contextlib
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pytest
import uvicorn
import uvloop

from registry.api.prompt import PROMPT
from registry.app import THREADS
from registry.server.limits import Limits
from registry.server.loop import impatient
from registry.server.protocol import Protocol
from storage.threads import Threads

SECONDS = 20

App = Callable[..., Any]

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
current = "asyncio"  # the one that `serving` takes; the fixture `each_loop` sets it


@dataclass(slots=True)
class Connections:
    """Of one server, as it has them: a client is connected before its server knows, and gone before too."""

    here: set[Protocol] = field(default_factory=set)
    gone: int = 0


_connections: dict[tuple[str, int], Connections] = {}


def connections_of(address: tuple[str, int]) -> Connections:
    return _connections[address]


def await_that(holds: Callable[[], object], *, within: float = SECONDS) -> None:
    """What the server's thread brings about a moment later."""
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.005)


@contextlib.contextmanager
def serving(
    app: App,
    *,
    keep_alive: int = 5,
    http: type[Protocol] = Protocol,
    prompt: object = None,
    tls: ssl.SSLContext | None = None,
) -> Iterator[tuple[str, int]]:
    """A uvicorn with our protocol in a thread of this process. `prompt` has a `find` as api.prompt.Prompt."""
    threads, connections = Threads(), Connections()

    class Served(http):  # type: ignore[misc, valid-type]
        """With what our app's lifespan would bring."""

        def connection_made(self, transport: asyncio.Transport) -> None:
            self.app_state[THREADS] = threads
            self.app_state[PROMPT] = prompt
            super().connection_made(transport)
            connections.here.add(self)

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            connections.here.discard(self)
            connections.gone += 1

    config = uvicorn.Config(
        app,
        http=Served,
        lifespan="off",
        log_config=None,
        timeout_graceful_shutdown=2,
        timeout_keep_alive=keep_alive,
        ssl_context_factory=None if tls is None else lambda *_: tls,
    )
    make_loop = LOOPS[current] if tls is None else partial(impatient, LOOPS[current])
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    _connections[address] = connections

    def run() -> None:
        with asyncio.Runner(loop_factory=make_loop) as runner:
            runner.run(server.serve([listener]))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield address
    finally:
        server.should_exit = True
        thread.join(SECONDS)
        del _connections[address]
        threads.close()
        assert not thread.is_alive()


def limit(monkeypatch: pytest.MonkeyPatch, **limits: Any) -> None:
    """Other limits than the usual ones."""
    monkeypatch.setattr(Protocol, "limits", replace(Limits(), **limits))


def get(method: str = "GET", path: str = "/", *headers: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *headers, "", ""]).encode()


def read_answer(stream: Any, *, body: bool = True) -> tuple[bytes, bytes]:
    """Head and body of one answer with a Content-Length."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = stream.readline()
        assert line, f"the connection ended within {head!r}"
        head += line
    lengths = [
        line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
    ]
    return head, stream.read(int(lengths[0])) if body else b""


@contextlib.contextmanager
def connected(address: tuple[str, int], *, receive_buffer: int = 0) -> Iterator[socket.socket]:
    with socket.socket() as client:
        if receive_buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.settimeout(SECONDS)
        client.connect(address)
        yield client


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def await_descriptors(most: int, *, within: float = SECONDS) -> None:
    """What a client has left behind is closed a moment later."""
    deadline = time.monotonic() + within
    while open_descriptors() > most and time.monotonic() < deadline:
        time.sleep(0.05)
    assert open_descriptors() <= most, (open_descriptors(), most)
