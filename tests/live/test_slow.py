"""Six hundred clients that are slow on purpose (T21): others are served, these let go, nothing is left."""

import contextlib
import select
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from storage.digest import Digest
from tests.builders import blob
from tests.live.impatient import LIMITS
from tests.live.measuring import ninety_ninth
from tests.live.servers import Live, descriptors, running
from tests.live.stories import append, begin, offset, push_blob, push_image
from tests.live.wire import head, once

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")

KIB, MIB = 2**10, 2**20
EACH = 200
LARGE, UPLOAD = blob(16 * MIB, 1), blob(MIB, 2)
TICK = 0.25  # seconds between two bytes of each
PARTS = 6  # in which they come
SLACK = 20.0  # seconds, for a machine that plays six hundred clients as well
LATENCY = 1.0  # seconds
GROWTH = 8 * MIB
IN_TIME = {"heads": LIMITS.head_seconds, "bodies": LIMITS.stall_seconds, "answers": LIMITS.stall_seconds}


@dataclass(slots=True)
class Slow:
    """Begins so, then sends the same again and again, or takes a byte now and then."""

    kind: str
    begins: bytes
    drips: bytes = b""
    sips: bool = False
    client: socket.socket = field(default_factory=socket.socket)
    came: float = 0.0
    lived: float | None = None

    def connect(self, host: str) -> None:
        name, _, port = host.partition(":")
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.client.connect((name, int(port)))
        self.client.setblocking(False)
        self.client.send(self.begins)
        self.came = time.monotonic()

    def go_on(self) -> None:
        with contextlib.suppress(OSError):  # that it was let go, the poll tells
            if self.drips:
                self.client.send(self.drips)
            if self.sips:
                self.client.recv(1)


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    with running(tmp_path / "root", "--no-access-log", module="tests.live.impatient") as server:
        yield server


def crowd(session: str) -> list[Slow]:
    length = {"Content-Length": str(len(UPLOAD))}
    post = f"/v2/slow/blobs/uploads/?digest={Digest.of(UPLOAD)}"
    large = head("GET", f"/v2/slow/blobs/{Digest.of(LARGE)}")
    half = range(EACH // 2)
    return [
        *(Slow("heads", b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX: ", b"x") for _ in range(EACH)),
        Slow("bodies", head("PATCH", session, length) + UPLOAD[:KIB], UPLOAD[KIB : KIB + 1]),
        *(Slow("bodies", head("POST", post, length), b"x") for _ in half[1:]),
        *(Slow("bodies", head("POST", post, {"Transfer-Encoding": "chunked"}), b"1\r\nx\r\n") for _ in half),
        *(Slow("answers", large) for _ in half),
        *(Slow("answers", large, sips=True) for _ in half),
    ]


def play(slow: list[Slow], host: str, seconds: float) -> None:
    """They come within a second and a half, some of each kind at a time, and go on until they are let go."""
    poll, playing, coming = select.poll(), dict[int, Slow](), [slow[n::PARTS] for n in range(PARTS)]
    tick = now = time.monotonic()
    until = now + seconds + PARTS * TICK
    while (playing or coming) and now < until:
        for number, _ in poll.poll(max(0.0, tick - now) * 1000):
            poll.unregister(number)
            each = playing.pop(number)
            each.lived = time.monotonic() - each.came
        now = time.monotonic()
        if now < tick:
            continue
        tick += TICK
        for each in playing.values():
            each.go_on()
        for each in coming.pop() if coming else ():
            each.connect(host)
            poll.register(each.client.fileno(), select.POLLRDHUP)
            playing[each.client.fileno()] = each


def latencies(live: Live, over: threading.Event) -> list[float]:
    """Of requests with a connection each, of one kind after the other."""
    found = []
    while not over.is_set():
        for target in ("/v2/", "/v2/slow/tags/list", "/v2/slow/manifests/latest"):
            begun = time.monotonic()
            assert once(live.host, "GET", target).status == 200
            found.append(time.monotonic() - begun)
        time.sleep(0.02)
    return found


def resident(live: Live) -> int:
    status = Path(f"/proc/{live.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * KIB


def wave(live: Live, session: str) -> tuple[list[Slow], list[float]]:
    """All of them at once, to their ends, and how long others had to wait meanwhile."""
    slow, over = crowd(session), threading.Event()
    with ThreadPoolExecutor(1) as beside, contextlib.ExitStack() as stack:
        for each in slow:
            stack.enter_context(each.client)
        asking = beside.submit(latencies, live, over)
        try:
            play(slow, live.host, max(IN_TIME.values()) + SLACK)
        finally:
            over.set()
        return slow, asking.result()


def test_slow_clients_hold_nobody_up_and_are_let_go(live: Live) -> None:
    assert push_blob(live.host, "slow", LARGE).status == 201
    push_image(live.host, "slow", "latest", blob(5000, 3))
    wave(live, begin(live.host, "slow"))  # threads, their buffers and the allocator's take 16 MiB, once
    memory, files = resident(live), len(descriptors(live.pid))
    session = begin(live.host, "slow")
    slow, found = wave(live, session)
    for kind, seconds in IN_TIME.items():
        lived = sorted(each.lived or float("inf") for each in slow if each.kind == kind)
        assert len(lived) == EACH
        assert seconds / 2 < lived[0], kind
        assert lived[-1] < seconds + SLACK, kind
    assert len(found) >= 50
    assert ninety_ninth(found) < LATENCY, sorted(found)[-10:]
    assert max(found) < LATENCY, sorted(found)[-10:]
    assert resident(live) - memory < GROWTH
    assert len(descriptors(live.pid)) <= files + 3  # what a request in flight has
    kept = offset(live.host, session)
    assert KIB < kept < 2 * KIB
    assert append(live.host, session, UPLOAD[kept : kept + 100], kept).status == 202
    print(f"p99 {ninety_ninth(found):.3f} s, max {max(found):.3f} s of {len(found)}")
    print(f"{(resident(live) - memory) / MIB:.1f} MiB more")
