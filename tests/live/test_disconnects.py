"""Clients that go away: what arrived stays, the next one goes on from there, and nothing leaks."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storage.digest import Digest
from tests.builders import blob
from tests.live.servers import Live, descriptors, running
from tests.live.stories import append, begin, finish, offset, pull_blob, push_blob
from tests.live.wire import Wire, chunked, once, wire

MIB = 2**20
DATA = blob(3 * MIB + 17, 1)

Break = Callable[[Wire], None]
ENDINGS: dict[str, Break] = {"FIN": Wire.close, "RST": Wire.reset, "half close": Wire.half_close}

# How many bytes arrive before the end: in the first segment, between the server's hops, and after many.
PIECES = (1_000, MIB + 5, 2 * MIB + 70_001)


def send_length(connection: Wire, session: str, start: int, piece: bytes) -> None:
    """A body of known length, cut."""
    connection.send_head("PATCH", session, {"Content-Length": str(len(DATA) - start)})
    connection.send(piece)


def send_range(connection: Wire, session: str, start: int, piece: bytes) -> None:
    """The same with the span that it claims to be."""
    span = {"Content-Range": f"{start}-{len(DATA) - 1}", "Content-Length": str(len(DATA) - start)}
    connection.send_head("PATCH", session, span)
    connection.send(piece)


def send_chunks(connection: Wire, session: str, start: int, piece: bytes) -> None:
    """A chunked body, cut between two chunks."""
    connection.send_head("PATCH", session, {"Transfer-Encoding": "chunked"})
    connection.send(chunked(piece[: len(piece) // 2]) + chunked(piece[len(piece) // 2 :]))


def send_part_of_a_chunk(connection: Wire, session: str, start: int, piece: bytes) -> None:
    """A chunked body, cut within a chunk."""
    connection.send_head("PATCH", session, {"Transfer-Encoding": "chunked"})
    connection.send(b"%x\r\n" % (len(DATA) - start) + piece)


def send_closing(connection: Wire, session: str, start: int, piece: bytes) -> None:
    """The closing PUT itself, cut: it must not close a short blob."""
    target = f"{session}?digest={Digest.of(DATA)}"
    connection.send_head("PUT", target, {"Content-Length": str(len(DATA) - start)})
    connection.send(piece)


Send = Callable[[Wire, str, int, bytes], None]
BODIES: dict[str, Send] = {
    "length": send_length,
    "range": send_range,
    "chunks": send_chunks,
    "part of a chunk": send_part_of_a_chunk,
    "closing": send_closing,
}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with running(tmp_path_factory.mktemp("disconnects") / "root", "--workers", "2") as server:
        yield server


@pytest.mark.fault("F12", soak=22)
@pytest.mark.parametrize("size", PIECES)
@pytest.mark.parametrize("end", ENDINGS.values(), ids=ENDINGS)
@pytest.mark.parametrize("send", BODIES.values(), ids=BODIES)
def test_what_arrived_is_kept_and_the_upload_goes_on(live: Live, send: Send, end: Break, size: int) -> None:
    session = begin(live.host, "cut")
    connection = Wire(live.host)
    send(connection, session, 0, DATA[:size])
    time.sleep(0.1)  # RST throws away what the kernels still hold: let most of it be read
    end(connection)
    resets = end is Wire.reset
    kept = await_offset(live.host, session, at_most=size, seconds=1 if resets else 10)
    if not resets:
        assert kept == size
    resume(live.host, session, kept)
    connection.close()


def await_offset(host: str, session: str, *, at_most: int, seconds: float = 10) -> int:
    """The offset once the broken request is over; `at_most` is awaited for so long, if less arrived."""
    deadline = time.monotonic() + seconds
    while (found := freed_offset(host, session)) < at_most and time.monotonic() < deadline:
        time.sleep(0.02)
    assert found <= at_most
    assert offset(host, session) == found
    return found


def freed_offset(host: str, session: str) -> int:
    """Asked for with a chunk that fits nowhere: 409 as long as another request holds the session."""
    while (answer := append(host, session, b"x", 10**12)).status == 409:
        time.sleep(0.02)
    assert answer.status == 416, answer
    last = int(answer.headers["range"].removeprefix("0-"))
    return last + 1 if last else 0


def resume(host: str, session: str, start: int) -> None:
    """As a client does that knows no more than what the status told it."""
    middle = (start + len(DATA)) // 2
    answer = append(host, session, DATA[start:middle], start)
    assert (answer.status, offset(host, session)) == (202, middle)
    assert finish(host, session, DATA, DATA[middle:]).status == 201
    assert pull_blob(host, "cut", DATA) == DATA


def terminated(live: Live) -> None:
    assert live.stop() == 0


Stop = Callable[[Live], None]
RESTARTS: dict[str, tuple[Stop, tuple[str, ...]]] = {
    "SIGTERM": (terminated, ()),
    "kill -9": (Live.kill, ()),
    "kill -9, 2 workers": (Live.kill, ("--workers", "2")),
}


@pytest.mark.fault("F8", soak=11, each=4)
@pytest.mark.parametrize(("stop", "flags"), RESTARTS.values(), ids=RESTARTS)
def test_a_broken_upload_goes_on_after_a_restart(tmp_path: Path, stop: Stop, flags: tuple[str, ...]) -> None:
    """Restarts after each of three cut requests: the server's own memory plays no part."""
    kept = 0
    with running(tmp_path / "root", *flags) as live:
        session = begin(live.host, "cut")
        stop(live)
    for size in PIECES:
        with running(tmp_path / "root", *flags) as live:
            assert offset(live.host, session) == kept
            with wire(live.host) as connection:
                send_length(connection, session, kept, DATA[kept:size])
            kept = await_offset(live.host, session, at_most=size)
            assert kept == size
            stop(live)
    with running(tmp_path / "root", *flags) as live:
        resume(live.host, session, kept)


@pytest.mark.fault("F8", soak=14)
@pytest.mark.parametrize("send", BODIES.values(), ids=BODIES)
def test_an_upload_that_the_server_dies_under_goes_on_after_its_restart(tmp_path: Path, send: Send) -> None:
    size = 2 * MIB + 70_001
    with running(tmp_path / "root") as live, wire(live.host) as connection:
        session = begin(live.host, "cut")
        send(connection, session, 0, DATA[:size])
        deadline = time.monotonic() + 10
        while offset(live.host, session) < MIB and time.monotonic() < deadline:
            time.sleep(0.02)
        live.kill()
    with running(tmp_path / "root") as live:
        kept = offset(live.host, session)
        assert MIB <= kept <= size
        resume(live.host, session, kept)


@pytest.mark.fault("F12", soak=5)
def test_a_cut_single_post_leaves_nothing(live: Live) -> None:
    data = blob(2 * MIB, 2)
    with wire(live.host) as connection:
        target = f"/v2/cut/blobs/uploads/?digest={Digest.of(data)}"
        connection.send_head("POST", target, {"Content-Length": str(len(data))})
        connection.send(data[:MIB])
        time.sleep(0.1)
    uploads = live.root / "uploads"
    deadline = time.monotonic() + 10
    while any(uploads.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert list(uploads.iterdir()) == []
    assert once(live.host, "HEAD", f"/v2/cut/blobs/{Digest.of(data)}").status == 404


@pytest.mark.fault("F12", soak=5)
def test_a_cut_manifest_is_not_stored(live: Live) -> None:
    raw = json.dumps({"schemaVersion": 2}).encode()
    with wire(live.host) as connection:
        connection.send_head("PUT", "/v2/cut/manifests/t", {"Content-Length": str(len(raw) + 1)})
        connection.send(raw)
    assert once(live.host, "GET", "/v2/cut/manifests/t").status == 404
    assert once(live.host, "GET", "/v2/").status == 200


@pytest.mark.fault("F12", soak=1, each=100)
@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="descriptors are counted in /proc")
@pytest.mark.parametrize("end", [Wire.close, Wire.reset], ids=["FIN", "RST"])
def test_a_hundred_broken_pulls_leave_no_descriptor(live: Live, end: Break) -> None:
    """The blob is larger than all buffers between, so that every pull is cut in its middle."""
    data = blob(16 * MIB, 3)
    assert push_blob(live.host, "pulled", data).status == 201
    assert pull_blob(live.host, "pulled", data) == data
    before = open_files(live)
    for number in range(100):
        connection = Wire(live.host, receive_buffer=64 * 1024)
        connection.send_head("GET", f"/v2/pulled/blobs/{Digest.of(data)}")
        status, _ = connection.answer_head()
        assert status == 200
        assert connection.read(1 + number * 1_000) == data[: 1 + number * 1_000]
        end(connection)
    after = open_files(live, at_most=len(before))
    assert not [target for target in after if "/blobs/" in target]
    assert len(after) <= len(before), Counter(after) - Counter(before)
    assert pull_blob(live.host, "pulled", data) == data


def open_files(live: Live, at_most: int = 0) -> list[str]:
    """What the workers have open, once it is no more than that or has not changed for half a second."""
    seen: list[int] = []
    while True:
        found = [target for worker in live.workers() for target in descriptors(worker).values()]
        seen.append(len(found))
        if len(found) <= at_most or (len(seen) > 10 and len(set(seen[-10:])) == 1):
            return found
        time.sleep(0.05)
