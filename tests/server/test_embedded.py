"""A server in a thread of a program that goes on; tests/oci_registry_testing looks at what it leaves."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from registry.server.embedded import Embedded
from registry.settings import Settings

SETTINGS = Settings(root="/", drain=1)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


async def greet(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        for stage in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{stage}.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})


def ask(listener: socket.socket) -> bytes:
    with socket.create_connection(listener.getsockname()) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return client.makefile("rb").read()


def test_it_serves_one_after_the_other_on_one_listener(listener: socket.socket) -> None:
    for _ in range(3):
        server = Embedded(lambda: greet, SETTINGS, listener)
        server.start()
        answer = ask(listener)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"\r\ndate: " in answer  # from the first answer on
        server.stop()


def test_who_connects_while_none_runs_is_answered_by_the_next(listener: socket.socket) -> None:
    with socket.create_connection(listener.getsockname()) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        server = Embedded(lambda: greet, SETTINGS, listener)
        server.start()
        assert client.recv(100).startswith(b"HTTP/1.1 200 OK")
        server.stop()


def test_a_start_that_fails_raises_what_it_came_to(listener: socket.socket) -> None:
    def fail() -> ASGIApp:
        raise OSError("no app today")

    with pytest.raises(OSError, match="no app today"):
        Embedded(fail, SETTINGS, listener).start()
    assert "oci-registry" not in {thread.name for thread in threading.enumerate()}


def test_work_is_done_on_its_loop(listener: socket.socket) -> None:
    async def where() -> str:
        await asyncio.sleep(0)
        return threading.current_thread().name

    server = Embedded(lambda: greet, SETTINGS, listener)
    server.start()
    assert server.run(where()) == "oci-registry"
    server.stop()


def test_time_that_goes_by_leaves_no_tasks(listener: socket.socket) -> None:
    async def count() -> int:
        return len(asyncio.all_tasks())

    server = Embedded(lambda: greet, SETTINGS, listener)
    server.start()
    before = server.run(count())
    time.sleep(0.35)  # three looks at the clock
    assert server.run(count()) == before
    server.stop()


def test_an_app_that_does_not_start_is_told(listener: socket.socket) -> None:
    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "not today"})

    with pytest.raises(RuntimeError, match="did not start"):
        Embedded(lambda: refuse, SETTINGS, listener).start()
    assert "oci-registry" not in {thread.name for thread in threading.enumerate()}
