"""More connections than a process serves: the idle ones make room, and who finds none is told so."""

import asyncio
import contextlib
import resource
import select
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from registry.server import loop
from registry.server.crowd import Crowd, most_connections
from registry.server.protocol import Protocol
from registry.server.tls import context
from registry.settings import Settings
from tests.certificates import make_certificate
from tests.server.serving import (
    SECONDS,
    await_descriptors,
    await_that,
    connected,
    connections_of,
    get,
    limit,
    open_descriptors,
    read_answer,
    serving,
)

pytestmark = pytest.mark.usefixtures("each_loop")

MOST, SURPLUS = 4, 2


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


class World:
    def __init__(self, address: tuple[str, int], stack: ExitStack) -> None:
        self._address, self._stack = address, stack

    def connect(self) -> socket.socket:
        return self._stack.enter_context(connected(self._address))

    def busy(self, count: int) -> list[socket.socket]:
        """Connections that have begun to ask."""
        found = [self.connect() for _ in range(count)]
        for each in found:
            each.sendall(b"GET / HTTP/1.1\r\n")
        await_that(lambda: sum(each.silent_since is None for each in [*self.here]) == count)
        return found

    @property
    def here(self) -> set[Protocol]:
        return connections_of(self._address).here


@pytest.fixture
def world(each_loop: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    limit(monkeypatch, connections=MOST, surplus=SURPLUS, surplus_seconds=0.3)
    with serving(hello, keep_alive=60) as address, ExitStack() as stack:
        yield World(address, stack)


def ask(client: socket.socket) -> tuple[bytes, bytes]:
    client.sendall(get())
    return answer(client)


def answer(client: socket.socket) -> tuple[bytes, bytes]:
    with client.makefile("rb") as stream:
        return read_answer(stream)


def test_one_too_many_is_told_to_try_again(world: World) -> None:
    first, *_ = world.busy(MOST)
    late = world.connect()
    head, body = ask(late)
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1\r\n" in head
    assert b"connection: close\r\n" in head
    assert b'"code": "UNKNOWN"' in body
    assert late.recv(1) == b""
    first.close()
    await_that(lambda: len(world.here) < MOST)
    assert ask(world.connect())[1] == b"hello"


def test_who_asks_nothing_is_told_after_a_moment(world: World) -> None:
    world.busy(MOST)
    begun = time.monotonic()
    for silent in [world.connect() for _ in range(SURPLUS)]:
        assert answer(silent)[0].startswith(b"HTTP/1.1 503 ")
        assert 0.2 < time.monotonic() - begun < 5


def test_many_too_many_are_told_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch, connections=MOST, surplus=SURPLUS, surplus_seconds=2 * SECONDS)
    world.busy(MOST)
    silent = [world.connect() for _ in range(SURPLUS + 3)]
    for each in silent[SURPLUS:]:
        assert answer(each)[0].startswith(b"HTTP/1.1 503 ")
    assert select.select(silent[:SURPLUS], [], [], 0)[0] == []
    for each in silent[:SURPLUS]:
        assert ask(each)[0].startswith(b"HTTP/1.1 503 ")


def test_the_longest_idle_leaves_first(world: World) -> None:
    world.busy(MOST - 2)
    older, newer = world.connect(), world.connect()
    for each in (older, newer):
        assert ask(each)[1] == b"hello"
        time.sleep(0.05)
    assert ask(world.connect())[1] == b"hello"
    assert older.recv(1) == b""
    assert ask(newer)[1] == b"hello"


def test_who_asks_nothing_leaves_before_the_idle(world: World) -> None:
    idle = [world.connect() for _ in range(MOST - 1)]
    for each in idle:
        assert ask(each)[1] == b"hello"
    silent = [world.connect() for _ in range(3 * MOST)]
    time.sleep(0.2)
    assert silent[0].recv(1) == b""
    for each in idle:
        assert ask(each)[1] == b"hello"


def test_under_tls_the_descriptor_is_free_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether or not the client answers a close."""
    limit(monkeypatch, connections=MOST)
    monkeypatch.setattr(loop, "FAREWELL_SECONDS", 3 * SECONDS)
    files = make_certificate(tmp_path)
    server = context(Settings(root="/", tls_cert=str(files.cert), tls_key=str(files.key)))
    client = ssl.create_default_context(cafile=str(files.cert))
    with serving(hello, tls=server) as address, ExitStack() as stack:
        for number in range(2 * MOST):
            plain = stack.enter_context(connected(address))
            stream = stack.enter_context(client.wrap_socket(plain, server_hostname="localhost"))
            assert ask(stream)[1] == b"hello"
            if number == MOST - 1:
                full = open_descriptors()
        await_descriptors(full + MOST)


def test_under_tls_those_that_are_refused_are_bounded_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, connections=MOST, surplus=SURPLUS)
    monkeypatch.setattr(loop, "FAREWELL_SECONDS", 3 * SECONDS)
    files = make_certificate(tmp_path)
    server = context(Settings(root="/", tls_cert=str(files.cert), tls_key=str(files.key)))
    client = ssl.create_default_context(cafile=str(files.cert))
    several = 6  # that the server itself may open meanwhile
    with serving(hello, tls=server) as address, ExitStack() as stack:
        before, streams = open_descriptors(), []
        for _ in range(8 * MOST):
            plain = stack.enter_context(connected(address))
            with contextlib.suppress(OSError):
                stream = stack.enter_context(client.wrap_socket(plain, server_hostname="localhost"))
                streams.append(stream)
                stream.sendall(b"GET / HTTP/1.1\r\n")
        ours = sum(each.fileno() >= 0 for each in streams)
        await_descriptors(before + ours + MOST + 2 * SURPLUS + several)


class Member:
    """A connection as the crowd sees it."""

    def __init__(self, silent_since: float | None, idle_until: float | None) -> None:
        self.silent_since, self.idle_until = silent_since, idle_until
        self.left = False

    def leave(self) -> None:
        self.left = True


LEAVING: dict[str, tuple[list[float], list[float], int]] = {
    "the silent one of old": ([-5.0, 0.0, 0.0], [3.0, 4.0], 0),
    "the oldest of them": ([-2.0, -5.0, 0.0], [3.0], 1),
    "of many new ones the first": ([0.0, -0.1, 0.0, 0.0], [3.0], 1),
    "not who has just come": ([0.0, 0.0], [4.0, 3.0], 3),
}


@pytest.mark.parametrize(("silent", "idle", "leaves"), LEAVING.values(), ids=LEAVING)
def test_who_leaves_first(silent: list[float], idle: list[float], leaves: int) -> None:
    with contextlib.closing(asyncio.new_event_loop()) as crowded:
        now = crowded.time()
        members = [
            *(Member(now + when, None) for when in silent),
            *(Member(None, now + when) for when in idle),
        ]
        assert Crowd(8, crowded).has_room(members, 9)
    assert [number for number, each in enumerate(members) if each.left] == [leaves]


def test_a_flood_of_honest_clients_is_served(world: World) -> None:
    for _ in range(5 * MOST):
        assert ask(world.connect())[1] == b"hello"


@pytest.mark.parametrize(
    ("soft", "most"),
    [(10**6, 4096), (12_352, 4096), (4096, 1344), (1024, 320), (64, 16), (resource.RLIM_INFINITY, 4096)],
)
def test_descriptors_are_left_for_the_store(soft: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, soft))
    assert most_connections(4096) == most


def test_a_look_that_found_nobody_is_not_repeated_at_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0

    def none() -> Iterator[Any]:
        nonlocal looks
        looks += 1
        yield from ()

    with contextlib.closing(asyncio.new_event_loop()) as crowded:
        monkeypatch.setattr(crowded, "time", lambda: 1000.0)
        crowd = Crowd(2, crowded)
        assert crowd.has_room(none(), 2)
        assert not any(crowd.has_room(none(), 3) for _ in range(10))
    assert looks == 1
    assert [record.levelname for record in caplog.records] == ["WARNING"]
