"""Requests behind one another: prompt answers, sent files, taken bodies, and how many of them wait."""

import asyncio
import logging
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from registry.api.body import Body
from registry.api.sending import ZERO_COPY
from registry.server.limits import Limits
from registry.server.protocol import Protocol
from tests.server.serving import SECONDS, await_that, connected, get, read_answer, serving

pytestmark = pytest.mark.usefixtures("each_loop")

CONTENT = bytes(300_000)
LARGE = 60_000  # bytes of a prompt answer to /prompt/large


class Prompt:
    """Knows what begins with /prompt; `asked` has every target that it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def find(
        self, method: bytes, target: bytes, headers: object, client: object, certificate: str
    ) -> bytes | None:
        self.asked.append(target.decode())
        if target.startswith(b"/fail"):
            raise RuntimeError("a test says so")
        if not target.startswith(b"/prompt"):
            return None
        body = b"prompt " + target + b" " * (LARGE if target.endswith(b"large") else 0)
        return b"content-length: %d\r\n\r\n%b" % (len(body), body)


class World:
    """An app that answers with the target, with a file, after a body it has taken, or when it is let."""

    def __init__(self, file: Path) -> None:
        self.prompt = Prompt()
        self.file = file
        self.begun, self.go_on = threading.Event(), threading.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.begun.set()
        answer = b"app " + scope["path"].encode()
        if scope["path"] == "/take":
            body, buffer = Body(scope, receive), bytearray(2**16)
            count = 0
            while await body.ready():
                count += sum(len(part) for part in body.take(buffer))
            answer += b" %d" % count
        while scope["path"] == "/wait" and not self.go_on.is_set():
            await asyncio.sleep(0.01)
        length = len(CONTENT) if scope["path"] == "/file" else len(answer)
        headers = [(b"content-length", b"%d" % length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if scope["path"] == "/file":
            with self.file.open("rb") as opened:
                await send(
                    {"type": ZERO_COPY, "file": opened.fileno(), "offset": 0, "count": len(CONTENT)},
                )
        else:
            await send({"type": "http.response.body", "body": answer})


@pytest.fixture
def world(tmp_path: Path) -> World:
    file = tmp_path / "file"
    file.write_bytes(CONTENT)
    return World(file)


class Kept(Protocol):
    """Of which the latest can be looked at."""

    latest: "Kept"

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        Kept.latest = self
        super().connection_made(transport)


def test_answers_come_in_the_order_of_their_requests(world: World) -> None:
    paths = ["/prompt/1", "/prompt/2", "/file", "/prompt/3", "/a", "/file", "/prompt/4", "/b", "/prompt/5"]
    with (
        serving(world, prompt=world.prompt) as address,
        connected(address) as client,
        client.makefile("rb") as stream,
    ):
        for _ in range(3):
            client.sendall(b"".join(get("GET", path) for path in paths))
            bodies = [read_answer(stream)[1] for _ in paths]
            assert bodies[:3] == [b"prompt /prompt/1", b"prompt /prompt/2", CONTENT]
            # Behind an answer that is on its way nothing is prompt.
            told = ["/file" if body == CONTENT else body.decode().split()[1] for body in bodies]
            assert told == paths


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("apart", [False, True], ids=["one segment", "apart"])
def test_a_prompt_answer_behind_a_taken_body(world: World, chunked: bool, apart: bool) -> None:
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(CONTENT)}"
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(CONTENT), CONTENT) if chunked else CONTENT
    with (
        serving(world, prompt=world.prompt) as address,
        connected(address) as client,
        client.makefile("rb") as stream,
    ):
        for _ in range(2):
            behind = get("GET", "/prompt/2")
            sent = get("GET", "/prompt/1") + get("PUT", "/take", framing) + body
            client.sendall(sent if apart else sent + behind)
            assert read_answer(stream)[1] == b"prompt /prompt/1"
            assert read_answer(stream)[1] == b"app /take %d" % len(CONTENT)
            if apart:
                client.sendall(behind)
                assert read_answer(stream)[1] == b"prompt /prompt/2"
            else:
                assert read_answer(stream)[1].split()[1] == b"/prompt/2"


def test_nothing_is_prompt_while_the_client_takes_nothing(world: World) -> None:
    count = 400
    with (
        serving(world, prompt=world.prompt) as address,
        connected(address, receive_buffer=4096) as client,
    ):
        client.sendall(get("GET", "/prompt/large") * count)
        await_that(lambda: world.prompt.asked)
        time.sleep(0.5)
        assert 0 < len(world.prompt.asked) < count / 2  # the kernel takes up to 4 MiB
        with client.makefile("rb") as stream:
            for _ in range(count):
                assert read_answer(stream)[1].split()[1] == b"/prompt/large"


def test_an_older_client_gets_no_prompt_answer(world: World) -> None:
    """Its connection ends whichever way it is answered."""
    with (
        serving(world, prompt=world.prompt) as address,
        connected(address) as client,
        client.makefile("rb") as stream,
    ):
        client.sendall(b"GET /prompt HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        head, body = read_answer(stream)
        assert body == b"app /prompt"
        assert b"connection: close" in head
        assert stream.read() == b""


def test_a_connection_that_only_had_prompt_answers_is_closed_in_time(world: World) -> None:
    with (
        serving(world, prompt=world.prompt, keep_alive=1) as address,
        connected(address) as client,
        client.makefile("rb") as stream,
    ):
        for _ in range(3):
            client.sendall(get("GET", "/prompt"))
            assert read_answer(stream)[1] == b"prompt /prompt"
        assert stream.read() == b""


def test_a_prompt_that_fails_is_logged_and_the_app_answers(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        serving(world, prompt=world.prompt) as address,
        connected(address) as client,
        client.makefile("rb") as stream,
    ):
        for _ in range(2):
            client.sendall(get("GET", "/fail"))
            assert read_answer(stream)[1] == b"app /fail"
    assert world.prompt.asked == ["/fail"] * 2
    failures = [record for record in caplog.records if record.name == "registry" and record.exc_info]
    assert [record.levelno for record in failures] == [logging.ERROR] * 2


def test_a_stop_drops_no_answer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes when the answer is given and not yet written."""
    find = world.prompt.find

    def stopping(*request: Any) -> bytes | None:
        asyncio.get_running_loop().call_soon(Kept.latest.shutdown)
        return find(*request)

    monkeypatch.setattr(world.prompt, "find", stopping)
    with (
        serving(world, prompt=world.prompt, http=Kept) as address,
        connected(address) as client,
        client.makefile("rb") as stream,
    ):
        client.sendall(get("GET", "/prompt"))
        assert read_answer(stream)[1] == b"prompt /prompt"
        assert stream.read() == b""


def waiting(world: World, before: bytes, count: int) -> tuple[int, list[bytes]]:
    """How many requests wait behind one that is being answered, and the answers in the end."""
    paths = [f"/{number}" for number in range(count)]
    with (
        serving(world, http=Kept) as address,
        connected(address) as client,
        client.makefile("rb") as stream,
    ):
        client.sendall(before + b"".join(get("GET", path) for path in paths))
        assert world.begun.wait(SECONDS)
        time.sleep(0.5)
        found = len(Kept.latest.pipeline)
        world.go_on.set()
        answers: list[bytes] = []
        while len(answers) <= count and stream.peek(1):
            answers.append(read_answer(stream)[1])
        return found, answers


def answers_of(count: int) -> list[bytes]:
    return [b"app /wait", *(b"app /%d" % number for number in range(count))]


def test_one_request_waits_and_the_rest_are_bytes(world: World) -> None:
    found, answers = waiting(world, get("GET", "/wait"), 5_000)
    assert found == 1
    assert answers == answers_of(5_000)


BODY = get("PUT", "/wait", "Content-Length: 3") + b"abc"


class Reading(World):
    """Has its bodies pass the parser, with all that is behind them in the same piece."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["method"] == "PUT":
            assert (await receive())["body"] == b"abc"
        await super().__call__(scope, receive, send)


def test_requests_behind_a_body_are_all_answered(world: World) -> None:
    _, answers = waiting(Reading(world.file), BODY, Limits().pipelined)
    assert answers == answers_of(Limits().pipelined)


def test_requests_behind_a_body_are_bounded(world: World) -> None:
    """The request that has the body is answered; a client has to send again what was not."""
    found, answers = waiting(Reading(world.file), BODY, 5_000)
    assert found <= Limits().pipelined
    assert answers == [b"app /wait"]


def test_a_head_that_is_cut_goes_on_behind_one_that_waits(world: World) -> None:
    sent = get("GET", "/wait") + get("GET", "/a") + get("GET", "/b") + get("GET", "/c")
    with serving(world) as address, connected(address) as client, client.makefile("rb") as stream:
        for place in range(len(sent) - 2 * len(get("GET", "/b")) - 3, len(sent), 7):
            world.go_on.clear()
            client.sendall(sent[:place])
            timer = threading.Timer(0.02, world.go_on.set)
            timer.start()
            time.sleep(0.01)
            client.sendall(sent[place:])
            assert [read_answer(stream)[1] for _ in range(4)] == [
                *(b"app /wait", b"app /a", b"app /b", b"app /c")
            ]
            timer.join(SECONDS)
