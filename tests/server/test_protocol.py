"""Zero-copy sending: the same bytes and the same HTTP as without it, whatever the client does."""

import asyncio
import contextlib
import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httptools
import pytest
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from registry.api.sending import ZERO_COPY
from registry.server import zero_copy
from registry.server.limits import Limits
from registry.server.protocol import Protocol
from registry.server.zero_copy import is_cached
from tests.server.serving import (
    SECONDS,
    App,
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

LIMITS = Limits()
CONTENT = os.urandom(3 * 2**20 + 17)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "content"
    path.write_bytes(CONTENT)
    return path


def sender(path: Path, *parts: bytes | tuple[int, int], length: int | None = None) -> App:
    """An app that sends bytes and spans (start, length) of a file, in order."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert ZERO_COPY in scope["extensions"]
        total = sum(len(part) if isinstance(part, bytes) else part[1] for part in parts)
        announced = str(total if length is None else length).encode()
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", announced)]}
        )
        if scope["method"] != "HEAD":
            with path.open("rb") as opened:
                for part in parts:
                    if isinstance(part, bytes):
                        await send({"type": "http.response.body", "body": part, "more_body": True})
                    else:
                        await send(
                            {
                                "type": ZERO_COPY,
                                "file": opened.fileno(),
                                "offset": part[0],
                                "count": part[1],
                                "more_body": True,
                            }
                        )
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return app


# What registry/server/protocol.py relies on: of each class its methods, and what its instances are given.
PINNED: dict[type, tuple[str, ...]] = {
    HttpToolsProtocol: (
        *("connection_made", "connection_lost", "data_received", "pause_writing", "resume_writing"),
        *("on_message_begin", "on_url", "on_header", "on_headers_complete", "on_body", "on_message_complete"),
        *("_start_asgi_task", "send_400_response", "on_response_complete", "shutdown"),
        *("timeout_keep_alive_handler", "timeout_keep_alive_task", "timeout_keep_alive"),
        *("_unset_keepalive_if_required", "connections"),
        *("app_state", "client", "cycle", "expect_100_continue", "flow", "headers", "loop", "parser"),
        *("pipeline", "scheme", "server_state", "transport"),
    ),
    RequestResponseCycle: (
        *("send", "receive", "run_asgi", "body", "disconnected", "expected_content_length", "flow"),
        *("keep_alive", "message_event", "more_body", "response_complete", "response_started", "scope"),
        *("transport", "waiting_for_100_continue"),
    ),
    FlowControl: (
        *("drain", "pause_reading", "pause_writing", "resume_reading", "resume_writing"),
        *("read_paused", "write_paused"),
    ),
    ServerState: ("connections", "default_headers", "tasks", "total_requests"),
    httptools.HttpRequestParser: (
        *("feed_data", "get_http_version", "get_method", "set_dangerous_leniencies", "should_keep_alive"),
        "should_upgrade",
    ),
}


@pytest.mark.parametrize("owner", PINNED, ids=lambda owner: owner.__name__)
def test_what_the_protocol_relies_on_is_there(owner: type) -> None:
    assigned = getattr(vars(owner).get("__init__"), "__code__", None)
    has = {*dir(owner), *(assigned.co_names if assigned else ())}
    assert set(PINNED[owner]) <= has


def test_status_lines_are_whole() -> None:
    assert STATUS_LINE[200] == b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param([(0, len(CONTENT))], id="whole"),
        pytest.param([(5, 100)], id="small span"),
        pytest.param([(len(CONTENT) - 1, 1)], id="last byte"),
        pytest.param([b"head", (7, 2**20), b"between", (2**21, 2**20 + 17), b"tail"], id="mixed"),
        pytest.param([(2**20, 2**20), (0, 2**20)], id="backwards"),
    ],
)
def test_bytes_arrive_in_order(file: Path, parts: list[bytes | tuple[int, int]]) -> None:
    wanted = b"".join(
        part if isinstance(part, bytes) else CONTENT[part[0] : part[0] + part[1]] for part in parts
    )
    with (
        serving(sender(file, *parts)) as address,
        connected(address) as client,
        client.makefile("rb") as stream,
    ):
        for _ in range(3):  # on one connection
            client.sendall(get())
            assert read_answer(stream)[1] == wanted


def test_pipelined_requests_are_answered_in_turn(file: Path) -> None:
    with (
        serving(sender(file, (0, 2**20))) as address,
        connected(address) as client,
        client.makefile("rb") as stream,
    ):
        client.sendall(get() + get("HEAD") + get())
        assert read_answer(stream)[1] == CONTENT[: 2**20]
        assert b"content-length: 1048576" in read_answer(stream, body=False)[0]
        assert read_answer(stream)[1] == CONTENT[: 2**20]


def test_connection_close_is_kept(file: Path) -> None:
    app = sender(file, (0, 2**20))
    with serving(app) as address, connected(address) as client, client.makefile("rb") as stream:
        client.sendall(get("GET", "/", "Connection: close"))
        head, body = read_answer(stream)
        assert body == CONTENT[: 2**20]
        assert b"connection: close" in head
        assert stream.read() == b""


def test_a_slow_client_gets_all_and_holds_up_nobody(file: Path) -> None:
    app = sender(file, (0, len(CONTENT)))
    with serving(app) as address, connected(address, receive_buffer=4096) as slow:
        slow.sendall(get())
        time.sleep(0.3)
        begun = time.monotonic()
        with connected(address) as quick, quick.makefile("rb") as stream:
            quick.sendall(get())
            assert read_answer(stream)[1] == CONTENT
        assert time.monotonic() - begun < 5
        with slow.makefile("rb") as stream:
            assert read_answer(stream)[1] == CONTENT


def test_a_client_that_stalls_is_left(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch, stall_seconds=0.3)
    large = file.with_name("large")
    with large.open("wb") as opened:
        opened.truncate(64 * 2**20)
    with (
        serving(sender(large, (0, 64 * 2**20))) as address,
        connected(address, receive_buffer=4096) as client,
    ):
        client.sendall(get())
        await_that(lambda: connections_of(address).gone, within=5)
        received = 0
        with contextlib.suppress(ConnectionResetError):
            while data := client.recv(2**20):
                received += len(data)
        assert received < 64 * 2**20


def test_clients_that_leave_cost_no_descriptors(file: Path) -> None:
    large = file.with_name("large")
    with large.open("wb") as opened:
        opened.truncate(64 * 2**20)
    with serving(sender(large, (0, 64 * 2**20))) as address:

        def leave(times: int) -> None:
            for _ in range(times):
                with connected(address) as client:
                    client.sendall(get())
                    assert client.recv(1000)

        leave(1)  # the loop opens what it needs for itself
        time.sleep(0.5)
        before = open_descriptors()
        leave(30)
        await_descriptors(before)


@pytest.mark.parametrize(
    "app",
    [
        pytest.param(lambda path: sender(path, (0, len(CONTENT) + 10)), id="file shorter than the span"),
        pytest.param(lambda path: sender(path, (0, 100), length=50), id="span longer than announced"),
        pytest.param(lambda path: sender(path, (0, 100), length=150), id="span shorter than announced"),
    ],
)
def test_what_was_announced_wrongly_breaks_the_connection(app: Callable[[Path], App], file: Path) -> None:
    with serving(app(file)) as address, connected(address) as client, client.makefile("rb") as stream:
        client.sendall(get())
        while stream.readline().strip():
            pass
        with contextlib.suppress(ConnectionResetError):
            assert len(stream.read()) < len(CONTENT) + 10  # and it ended


@pytest.mark.parametrize(
    ("outcome", "cached"),
    [(1, True), (0, True), (BlockingIOError(), False), (OSError(errno.EOPNOTSUPP, "no"), True)],
    ids=["there", "at the end", "on the disk", "not to be told"],
)
def test_what_counts_as_cached(outcome: int | OSError, cached: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told by preadv: whether the kernel really drops a page when it is advised to is its own affair."""

    def preadv(*_: object) -> int:
        if isinstance(outcome, OSError):
            raise outcome
        return outcome

    monkeypatch.setattr(os, "preadv", preadv)
    assert is_cached(0, 0, 10) is cached


def test_a_file_just_written_is_cached(file: Path) -> None:
    with file.open("rb") as opened:
        assert is_cached(opened.fileno(), 0, len(CONTENT))


def test_a_cold_file_is_read_off_the_loop(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_the_loop: list[bool] = []
    pread = os.pread

    def noted(descriptor: int, count: int, offset: int) -> bytes:
        on_the_loop.append(asyncio._get_running_loop() is not None)
        return pread(descriptor, count, offset)

    monkeypatch.setattr(zero_copy, "is_cached", lambda *_: False)
    monkeypatch.setattr(os, "pread", noted)
    app = sender(file, (0, len(CONTENT)))
    with serving(app) as address, connected(address) as client, client.makefile("rb") as stream:
        client.sendall(get())
        assert read_answer(stream)[1] == CONTENT
    assert on_the_loop
    assert not any(on_the_loop)


def test_what_came_before_a_client_left_is_not_lost() -> None:
    """The app sleeps while body and end arrive, and reads both afterwards."""
    taken: list[bytes | str] = []
    done = threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.5)
        for _ in range(2):
            message = await receive()
            taken.append(message.get("body", message["type"]))
        done.set()

    with serving(app) as address, connected(address) as client:
        client.sendall(get("PUT", "/", "Content-Length: 400000") + b"begun")
        time.sleep(0.1)
        client.close()
        assert done.wait(SECONDS)
    assert taken == [b"begun", "http.disconnect"]


def test_a_body_may_run_ahead_of_its_reader() -> None:
    """Nothing is read before the app asks; then more at once than by uvicorn's own limit, 64 KiB."""
    taken: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.1)
        message = await receive()
        (protocol,) = connections_of(address).here
        async with asyncio.timeout(SECONDS):
            while len(protocol.cycle.body) <= LIMITS.read_ahead:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        message = await receive()
        taken.append(len(message["body"]))
        while message.get("more_body"):
            message = await receive()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    with serving(app) as address, connected(address) as client, client.makefile("rb") as stream:
        client.sendall(get("PUT", "/", "Content-Length: 400000") + bytes(400_000))
        assert b"204" in stream.readline()
    assert LIMITS.read_ahead < taken[0] < 400_000


# As podman asks for the parts of a zstd:chunked layer, here of a terabyte.
RANGES = "Range: bytes=" + ",".join(f"{10**11 + n * 10**6}-{10**11 + n * 10**6 + 99}" for n in range(1024))


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        pytest.param(get("GET", "/", "X: " + "a" * LIMITS.head_bytes), b"431", id="one long field"),
        pytest.param(get("GET", "/", *["X: 1"] * LIMITS.head_fields), b"431", id="many fields"),
        pytest.param(get("GET", "/", *["X: 1"] * (LIMITS.head_fields - 1)), b"200", id="all fields"),
        pytest.param(get("GET", "/" + "a" * LIMITS.target_bytes), b"414", id="long target"),
        pytest.param(get("GET", "/" + "a" * (LIMITS.target_bytes - 1)), b"200", id="longest target"),
        pytest.param(b"GET /" + b"a" * 400_000, b"414", id="a target without end"),
        pytest.param(b"A" * 400_000, b"400", id="a method without end"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 400_000, b"431", id="a field without end"),
        pytest.param(get("GET", "/", RANGES, "Authorization: Bearer " + "a" * 4096), b"200", id="ranges"),
    ],
)
def test_heads_are_bounded(file: Path, request_bytes: bytes, status: bytes) -> None:
    app = sender(file, (0, 10))
    with serving(app) as address, connected(address) as client, client.makefile("rb") as stream:
        client.sendall(request_bytes)
        assert stream.readline().split()[1] == status


@pytest.mark.parametrize(
    ("begun", "answer"),
    [
        pytest.param(b"", b"", id="silent"),
        pytest.param(b"GET / HTTP/1.1\r\nHo", b"HTTP/1.1 408 Request Timeout\r\n", id="half a head"),
    ],
)
def test_heads_have_a_time(file: Path, begun: bytes, answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch, head_seconds=1.0)
    with serving(sender(file, (0, 10))) as address, connected(address) as client:
        client.sendall(begun)
        with client.makefile("rb") as stream:
            assert stream.readline() == answer
            assert stream.read() is not None  # and the connection has ended


def test_a_head_in_time_is_no_limit_to_the_answer(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch, head_seconds=0.6)
    app = sender(file, (0, len(CONTENT)))
    with serving(app) as address, connected(address, receive_buffer=4096) as client:
        client.sendall(get())
        time.sleep(1)
        with client.makefile("rb") as stream:
            assert read_answer(stream)[1] == CONTENT
            time.sleep(1)  # idle between requests: that is the keep-alive's time
            client.sendall(get())
            assert read_answer(stream)[1] == CONTENT


def reading(answer: bytes = b"done") -> App:
    """An app that reads the whole body, then answers."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive())["type"] == "http.request" and message.get("more_body"):
            pass
        if message["type"] == "http.disconnect":
            return
        length = str(len(answer)).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
        await send({"type": "http.response.body", "body": answer})

    return app


CHUNKED = get("PUT", "/", "Transfer-Encoding: chunked") + b"1\r\nx\r\n"


@pytest.mark.parametrize(
    "behind",
    [
        pytest.param(b"0\r\nX: " + b"a" * 400_000, id="a trailer without end"),
        pytest.param(b"0\r\n" + b"a:b\r\n" * 80_000, id="many trailers"),
        pytest.param(b"1;x=" + b"a" * 400_000, id="an extension without end"),
    ],
)
def test_what_surrounds_chunks_is_bounded(behind: bytes) -> None:
    with serving(reading()) as address, connected(address) as client, client.makefile("rb") as stream:
        with contextlib.suppress(ConnectionError):
            client.sendall(CHUNKED + behind)
        with contextlib.suppress(ConnectionError):
            assert stream.readline() in (b"", *(f"HTTP/1.1 {line}\r\n".encode() for line in REFUSALS))


REFUSALS = ("431 Request Header Fields Too Large", "400 Bad Request")


def test_a_few_trailers_are_no_harm() -> None:
    with serving(reading()) as address, connected(address) as client, client.makefile("rb") as stream:
        client.sendall(CHUNKED + b"0\r\nChecksum: 1\r\n\r\n" + get())
        assert [read_answer(stream)[1] for _ in range(2)] == [b"done", b"done"]


def test_bytes_that_begin_no_request_keep_no_connection() -> None:
    app = reading()
    with (
        serving(app, keep_alive=1) as address,
        connected(address) as client,
        client.makefile("rb") as stream,
    ):
        client.sendall(get())
        assert read_answer(stream)[1] == b"done"
        client.sendall(b"\r\n")
        assert stream.read() == b""


@pytest.mark.parametrize("behind", [b"\x00garbage\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"])
def test_a_fault_behind_a_request_does_not_answer_it(behind: bytes) -> None:
    """It may have been carried out: its own answer comes, and the connection ends."""
    with serving(reading()) as address, connected(address) as client, client.makefile("rb") as stream:
        client.sendall(get("PUT", "/", "Content-Length: 1") + b"x" + behind)
        head, body = read_answer(stream)
        assert (head.split()[1], body) == (b"200", b"done")
        assert stream.read() == b""


def test_what_follows_a_fault_is_not_read(file: Path) -> None:
    """While the answer before it is being taken."""
    app = sender(file, *[(0, len(CONTENT))] * 8)
    with serving(app) as address, connected(address, receive_buffer=4096) as client:
        client.sendall(get())
        time.sleep(0.3)
        client.sendall(b"\x00garbage\r\n\r\n")
        client.settimeout(1.0)
        with pytest.raises(TimeoutError):
            client.sendall(bytes(2**26))


class Poor(Protocol):
    """Has no memory for any head."""

    def on_headers_complete(self) -> None:
        raise MemoryError


def test_a_lack_of_memory_is_no_fault_of_the_request() -> None:
    with (
        serving(reading(), http=Poor) as address,
        connected(address) as client,
        client.makefile("rb") as stream,
    ):
        client.sendall(get())
        head, body = read_answer(stream)
        assert head.split()[1] == b"503"
        assert b"UNKNOWN" in body
        assert stream.read() == b""


def test_a_body_that_stalls_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch, stall_seconds=0.3)
    with serving(reading()) as address, connected(address) as client, client.makefile("rb") as stream:
        client.sendall(get("PUT", "/", "Content-Length: 1000") + b"x")
        begun = time.monotonic()
        with contextlib.suppress(ConnectionResetError):
            assert stream.readline() == b"HTTP/1.1 408 Request Timeout\r\n"
            assert b"less than 1024 bytes a second" in stream.read()
        assert time.monotonic() - begun < 5


def test_a_body_that_drips_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch, stall_seconds=1.2, rate=4)
    with serving(reading()) as address, connected(address) as client, client.makefile("rb") as stream:
        client.sendall(get("PUT", "/", "Content-Length: 20"))
        for _ in range(20):
            time.sleep(0.2)
            client.sendall(b"x")
        assert read_answer(stream)[1] == b"done"


def test_a_client_that_takes_nothing_of_a_body_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch, stall_seconds=0.3)
    app = reading(bytes(64 * 2**20))
    with serving(app) as address, connected(address, receive_buffer=4096) as client:
        client.sendall(get())
        await_that(lambda: connections_of(address).gone, within=5)
        received = 0
        with contextlib.suppress(ConnectionResetError):
            while data := client.recv(2**20):
                received += len(data)
        assert received < 64 * 2**20


def in_memory(size: int) -> App:
    return reading(bytes(size))


SIZE = 16 * 2**20


@pytest.mark.parametrize("way", ["memory", "file"])
def test_a_client_that_takes_a_byte_now_and_then_is_left(
    tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, stall_seconds=0.5, rate=1000)
    with (tmp_path / "large").open("wb") as large:
        large.truncate(SIZE)
    app = in_memory(SIZE) if way == "memory" else sender(tmp_path / "large", (0, SIZE))
    with serving(app) as address, connected(address, receive_buffer=4096) as client:
        client.sendall(get())
        received, until = 0, time.monotonic() + 5
        with contextlib.suppress(ConnectionResetError):
            while not connections_of(address).gone and time.monotonic() < until and (data := client.recv(10)):
                received += len(data)
                time.sleep(0.05)
            while data := client.recv(2**20):
                received += len(data)
        assert received < SIZE


@pytest.mark.parametrize("way", ["memory", "file"])
def test_a_client_that_takes_slowly_gets_all(
    tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For longer than it could take nothing, and never a lot."""
    limit(monkeypatch, stall_seconds=1.0, rate=1000)
    size = 3 * 2**20
    (tmp_path / "large").write_bytes(CONTENT[:size])
    app = reading(CONTENT[:size]) if way == "memory" else sender(tmp_path / "large", (0, size))
    with serving(app) as address, connected(address, receive_buffer=2**15) as client:
        client.sendall(get())
        with client.makefile("rb", buffering=0) as stream:
            received, begun = bytearray(), time.monotonic()
            while not received.endswith(CONTENT[size - 1000 : size]):
                data = stream.read(2**16)
                assert data, len(received)
                received += data
                if time.monotonic() < begun + 2:
                    time.sleep(0.06)


def test_an_answer_before_a_close_has_its_time_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The app is done with it, and no buffer is so full that writing would have to wait."""
    limit(monkeypatch, stall_seconds=0.3, rate=10**8)
    with serving(reading(bytes(SIZE))) as address:
        with connected(address) as client, client.makefile("rb") as stream:
            client.sendall(get("HEAD"))  # the loop opens what it needs for itself
            assert stream.readline()
        await_that(lambda: connections_of(address).gone)
        time.sleep(0.1)
        before = open_descriptors()
        with connected(address, receive_buffer=4096) as client:
            client.sendall(get("GET", "/", "Connection: close"))
            await_that(lambda: connections_of(address).here or connections_of(address).gone > 1)
            await_descriptors(before + 1)
