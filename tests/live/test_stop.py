"""SIGTERM and Ctrl-C: what is in flight ends well, nothing new begins, and it does not take for ever."""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.digest import Digest
from tests.builders import blob
from tests.live.servers import Live, running
from tests.live.stories import append, begin, finish, offset, pull_blob, push_blob
from tests.live.wire import Closed, Wire, once, wire

MIB = 2**20
DATA = blob(12 * MIB, 1)
PART = 3 * MIB // 2

WORKERS = {"1 worker": ("--workers", "1"), "2 workers": ("--workers", "2")}
SIGNALS = {"SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT}
# Seconds for a stop that waits for nothing: a busy machine's, and less than a client may take for its head,
# after which an idle connection would be let go anyway.
AT_ONCE = 8.0

by_workers = pytest.mark.parametrize("flags", WORKERS.values(), ids=WORKERS)
by_signal = pytest.mark.parametrize("number", SIGNALS.values(), ids=SIGNALS)


@contextlib.contextmanager
def uploading(host: str, session: str) -> Iterator[Wire]:
    """A PATCH of DATA, of which PART is on its way, and some has arrived."""
    with wire(host) as connection:
        connection.send_head("PATCH", session, {"Content-Length": str(len(DATA))})
        connection.send(DATA[:PART])
        deadline = time.monotonic() + 30
        while offset(host, session) < MIB:
            assert time.monotonic() < deadline, "nothing of the upload arrives"
            time.sleep(0.02)
        yield connection


@contextlib.contextmanager
def pulling(host: str) -> Iterator[Wire]:
    """A GET of DATA, of which little has been read."""
    with wire(host, receive_buffer=64 * 1024) as connection:
        connection.send_head("GET", f"/v2/drained/blobs/{Digest.of(DATA)}")
        status, _ = connection.answer_head()
        assert status == 200
        assert connection.read(MIB) == DATA[:MIB]
        yield connection


def refused(host: str) -> bool:
    name, _, port = host.partition(":")
    try:
        socket.create_connection((name, int(port)), timeout=2).close()
    except ConnectionRefusedError:
        return True
    return False


def await_refusal(host: str) -> None:
    deadline = time.monotonic() + AT_ONCE
    while not refused(host):
        assert time.monotonic() < deadline, "new connections are still accepted"
        time.sleep(0.05)


def ended_in(live: Live, seconds: float) -> int:
    started = time.monotonic()
    code = live.process.wait(seconds)
    assert time.monotonic() - started < seconds
    return code


@pytest.mark.fault("F7", soak=35)
@by_workers
@by_signal
def test_what_is_in_flight_ends_well(tmp_path: Path, flags: tuple[str, ...], number: int) -> None:
    with running(tmp_path / "root", *flags) as live:
        assert push_blob(live.host, "drained", DATA).status == 201
        session = begin(live.host, "drained")
        with uploading(live.host, session) as upload, pulling(live.host) as pull:
            live.signal(number)
            await_refusal(live.host)
            assert live.process.poll() is None
            time.sleep(0.5)
            upload.send(DATA[PART:])
            answer = upload.answer()
            assert (answer.status, answer.headers["range"]) == (202, f"0-{len(DATA) - 1}")
            assert answer.closing
            assert pull.read(len(DATA) - MIB) == DATA[MIB:]
            assert ended_in(live, AT_ONCE) == 0
    with running(tmp_path / "root") as live:
        assert offset(live.host, session) == len(DATA)
        assert finish(live.host, session, DATA).status == 201


@pytest.mark.fault("F7", soak=1)
@by_workers
@by_signal
def test_idle_connections_hold_nothing_up(tmp_path: Path, flags: tuple[str, ...], number: int) -> None:
    """Fresh ones, ones that had an answer, and one with half a request line."""
    with running(tmp_path / "root", *flags) as live, contextlib.ExitStack() as stack:
        idle = [stack.enter_context(wire(live.host)) for _ in range(9)]
        for connection in idle[:4]:
            assert connection.request("GET", "/v2/").status == 200
        idle[8].send(b"GET /v2/ HT")
        live.signal(number)
        assert ended_in(live, AT_ONCE) == 0
        assert all(connection.at_end() for connection in idle)


@pytest.mark.fault("F7", soak=15)
@by_workers
def test_a_second_signal_ends_the_wait(tmp_path: Path, flags: tuple[str, ...]) -> None:
    with running(tmp_path / "root", *flags) as live:
        session = begin(live.host, "drained")
        with uploading(live.host, session):
            live.signal(signal.SIGTERM)
            await_refusal(live.host)
            time.sleep(1)
            assert live.process.poll() is None
            live.signal(signal.SIGTERM)
            assert ended_in(live, AT_ONCE) == 0
    require_resumable(tmp_path, session)


@pytest.mark.fault("F7", soak=15)
@by_workers
def test_the_wait_has_an_end(tmp_path: Path, flags: tuple[str, ...]) -> None:
    """An upload that stands still and a pull that is not read hold a stop up for `drain` and no longer."""
    with running(tmp_path / "root", "--drain", "1", *flags) as live:
        assert push_blob(live.host, "drained", DATA).status == 201
        session = begin(live.host, "drained")
        with uploading(live.host, session) as upload, pulling(live.host):
            live.signal(signal.SIGTERM)
            started = time.monotonic()
            assert ended_in(live, 1 + AT_ONCE) == 0
            assert time.monotonic() - started >= 1
            with contextlib.suppress(Closed, ConnectionResetError):
                assert upload.answer().status == 503
    require_resumable(tmp_path, session)


def require_resumable(folder: Path, session: str) -> None:
    with running(folder / "root") as live:
        kept = offset(live.host, session)
        assert MIB <= kept <= PART
        assert append(live.host, session, DATA[kept:], kept).status == 202
        assert finish(live.host, session, DATA).status == 201
        assert pull_blob(live.host, "drained", DATA) == DATA


def test_workers_do_not_outlive_their_supervisor(tmp_path: Path) -> None:
    with running(tmp_path / "root", "--workers", "2") as live:
        workers = live.workers()
        live.process.kill()
        live.process.wait()
        deadline = time.monotonic() + AT_ONCE
        while any(Path(f"/proc/{pid}").exists() for pid in workers):
            assert time.monotonic() < deadline, "workers go on without their supervisor and hold the port"
            time.sleep(0.05)


def test_a_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    with running(tmp_path / "root", "--workers", "2") as live:
        old = live.workers()
        session = begin(live.host, "drained")
        assert append(live.host, session, DATA[:PART], 0).status == 202
        os.kill(old[0], signal.SIGKILL)
        deadline = time.monotonic() + 60
        while len(set(live.workers()) - {old[0]}) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        for worker in live.workers():
            with live.only(worker):
                assert offset(live.host, session) == PART
        assert finish(live.host, session, DATA, DATA[PART:]).status == 201


def require_answers(host: str) -> None:
    """Of so many new connections some would come to a listener that nobody serves."""
    for _ in range(40):
        assert once(host, "GET", "/v2/").status == 200


def await_replacement(live: Live, old: tuple[int, ...]) -> None:
    deadline = time.monotonic() + 60
    while len(set(live.workers()) - set(old)) < len(old) or set(live.workers()) & set(old):
        assert time.monotonic() < deadline, "the workers were not replaced"
        time.sleep(0.05)


def test_workers_that_die_together_are_replaced(tmp_path: Path) -> None:
    with running(tmp_path / "root", "--workers", "2") as live:
        old = live.workers()
        for worker in old:
            os.kill(worker, signal.SIGKILL)
        await_replacement(live, old)
        require_answers(live.host)


def test_sighup_replaces_the_workers(tmp_path: Path) -> None:
    with running(tmp_path / "root", "--workers", "2") as live:
        for _ in range(2):
            old = live.workers()
            live.signal(signal.SIGHUP)
            await_replacement(live, old)
            require_answers(live.host)
            for worker in live.workers():
                with live.only(worker):
                    assert once(live.host, "GET", "/v2/").status == 200


def test_the_number_of_workers_stands(tmp_path: Path) -> None:
    with running(tmp_path / "root", "--workers", "2") as live:
        workers = live.workers()
        for number in (signal.SIGTTOU, signal.SIGTTIN, signal.SIGTTOU):
            live.signal(number)
            time.sleep(1)  # the supervisor looks twice a second
            assert live.workers() == workers
            require_answers(live.host)
