"""Bodies that a thread takes from the socket: the same bytes and the same HTTP as through the parser."""

import asyncio
import contextlib
import errno
import hashlib
import os
import queue
import select
import socket
import struct
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from starlette.requests import ClientDisconnect

from registry.api.body import TAKE_BODY, Body
from registry.api.errors import BodyMalformed
from registry.server import protocol
from registry.server.protocol import Protocol
from registry.server.taken import ENOUGH
from tests.server import serving as servers
from tests.server.serving import (
    SECONDS,
    await_descriptors,
    connected,
    get,
    limit,
    open_descriptors,
    read_answer,
    serving,
)

KIB, MIB = 2**10, 2**20
LARGE = 5 * MIB + 7
CONTENT = os.urandom(LARGE)


@dataclass(frozen=True, slots=True)
class Told:
    """What an app saw of a body, and how it ended."""

    body: str  # as `digest_of`
    end: str = "whole"
    taken: bool = True


def digest_of(data: bytes) -> str:
    return f"{len(data)} {hashlib.sha256(data).hexdigest()}"


@dataclass(slots=True)
class Seen:
    """A body on its way through an app."""

    count: int = 0
    taken: bool = False
    _hasher: Any = field(default_factory=hashlib.sha256)
    _buffer: bytearray = field(default_factory=lambda: bytearray(300_000))

    def move(self, body: Body) -> None:
        """A thread's turn."""
        while parts := body.take(self._buffer):
            for part in parts:
                self.add(part)

    def add(self, part: bytes | bytearray | memoryview) -> None:
        self.count += len(part)
        self._hasher.update(part)

    def told(self, end: str = "whole") -> Told:
        return Told(f"{self.count} {self._hasher.hexdigest()}", end, self.taken)


Way = Callable[["World", Body, Seen, Any], Awaitable[str]]


class World:
    """An app whose path says what it does with a body; what it saw it answers, and tells here."""

    def __init__(self) -> None:
        self.address = ("", 0)
        self.told: queue.SimpleQueue[Told] = queue.SimpleQueue()
        self.go_on = threading.Event()
        self.seen: Seen | None = None  # by the latest request of a test

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        seen = self.seen = Seen()
        if scope["path"].startswith("/parsed"):
            del scope["extensions"][TAKE_BODY]
        else:
            scope["extensions"][TAKE_BODY] = {"take": noting(seen, scope["extensions"][TAKE_BODY]["take"])}
        body = Body(scope, receive)
        status = 200
        try:
            end = await WAYS[scope["path"]](self, body, seen, receive)
        except BodyMalformed:
            status, end = 400, "malformed"
        except ClientDisconnect:
            self.told.put(seen.told("gone"))
            return
        told = seen.told(end)
        self.told.put(told)
        content = told.body.encode()
        length = (b"content-length", str(len(content)).encode())
        await send({"type": "http.response.start", "status": status, "headers": [length]})
        await send({"type": "http.response.body", "body": content})

    def hear(self) -> Told:
        return self.told.get(timeout=SECONDS)

    def await_count(self, count: int) -> None:
        """Until the app has so many bytes, but for the last ones, which it is not woken for."""
        deadline = time.monotonic() + SECONDS
        while (self.seen is None or self.seen.count < count - ENOUGH) and time.monotonic() < deadline:
            time.sleep(0.005)
        assert self.seen is not None
        assert count - ENOUGH <= self.seen.count <= count
        time.sleep(0.05)  # for the last ones to arrive


def noting(seen: Seen, take: Callable[[], Any]) -> Callable[[], Any]:
    def noted() -> Any:
        source = take()
        assert take() is source  # whoever asks again gets the same
        seen.taken = source is not None
        return source

    return noted


async def hash_all(world: World, body: Body, seen: Seen, receive: Any) -> str:
    while await body.ready():
        await asyncio.to_thread(seen.move, body)
    return "whole"


async def hash_late(world: World, body: Body, seen: Seen, receive: Any) -> str:
    await asyncio.to_thread(world.go_on.wait, SECONDS)
    return await hash_all(world, body, seen, receive)


async def hash_a_part(world: World, body: Body, seen: Seen, receive: Any) -> str:
    await body.ready()
    await asyncio.to_thread(seen.move, body)
    return "in part"


async def drain(world: World, body: Body, seen: Seen, receive: Any) -> str:
    """A part by taking, the rest by ASGI's messages."""
    await hash_a_part(world, body, seen, receive)
    if not seen.taken:
        return await hash_all(world, body, seen, receive)
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        seen.add(message["body"])
        more = message["more_body"]
    return "drained"


async def watch(world: World, body: Body, seen: Seen, receive: Any) -> str:
    """Then wait for the client to leave, as Starlette does while it streams an answer."""
    await hash_all(world, body, seen, receive)
    assert (await receive()) == {"type": "http.request", "body": b"", "more_body": False}
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.2):
            return f"nobody waited for {await receive()}"
    world.go_on.set()
    assert (await receive())["type"] == "http.disconnect"
    raise ClientDisconnect


async def leave_unread(world: World, body: Body, seen: Seen, receive: Any) -> str:
    return "unread"


async def wait_unread(world: World, body: Body, seen: Seen, receive: Any) -> str:
    await asyncio.to_thread(world.go_on.wait, SECONDS)
    return "unread"


WAYS: dict[str, Way] = {
    "/": hash_all,
    "/late": hash_late,
    "/parsed": hash_all,
    "/parsed-late": hash_late,
    "/part": hash_a_part,
    "/drain": drain,
    "/watch": watch,
    "/unread": leave_unread,
    "/wait": wait_unread,
    "/canary": leave_unread,
}


@pytest.fixture(scope="module", params=servers.LOOPS)
def only_world(request: pytest.FixtureRequest) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(servers, "current", str(request.param))
        world = World()
        with serving(world) as world.address:
            yield world


@pytest.fixture
def world(only_world: World) -> Iterator[World]:
    only_world.go_on.clear()
    only_world.seen = None
    yield only_world
    assert only_world.told.empty()


# -- what clients send -------------------------------------------------------------------------------------

LENGTH, CHUNKED = "length", "chunked"
FRAMINGS = [LENGTH, CHUNKED]


def head(framing: str, size: int, *headers: str, path: str = "/") -> bytes:
    framed = f"Content-Length: {size}" if framing == LENGTH else "Transfer-Encoding: chunked"
    return get("PUT", path, framed, *headers)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def framed(framing: str, data: bytes) -> bytes:
    """Chunks of uneven sizes, none of which fits into a buffer evenly."""
    if framing == LENGTH:
        return data
    pieces, step = [], 1
    while data:
        pieces.append(chunk(data[:step]))
        data, step = data[step:], min(step * 7, 300_007)
    return b"".join([*pieces, b"0\r\n\r\n"])


def send_apart(client: socket.socket, *pieces: bytes) -> None:
    """As segments of their own, as far as the sender can say."""
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for number, piece in enumerate(pieces):
        if number:
            time.sleep(0.005)
        client.sendall(piece)


def reset(client: socket.socket) -> None:
    """Close with RST instead of FIN."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def at_end(stream: Any) -> bool:
    """Whether the server closes without another byte."""
    try:
        return bool(stream.read(1) == b"")
    except ConnectionResetError:
        return True


# -- whole bodies ------------------------------------------------------------------------------------------

SMALL = get("PUT", "/", "Content-Length: 5") + b"after"
Delivery = Callable[[bytes, bytes], list[bytes]]
DELIVERIES: dict[str, Delivery] = {
    "one segment": lambda first, body: [first + body, SMALL],
    "head and body": lambda first, body: [first, body, SMALL],
    "a byte of the body with the head": lambda first, body: [first + body[:1], body[1:], SMALL],
    "the next request behind it": lambda first, body: [first + body + SMALL],
    "the next request in its last segment": lambda first, body: [first, body[:-1], body[-1:] + SMALL],
    "a part of the next request behind it": lambda first, body: [first, body + SMALL[:20], SMALL[20:]],
    "a part of the next body behind it": lambda first, body: [first, body + SMALL[:-2], SMALL[-2:]],
}


@pytest.mark.parametrize("size", [0, 1, 64 * KIB, MIB, LARGE])
@pytest.mark.parametrize("deliver", DELIVERIES.values(), ids=DELIVERIES)
@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("path", ["/", "/parsed", "/drain"])
def test_bodies_arrive_whole(world: World, path: str, framing: str, deliver: Delivery, size: int) -> None:
    data = CONTENT[:size]
    with connected(world.address) as client, client.makefile("rb") as stream:
        send_apart(client, *deliver(head(framing, size, path=path), framed(framing, data)))
        assert read_answer(stream)[1] == digest_of(data).encode()
        assert read_answer(stream)[1] == digest_of(b"after").encode()
    told = world.hear()
    assert told.body == digest_of(data)
    if path == "/parsed" or (framing, size) == (LENGTH, 0):
        assert not told.taken
    elif framing == CHUNKED or size == LARGE:  # else it may all be here before anyone asks for it
        assert told.taken
    assert world.hear().body == digest_of(b"after")


def test_many_requests_share_a_connection(world: World) -> None:
    with connected(world.address) as client, client.makefile("rb") as stream:
        for framing in FRAMINGS * 3:
            client.sendall(head(framing, MIB) + framed(framing, CONTENT[:MIB]))
            assert read_answer(stream)[1] == digest_of(CONTENT[:MIB]).encode()
            assert world.hear() == Told(digest_of(CONTENT[:MIB]))
            client.sendall(get("GET", "/unread"))
            assert read_answer(stream)[1] == digest_of(b"").encode()
            assert world.hear().end == "unread"


EVIL = b"\r\n\r\n" + SMALL + b"\r\n\r\n"  # a body that looks like heads' ends, and like a request


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize(
    "before",
    [b"", b"\r\n", SMALL, head(CHUNKED, 0) + framed(CHUNKED, b"after"), get("PUT", "/", "Content-Length: 7")],
    ids=["nothing", "an empty line", "a length", "chunks", "a body like the end of a head"],
)
def test_a_head_may_be_split_anywhere(world: World, before: bytes, framing: str) -> None:
    """Also behind another request, whose body is read by the parser, and the next one's head in it."""
    if before.endswith(b"Content-Length: 7\r\n\r\n"):
        before += b"abc\r\n\r\n"
    first = head(framing, len(EVIL))
    sent = before + first + framed(framing, EVIL)
    with connected(world.address) as client, client.makefile("rb") as stream:
        for place in range(len(before) + 1, len(before) + len(first) + 6):
            send_apart(client, sent[:place], sent[place:])
            if before.strip():
                assert read_answer(stream)[1]
                world.hear()
            assert read_answer(stream)[1] == digest_of(EVIL).encode(), sent[:place]
            assert world.hear().body == digest_of(EVIL)


def test_a_head_may_come_byte_by_byte(world: World) -> None:
    first = head(CHUNKED, 0)
    with connected(world.address) as client, client.makefile("rb") as stream:
        send_apart(client, *[first[place : place + 1] for place in range(len(first))])
        client.sendall(framed(CHUNKED, EVIL))
        assert read_answer(stream)[1] == digest_of(EVIL).encode()
    assert world.hear() == Told(digest_of(EVIL))


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("size", [10, MIB, LARGE])
def test_a_pipelined_body_waits_for_its_turn(world: World, size: int, framing: str) -> None:
    data = CONTENT[:size]
    with connected(world.address) as client, client.makefile("rb") as stream:
        timer = threading.Timer(0.2, world.go_on.set)
        timer.start()
        client.sendall(get("GET", "/wait") + head(framing, size) + framed(framing, data) + SMALL)
        assert read_answer(stream)[1] == digest_of(b"").encode()
        assert read_answer(stream)[1] == digest_of(data).encode()
        assert read_answer(stream)[1] == digest_of(b"after").encode()
        timer.join()
    assert world.hear().end == "unread"
    assert [world.hear().body for _ in range(2)] == [digest_of(data), digest_of(b"after")]


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("size", [1, 64 * KIB, MIB, LARGE])
def test_a_body_that_nobody_reads_is_no_request(world: World, size: int, framing: str) -> None:
    with connected(world.address) as client, client.makefile("rb") as stream:
        client.sendall(head(framing, size, path="/unread") + framed(framing, CONTENT[:size]) + SMALL)
        assert read_answer(stream)[1] == digest_of(b"").encode()
        assert read_answer(stream)[1] == digest_of(b"after").encode()
    assert world.hear().end == "unread"
    assert world.hear().body == digest_of(b"after")


# -- Expect: 100-continue ----------------------------------------------------------------------------------

GO_ON = b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("path", ["/late", "/parsed-late"])
def test_a_100_comes_once_someone_waits_for_the_body(world: World, path: str, framing: str) -> None:
    data = CONTENT[:MIB]
    with connected(world.address) as client, client.makefile("rb") as stream:
        client.sendall(head(framing, MIB, "Expect: 100-continue", path=path))
        assert select.select([client], [], [], 0.2) == ([], [], [])
        world.go_on.set()
        assert stream.read(len(GO_ON)) == GO_ON
        client.sendall(framed(framing, data) + SMALL)
        assert read_answer(stream)[1] == digest_of(data).encode()
        assert read_answer(stream)[1] == digest_of(b"after").encode()
    assert world.hear() == Told(digest_of(data), taken=path == "/late")
    assert world.hear().body == digest_of(b"after")


@pytest.mark.parametrize("framing", FRAMINGS)
def test_no_100_comes_for_a_body_that_nobody_wants(world: World, framing: str) -> None:
    with connected(world.address) as client, client.makefile("rb") as stream:
        client.sendall(head(framing, MIB, "Expect: 100-continue", path="/unread"))
        answered, body = read_answer(stream)
        assert (answered[:12], body) == (b"HTTP/1.1 200", digest_of(b"").encode())
    assert world.hear().end == "unread"


# -- bodies that break off ---------------------------------------------------------------------------------

Break = Callable[[socket.socket], None]
ENDINGS: dict[str, Break] = {
    "FIN": socket.socket.close,
    "half close": lambda client: client.shutdown(socket.SHUT_WR),
    "RST": reset,
    "stall": lambda client: None,
}


@pytest.mark.parametrize("end", ENDINGS.values(), ids=ENDINGS)
@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("size", [0, 10, MIB + 3])
@pytest.mark.parametrize("path", ["/", "/drain"])
def test_what_came_is_handed_on_before_the_end(
    world: World, path: str, size: int, framing: str, end: Break, monkeypatch: pytest.MonkeyPatch
) -> None:
    if end is ENDINGS["stall"]:
        limit(monkeypatch, stall_seconds=0.3)
    data = CONTENT[:size]
    sent = data if framing == LENGTH else framed(framing, data).removesuffix(b"0\r\n\r\n") + b"100\r"
    with connected(world.address) as client:
        client.sendall(head(framing, LARGE, path=path))
        client.sendall(sent)
        world.await_count(size)
        end(client)
        assert world.hear() == Told(digest_of(data), "gone")
        if end is not socket.socket.close and end is not reset:
            said = b"HTTP/1.1 408" if end is ENDINGS["stall"] else b""
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(len(said) or 1) == said


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("path", ["/late", "/parsed-late"])
@pytest.mark.parametrize("before", [b"", get("GET", "/unread")], ids=["first", "second"])
def test_what_came_waits_for_a_late_reader(world: World, before: bytes, path: str, framing: str) -> None:
    with connected(world.address) as client, client.makefile("rb") as stream:
        sent = b"abc" if framing == LENGTH else b"100\r\nabc"
        client.sendall(before + head(framing, LARGE, path=path) + sent)
        if before:
            assert read_answer(stream)[1] == digest_of(b"").encode()
            assert world.hear().end == "unread"
        client.shutdown(socket.SHUT_WR)
        time.sleep(0.1)
        world.go_on.set()
        assert world.hear() == Told(digest_of(b"abc"), "gone", taken=path == "/late")


def test_a_body_that_drips_is_taken(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch, stall_seconds=1.2, rate=4)
    with connected(world.address) as client, client.makefile("rb") as stream:
        client.sendall(head(LENGTH, 8))
        for _ in range(8):
            time.sleep(0.2)
            client.sendall(b"x")
        assert read_answer(stream)[1] == digest_of(b"x" * 8).encode()
    assert world.hear() == Told(digest_of(b"x" * 8))


@pytest.mark.parametrize("path", ["/", "/parsed"])
@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_body_that_drips_too_slowly_is_left_and_kept(
    world: World, path: str, framing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something comes all the time, at a tenth of the rate."""
    limit(monkeypatch, stall_seconds=1.5, rate=100)
    begun = time.monotonic()
    with connected(world.address) as client, client.makefile("rb") as stream:
        client.sendall(head(framing, LARGE, path=path))
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - begun < SECONDS and not select.select([client], [], [], 0.1)[0]:
                client.sendall(b"x" if framing == LENGTH else b"1\r\nx\r\n")
        took = time.monotonic() - begun
        with contextlib.suppress(ConnectionError):
            assert stream.readline().split()[1] == b"408"
            assert b"UNSUPPORTED" in stream.read()
    assert 1.4 < took < 8
    told = world.hear()
    assert told.end == "gone"
    assert int(told.body.split()[0]) >= 4


@pytest.mark.parametrize("path", ["/late", "/parsed-late"])
def test_only_the_client_can_stall_a_body(world: World, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time begins once someone waits for the body, however late that is."""
    limit(monkeypatch, stall_seconds=1.5)
    with connected(world.address) as client, client.makefile("rb") as stream:
        client.sendall(head(LENGTH, 5, path=path))
        time.sleep(2.1)
        world.go_on.set()
        time.sleep(0.6)
        client.sendall(b"abcde")
        assert read_answer(stream)[1] == digest_of(b"abcde").encode()
    assert world.hear().body == digest_of(b"abcde")


def test_nobody_spins_behind_the_end(world: World) -> None:
    """Once the body has ended, `receive` waits for the client to leave, and hears it."""
    with connected(world.address) as client:
        client.sendall(head(CHUNKED, 0, path="/watch") + framed(CHUNKED, b"abc"))
        assert world.go_on.wait(SECONDS)
    assert world.hear() == Told(digest_of(b"abc"), "gone")


def test_a_request_behind_a_watched_one_waits(world: World) -> None:
    with connected(world.address) as client:
        client.sendall(head(CHUNKED, 0, path="/watch") + framed(CHUNKED, b"abc") + SMALL)
        assert world.go_on.wait(SECONDS)
        assert world.told.empty()
    assert world.hear() == Told(digest_of(b"abc"), "gone")


# -- bodies that are no bodies, or are not read to their end -----------------------------------------------

# Each with what is good of it.
MALFORMED = {
    "no size": (b"\r\n", b""),
    "bare LF": (b"1\na\r\n", b""),
    "longer than its size": (b"1\r\nabc\r\n", b"a"),
    "a bad trailer": (b"0\r\nabc\r\n", b""),
    "too many trailers": (b"0\r\n" + b"a: b\r\n" * 11_000, b""),
}


@pytest.mark.parametrize(("fault", "good"), MALFORMED.values(), ids=MALFORMED)
@pytest.mark.parametrize("apart", [False, True], ids=["one segment", "apart"])
def test_a_malformed_body_is_a_400_and_the_end(world: World, apart: bool, fault: bytes, good: bytes) -> None:
    with connected(world.address) as client, client.makefile("rb") as stream:
        pieces = [head(CHUNKED, 0), chunk(b"abcde"), fault]
        send_apart(client, *(pieces if apart else [b"".join(pieces)]))
        assert world.hear() == Told(digest_of(b"abcde" + good), "malformed")
        answered, _ = read_answer(stream)
        assert answered.startswith(b"HTTP/1.1 400 ")
        assert b"connection: close" in answered
        assert at_end(stream)


CANARY = get("GET", "/canary")


@pytest.mark.parametrize("framing", FRAMINGS)
def test_what_is_left_of_a_body_is_no_request(world: World, framing: str) -> None:
    """The app answers with half of the body on its way: the rest must not be served."""
    with connected(world.address) as client, client.makefile("rb") as stream:
        first = b"abc" if framing == LENGTH else chunk(b"abc")
        client.sendall(head(framing, 3 + len(CANARY), path="/part") + first)
        assert world.hear() == Told(digest_of(b"abc"), "in part")
        answered, body = read_answer(stream)
        assert body == digest_of(b"abc").encode()
        assert b"connection: close" in answered
        with contextlib.suppress(ConnectionError):
            client.sendall(CANARY)
        assert at_end(stream)


def test_bodies_leave_no_descriptors(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch, stall_seconds=0.2)

    def all_ways(path: str, sent: bytes) -> None:
        for end in ENDINGS.values():
            with connected(world.address) as client:
                client.sendall(head(CHUNKED, 0, path=path) + sent)
                time.sleep(0.02)
                end(client)
                world.hear()

    def each_way() -> None:
        for path in ("/", "/part", "/drain", "/unread"):
            for sent in (b"5\r\nabc", b"5\r\nabcdef", framed(CHUNKED, CONTENT[: 64 * KIB])):
                all_ways(path, sent)

    each_way()  # the loop and its threads open what they need for themselves
    time.sleep(0.5)
    before = open_descriptors()
    for _ in range(2):
        each_way()
    await_descriptors(before)


@pytest.mark.usefixtures("each_loop")
def test_nothing_is_taken_from_a_connection_that_is_gone() -> None:
    """Its descriptor may be another's by then."""
    made: list[Protocol] = []
    told: queue.SimpleQueue[tuple[Any, str]] = queue.SimpleQueue()

    class Kept(Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            made.append(self)
            super().connection_made(transport)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        made[-1].transport.abort()
        await asyncio.sleep(0.1)
        told.put((scope["extensions"][TAKE_BODY]["take"](), (await receive())["type"]))

    with serving(app, http=Kept) as address, connected(address) as client:
        client.sendall(head(LENGTH, MIB) + b"abc")
        assert told.get(timeout=SECONDS) == (None, "http.disconnect")


@pytest.mark.usefixtures("each_loop")
@pytest.mark.parametrize("failing", ["dup", "TakenBody"])
def test_a_body_that_cannot_be_taken_can_be_read(failing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where there are no descriptors left: what came with the head is not lost."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "too many open files")

    told: queue.SimpleQueue[str] = queue.SimpleQueue()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        before = open_descriptors()
        with monkeypatch.context() as patch:
            patch.setattr(os if failing == "dup" else protocol, failing, fail)
            with pytest.raises(OSError, match="too many"):
                scope["extensions"][TAKE_BODY]["take"]()
        await_descriptors(before)
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message["body"]
            if not message["more_body"]:
                break
        told.put(digest_of(body))

    with serving(app) as address, connected(address) as client:
        client.sendall(head(LENGTH, MIB) + CONTENT[:MIB])
        assert told.get(timeout=SECONDS) == digest_of(CONTENT[:MIB])
