"""Many clients in one process: slow pulls and pushes on raw sockets, until they are told to stop."""

import asyncio
import hashlib
import random
import re
import socket
from collections.abc import Coroutine
from dataclasses import dataclass, field

from bench.servers import Failed

_SIP = 2**14  # bytes that a slow pull takes at a time
_PAUSE = 0.25  # seconds between two sips
_PIECE = 2**18  # bytes that a push sends at a time
_TAIL = 32  # bytes by which the pushed blobs differ
_LOCATION = re.compile(rb"\r\nlocation: *([^\r\n]+)", re.IGNORECASE)


@dataclass(slots=True)
class Tally:
    """What the crowd has done so far."""

    pulling: int = 0  # pulls that have begun to receive
    pulled: int = 0  # bytes
    pushed: int = 0  # blobs
    pushed_bytes: int = 0
    failures: list[str] = field(default_factory=list)


class Crowd:
    """`rate`: bytes a second at which each push sends, 0 for as fast as it can."""

    def __init__(self, port: int, target: str, push_size: int, rate: float) -> None:
        self._address, self._target, self._rate = ("127.0.0.1", port), target, rate
        self._body = random.Random(4).randbytes(push_size - _TAIL)  # noqa: S311
        self._hasher = hashlib.sha256(self._body)
        self._loop = asyncio.get_running_loop()
        self._tasks: list[asyncio.Task[None]] = []
        self._settled: asyncio.Queue[None] = asyncio.Queue()
        self.tally = Tally()

    async def start(self, pulls: int, pushes: int) -> None:
        """Return once every pull has got its first bytes, or failed."""
        self._tasks = [asyncio.create_task(self._guarded(self._pull())) for _ in range(pulls)]
        for _ in range(pulls):
            await self._settled.get()
        self._tasks += [asyncio.create_task(self._guarded(self._push(number))) for number in range(pushes)]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _guarded(self, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except (Failed, OSError) as error:
            self.tally.failures.append(str(error) or type(error).__name__)
            self._settled.put_nowait(None)

    async def _connect(self, receive_buffer: int = 0) -> socket.socket:
        sock = socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        await self._loop.sock_connect(sock, self._address)
        return sock

    async def _pull(self) -> None:
        with await self._connect(_SIP) as sock:
            await self._loop.sock_sendall(sock, _head("GET", self._target))
            first = await self._loop.sock_recv(sock, _SIP)
            if not first.startswith(b"HTTP/1.1 200"):
                raise Failed(f"a pull got {first[:100]!r}")
            self.tally.pulling += 1
            self._settled.put_nowait(None)
            while piece := await self._loop.sock_recv(sock, _SIP):
                self.tally.pulled += len(piece)
                await asyncio.sleep(_PAUSE)
            raise Failed("a pull ended early")

    async def _push(self, number: int) -> None:
        done = 0
        with await self._connect() as sock:
            while True:
                await self._push_one(sock, b"%d of %d" % (done, number))
                done += 1
                self.tally.pushed += 1

    async def _push_one(self, sock: socket.socket, name: bytes) -> None:
        tail = name.ljust(_TAIL)
        whole = self._hasher.copy()
        whole.update(tail)
        await self._loop.sock_sendall(sock, _head("POST", "/v2/bench/pushed/blobs/uploads/", 0))
        location = (await self._answer(sock, b"202")).decode()
        joined = f"{location}{'&' if '?' in location else '?'}digest=sha256:{whole.hexdigest()}"
        await self._loop.sock_sendall(sock, _head("PUT", joined, len(self._body) + _TAIL))
        begun = self._loop.time()
        view = memoryview(self._body)
        for start in range(0, len(view), _PIECE):
            piece = view[start : start + _PIECE]
            await self._loop.sock_sendall(sock, piece)
            self.tally.pushed_bytes += len(piece)
            if self._rate:
                due = begun + (start + len(piece)) / self._rate
                await asyncio.sleep(max(due - self._loop.time(), 0))
        await self._loop.sock_sendall(sock, tail)
        await self._answer(sock, b"201")

    async def _answer(self, sock: socket.socket, status: bytes) -> bytes:
        """The Location of an answer without a body."""
        received = b""
        while not received.endswith(b"\r\n\r\n"):
            piece = await self._loop.sock_recv(sock, 4096)
            if not piece:
                raise Failed(f"a push lost its connection after {received[:100]!r}")
            received += piece
        found = _LOCATION.search(received)
        if not received.startswith(b"HTTP/1.1 " + status) or not found:
            raise Failed(f"a push got {received[:200]!r}")
        return found[1]


def _head(method: str, target: str, length: int | None = None) -> bytes:
    framing = "" if length is None else f"Content-Length: {length}\r\n"
    return f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n{framing}\r\n".encode()
