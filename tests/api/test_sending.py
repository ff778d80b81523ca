"""What lands bit by bit goes out bit by bit: the bytes of a stored blob, or a connection that ends early."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from registry.api.ranges import Span
from registry.api.sending import ZERO_COPY, FileResponse, Part
from tests.builders import blob
from tests.server.serving import connected, get, serving

CONTENT = blob(300_000)
WHOLE = len(CONTENT)


class Lost(Exception):
    """The rest will not land."""


@dataclass
class Bits:
    """A blob of whose bytes more are there each time that they are waited for; then none any more."""

    descriptor: int | None
    steps: Sequence[int]
    asked: list[tuple[int, int]] = field(default_factory=list)
    size: int = WHOLE
    there: int = 0

    async def ready(self, start: int, length: int) -> int:
        self.asked.append((start, length))
        left = [step for step in self.steps if step > max(self.there, start)]
        if self.there <= start:
            if not left:
                raise Lost
            await asyncio.sleep(0)
            self.there = left[0]
        return min(length, self.there - start)

    async def read(self, pieces: Sequence[tuple[int, int]]) -> list[bytes]:
        return [b"".join([part async for part in self.chunks(start, length)]) for start, length in pieces]

    async def chunks(self, start: int, length: int) -> AsyncIterator[bytes]:
        while length:
            count = await self.ready(start, length)
            yield CONTENT[start : start + count]
            start, length = start + count, length - count


def sending(file: Bits, parts: Sequence[Part]) -> FileResponse:
    total = sum(len(part) if isinstance(part, bytes) else part.length for part in parts)
    headers = {"Content-Length": str(total)}
    return FileResponse(AsyncExitStack(), file, parts, status_code=200, headers=headers)


async def receive() -> Message:
    await asyncio.Event().wait()
    raise AssertionError("nobody sets that event")


async def sent_by(app: ASGIApp, *, zero_copy: bool) -> tuple[list[Message], bytes]:
    """The messages of one answer and the bytes that they stand for."""
    messages: list[Message] = []
    body = bytearray()

    async def send(message: Message) -> None:
        messages.append(message)
        if message["type"] == ZERO_COPY:
            body.extend(os.pread(message["file"], message["count"], message["offset"]))
        else:
            body.extend(message.get("body", b""))

    extensions: dict[str, object] = {ZERO_COPY: {}} if zero_copy else {}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "method": "GET",
        "extensions": extensions,
    }
    await app(scope, receive, send)
    return messages, bytes(body)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "content"
    path.write_bytes(CONTENT)
    return path


PARTS: dict[str, list[Part]] = {
    "whole": [Span(0, WHOLE)],
    "from the middle": [Span(WHOLE // 2, WHOLE // 2)],
    "small": [Span(7, 100)],
    "mixed": [b"head", Span(0, 100_000), b"between", Span(200_000, 90_000), Span(150_000, 9), b"tail"],
    "nothing": [],
}
STEPS = {"landed": [WHOLE], "bit by bit": [1, 2, 60_000, 140_000, 140_001, 290_000, WHOLE]}


@pytest.mark.parametrize("zero_copy", [True, False])
@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
async def test_every_byte_arrives(path: Path, parts: list[Part], steps: list[int], zero_copy: bool) -> None:
    with path.open("rb") as opened:
        messages, body = await sent_by(sending(Bits(opened.fileno(), steps), parts), zero_copy=zero_copy)
    assert body == b"".join(
        part if isinstance(part, bytes) else CONTENT[part.start : part.last + 1] for part in parts
    )
    *before, last = [message.get("more_body", False) for message in messages[1:]]
    assert all(before)
    assert not last


async def test_a_stored_blob_is_one_message_and_one_question(path: Path) -> None:
    with path.open("rb") as opened:
        file = Bits(opened.fileno(), [WHOLE])
        messages, _ = await sent_by(sending(file, [Span(0, WHOLE)]), zero_copy=True)
    assert [message["type"] for message in messages] == ["http.response.start", ZERO_COPY]
    assert file.asked == [(0, WHOLE)]


@pytest.mark.parametrize("zero_copy", [True, False])
async def test_what_will_not_land_is_never_the_end_of_an_answer(path: Path, zero_copy: bool) -> None:
    seen: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def watched(message: Message) -> None:
            seen.append(message)
            await send(message)

        with path.open("rb") as opened:
            await sending(Bits(opened.fileno(), [1000, 200_000]), [Span(0, WHOLE)])(scope, receive, watched)

    with pytest.raises(Lost):
        await sent_by(app, zero_copy=zero_copy)
    assert seen[0]["type"] == "http.response.start"
    assert all(message["more_body"] for message in seen[1:])


@pytest.mark.parametrize("parts", [[Span(0, WHOLE)], [Span(0, 1000), b"between", Span(250_000, 1000)]])
def test_the_server_closes_where_the_rest_will_not_land(path: Path, parts: list[Part]) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with path.open("rb") as opened:
            await sending(Bits(opened.fileno(), [1000, 200_000]), parts)(scope, receive, send)

    with serving(app) as address, connected(address) as client, client.makefile("rb") as stream:
        client.sendall(get())
        head, _, body = stream.read().partition(b"\r\n\r\n")  # to the end of the connection
    assert head.startswith(b"HTTP/1.1 200 OK\r\n") or not head
    assert len(body) < sum(len(part) if isinstance(part, bytes) else part.length for part in parts)
