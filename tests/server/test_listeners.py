"""A listener for each worker: how they are opened, and who has which when workers come and go."""

import signal
import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvicorn
from uvicorn.supervisors import multiprocess

from registry.server.serve import _listen
from registry.server.stopping import Supervisor
from registry.settings import ConfigError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere one listener serves all")

WORKERS = 3


def close_all(listeners: list[socket.socket]) -> None:
    for listener in listeners:
        listener.close()


def shares(listener: socket.socket) -> bool:
    return bool(listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT))


def test_who_is_accepted_is_asked_now_and_then_whether_he_is_there() -> None:
    (listener,) = _listen("127.0.0.1", 0, 1)
    with listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
            assert [accepted.getsockopt(socket.IPPROTO_TCP, each) for each in options] == [60, 15, 4]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_each_worker_has_a_listener_and_nobody_else_has(host: str, workers: int) -> None:
    listeners = _listen(host, 0, workers)
    try:
        port = listeners[0].getsockname()[1]
        assert {listener.getsockname()[1] for listener in listeners} == {port}
        assert [shares(listener) for listener in listeners] == [workers > 1] * workers
        for others in (1, 2):
            with pytest.raises(ConfigError, match="in use"):
                _listen(host, port, others)
    finally:
        close_all(listeners)


class Fake:
    """A worker as far as its supervisor looks at it."""

    made: list["Fake"]

    def __init__(self, _: object, sockets: list[Any]) -> None:
        (self.listener,) = sockets
        self.process = self.child_conn = self
        self.alive, self.ready, self.exitcode, self.pid = False, True, None, 0
        self.at_kill: Callable[[], None] = lambda: None
        Fake.made.append(self)

    def is_alive(self, timeout: float = 5) -> bool:
        return self.alive

    def wait_until_ready(self, *_: object) -> bool:
        return self.ready

    def start(self) -> None:
        self.alive = True

    def close(self) -> None:
        """The end of its pipe that the supervisor has too."""

    def kill(self) -> None:
        self.alive = False
        self.at_kill()

    terminate = kill

    def join(self) -> None:
        assert not self.alive


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Iterator[Supervisor]:
    Fake.made = []
    monkeypatch.setattr(multiprocess, "Process", Fake)
    before = {number: signal.getsignal(number) for number in multiprocess.SIGNALS}
    listeners = [socket.socket() for _ in range(WORKERS)]
    try:
        supervisor = Supervisor(uvicorn.Config("none", workers=WORKERS), listeners)
        supervisor.init_processes()
        yield supervisor
    finally:
        close_all(listeners)
        for number, handler in before.items():
            signal.signal(number, handler)


def workers(supervisor: Supervisor) -> list[Any]:
    return list(supervisor.processes)


def listeners_of(supervisor: Supervisor) -> list[socket.socket]:
    """In the order of the workers; each is one's, and none is without one."""
    found = [worker.listener for worker in workers(supervisor) if worker.alive]
    assert Counter(map(id, found)) == Counter(map(id, supervisor._listeners))
    return found


def test_each_has_its_own(supervisor: Supervisor) -> None:
    assert listeners_of(supervisor) == list(supervisor._listeners)


@pytest.mark.parametrize("dead", [[0], [2], [0, 1], [1, 2], [0, 1, 2]], ids=str)
def test_who_replaces_the_dead_has_what_they_had(supervisor: Supervisor, dead: list[int]) -> None:
    for number in dead:
        workers(supervisor)[number].alive = False
    supervisor.keep_subprocess_alive()
    assert len(Fake.made) == WORKERS + len(dead)
    listeners_of(supervisor)


def test_one_that_dies_when_it_has_been_looked_at(supervisor: Supervisor) -> None:
    """The first is found alive, and is not when the second is replaced."""
    first, second, _ = workers(supervisor)
    second.alive = False
    second.at_kill = first.kill
    supervisor.keep_subprocess_alive()
    supervisor.keep_subprocess_alive()
    listeners_of(supervisor)
    workers(supervisor)[1].alive = False
    supervisor.keep_subprocess_alive()
    listeners_of(supervisor)


def test_a_restart_keeps_each_in_its_place(supervisor: Supervisor) -> None:
    before, old = listeners_of(supervisor), workers(supervisor)
    supervisor.handle_hup()
    assert listeners_of(supervisor) == before
    assert not {*map(id, workers(supervisor))} & {*map(id, old)}


def test_a_restart_that_is_given_up(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    before = listeners_of(supervisor)
    monkeypatch.setattr(Fake, "wait_until_ready", lambda *_: len(Fake.made) == WORKERS + 1)
    supervisor.handle_hup()
    assert listeners_of(supervisor) == before
    workers(supervisor)[2].alive = False
    supervisor.keep_subprocess_alive()
    assert listeners_of(supervisor) == before


def test_the_number_of_workers_is_fixed(supervisor: Supervisor) -> None:
    before = workers(supervisor)
    supervisor.handle_ttou()
    supervisor.handle_ttin()
    assert workers(supervisor) == before
    listeners_of(supervisor)
