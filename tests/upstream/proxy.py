"""A proxy before an upstream that fails as its rules say, or an upstream of scripted answers alone.

    async with proxying(server.host) as proxy:
        proxy.rules.append(Rule(Fault(cut=1000), path="/blobs/", times=1))

The first rule that fits a request, and is not used up, makes its answer; without one, it is the target's. The
Host field is passed on, so that what the target says of itself leads through the proxy.
"""

import asyncio
import contextlib
import re
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

_CHUNK = 65_536


@dataclass(frozen=True, slots=True)
class Fault:
    """What becomes of one answer. `status` makes an answer up; without it, the target's is passed on.

    `fields` are put into the head, and replace those of the same name; an empty value takes one out. After
    `cut` bytes of the body the connection is closed; after `stall` bytes nothing comes any more; the byte
    at `flip` is another one. `delay` is before the head, `rate` is of the body, in bytes a second. `unasked`
    keeps Range from the target. `drop` closes the connection without an answer.
    """

    status: int | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay: float = 0.0
    cut: int | None = None
    stall: int | None = None
    flip: int | None = None
    rate: float | None = None
    unasked: bool = False
    drop: bool = False


@dataclass(slots=True)
class Rule:
    """`path` is searched for in the target; `times` is how often it applies, -1: always."""

    fault: Fault
    path: str = ""
    method: str = ""
    times: int = -1

    def fits(self, seen: "Seen") -> bool:
        found = re.search(self.path, seen.target) and self.method in ("", seen.method)
        return bool(found) and self.times != 0


@dataclass(frozen=True, slots=True)
class Seen:
    """One request. `fields` has names in lower case."""

    method: str
    target: str
    fields: Mapping[str, str]


class Proxy:
    def __init__(self, target: str | None, scheme: str) -> None:
        self._target = target
        self._tasks: set[asyncio.Task[None]] = set()
        self.rules: list[Rule] = []
        self.seen: list[Seen] = []
        self.connections = 0
        self.host, self._scheme = "", scheme

    @property
    def url(self) -> str:
        return f"{self._scheme}://{self.host}"

    def count(self, path: str) -> int:
        """How many requests had this in their target."""
        return sum(path in each.target for each in self.seen)

    def secrets(self) -> list[str]:
        """Every Authorization that was received."""
        return [each.fields["authorization"] for each in self.seen if "authorization" in each.fields]

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        try:
            while await self._exchange(reader, writer):
                pass
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def end(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer; whether another may follow on the connection."""
        line, fields = await _read_head(reader)
        method, target, _ = line.split(" ")
        seen = Seen(method, target, fields)
        self.seen.append(seen)
        fault = self._fault(seen)
        await asyncio.sleep(fault.delay)
        if fault.drop:
            return False
        if fault.status is not None or not self._target:
            status = fault.status or 404
            given = {name.lower(): value for name, value in fault.fields.items()}
            head = {"content-length": str(len(fault.body)), **given}
            promised = 0 if method == "HEAD" else _length(head)
            head = {name: value for name, value in head.items() if value}
            return await _send(
                writer, f"HTTP/1.1 {status} Made", head, _pieces(fault.body, seen), fault, promised
            )
        async with _pass_on(self._target, seen, fault) as answer:
            status_line, head = await _read_head(answer)
            head.pop("connection", None)
            changed = {name: value for name, value in {**head, **fault.fields}.items() if value}
            length = 0 if method == "HEAD" or status_line.split(" ")[1] == "304" else _length(head)
            promised = 0 if length == 0 else _length(changed)
            sent = await _send(writer, status_line, changed, _body(answer, length), fault, promised)
            return sent and length is not None

    def _fault(self, seen: Seen) -> Fault:
        for rule in self.rules:
            if rule.fits(seen):
                rule.times -= rule.times > 0
                return rule.fault
        return Fault()


@contextlib.asynccontextmanager
async def proxying(target: str | None = None, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Proxy]:
    """On a free port of 127.0.0.1; `target` is HOST:PORT. With `tls` it speaks that."""
    proxy = Proxy(target, "https" if tls else "http")
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0, ssl=tls)
    address, port = server.sockets[0].getsockname()
    proxy.host = f"{address}:{port}"
    try:
        yield proxy
    finally:
        server.close()
        await proxy.end()


@contextlib.asynccontextmanager
async def _pass_on(target: str, seen: Seen, fault: Fault) -> AsyncIterator[asyncio.StreamReader]:
    host, _, port = target.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        dropped = {"connection", "range"} if fault.unasked else {"connection"}
        fields = {name: value for name, value in seen.fields.items() if name not in dropped}
        writer.write(_head(f"{seen.method} {seen.target} HTTP/1.1", {**fields, "connection": "close"}))
        yield reader
    finally:
        writer.transport.abort()


async def _send(
    writer: asyncio.StreamWriter,
    line: str,
    fields: Mapping[str, str],
    body: AsyncIterator[bytes],
    fault: Fault,
    promised: int | None,
) -> bool:
    writer.write(_head(line, fields))
    await writer.drain()
    place, began = 0, time.monotonic()
    async for piece in body:
        if fault.rate:
            await asyncio.sleep(began + place / fault.rate - time.monotonic())
        for limit, stalls in ((fault.cut, False), (fault.stall, True)):
            if limit is not None and place + len(piece) >= limit:
                writer.write(piece[: limit - place])
                await writer.drain()
                if stalls:
                    await asyncio.Event().wait()
                writer.close()
                await writer.wait_closed()
                return False
        writer.write(_flipped(piece, fault.flip, place))
        await writer.drain()
        place += len(piece)
    # Where it said more than there is, nothing but the end of the connection can show that.
    return promised is not None and place >= promised


def _flipped(piece: bytes, flip: int | None, place: int) -> bytes:
    if flip is None or not place <= flip < place + len(piece):
        return piece
    changed = bytearray(piece)
    changed[flip - place] ^= 1
    return bytes(changed)


async def _pieces(body: bytes, seen: Seen) -> AsyncIterator[bytes]:
    if seen.method != "HEAD":
        yield body


async def _body(reader: asyncio.StreamReader, length: int | None) -> AsyncIterator[bytes]:
    left = length
    while left is None or left > 0:
        piece = await reader.read(_CHUNK if left is None else min(left, _CHUNK))
        if not piece:
            return
        left = None if left is None else left - len(piece)
        yield piece


async def _read_head(reader: asyncio.StreamReader) -> tuple[str, dict[str, str]]:
    raw = await reader.readuntil(b"\r\n\r\n")
    line, *rest = raw.decode("latin-1").split("\r\n")[:-2]
    pairs = (each.partition(":") for each in rest)
    return line, {name.strip().lower(): value.strip() for name, _, value in pairs}


def _head(line: str, fields: Mapping[str, str]) -> bytes:
    return "\r\n".join([line, *(f"{name}: {value}" for name, value in fields.items()), "", ""]).encode(
        "latin-1"
    )


def _length(fields: Mapping[str, str]) -> int | None:
    text = fields.get("content-length", "")
    return int(text) if text.isdigit() else None
