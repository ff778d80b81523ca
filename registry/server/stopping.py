"""How a server stops: no new connections, a wait for the requests in flight, none after a second signal."""

import asyncio
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from types import FrameType

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess
from uvicorn.supervisors.multiprocess import Process

_POLL = 0.1  # seconds between two looks at what is ending
_STOPS = {signal.SIGTERM, signal.SIGINT}


class Server(uvicorn.Server):
    """The only process: a second signal of either kind ends what is still in flight."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._hurry = asyncio.Event()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            self._hurry.set()
        else:
            super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        watch = asyncio.create_task(self._end_in_a_hurry())
        try:
            await super().shutdown(sockets)
        finally:
            watch.cancel()

    async def _end_in_a_hurry(self) -> None:
        # Not uvicorn's force_exit: it leaves the requests without an answer and the lifespan open.
        await self._hurry.wait()
        for task in tuple(self.server_state.tasks):
            task.cancel()
        await asyncio.sleep(_POLL)
        for connection in tuple(self.server_state.connections):
            connection.transport.abort()  # a client that does not read would hold a close up


class Supervisor(Multiprocess):
    """Starts workers, replaces those that die, and passes a stop on.

    The workers themselves take one SIGTERM and one SIGINT as a single wish to stop: systemd and a terminal
    signal them too, beside their supervisor. Each has a listener of its own, which its replacement takes
    over, with the connections that wait there. (Where there is but one for all, all have that.)
    """

    def __init__(self, config: uvicorn.Config, listeners: Sequence[socket.socket]) -> None:
        self._listeners = listeners
        self._held: dict[Process, socket.socket] = {}
        self._given = listeners[0]  # to the worker made last, which is not yet among `processes`
        self._retiring: Iterator[Process] = iter(())  # in a restart, those whose replacements are to come
        super().__init__(config, [])

    @property
    def sockets(self) -> list[socket.socket]:
        """Of the worker that uvicorn is about to make: its predecessor's, or one that no live worker has."""
        self._held = {process: self._held.get(process, self._given) for process in self.processes}
        if retiring := next(self._retiring, None):
            self._given = self._held[retiring]
        else:
            held = [has for process, has in self._held.items() if process.process.is_alive()]
            free = (listener for listener in self._listeners if listener not in held)
            self._given = next(free, self._listeners[0])
        return [self._given]

    @sockets.setter
    def sockets(self, _: list[socket.socket]) -> None:
        """uvicorn's own; ours are `_listeners`."""

    @property
    def failed(self) -> bool:
        """Whether it ended because a worker could not start."""
        return any(process.exitcode == STARTUP_FAILURE for process in self.processes)

    def keep_subprocess_alive(self) -> None:
        for process in self.processes:
            # Open here too, it would keep a ping to a worker that has just died waiting for half a minute.
            process.child_conn.close()
        super().keep_subprocess_alive()

    def restart_all(self) -> None:
        self._retiring = iter(tuple(self.processes))  # uvicorn goes through them in this order
        super().restart_all()
        self._retiring = iter(())  # it may have given up

    def handle_ttin(self) -> None:
        """Nothing: there are as many workers as listeners."""

    def handle_ttou(self) -> None:
        """Nothing: a listener that stays without a worker would still be given connections."""

    def terminate_all(self) -> None:
        for listener in self._listeners:
            listener.close()  # else the kernel would accept connections that nobody serves
        super().terminate_all()

    def join_all(self) -> None:
        while alive := [process.process for process in self.processes if process.process.is_alive()]:
            if _STOPS.intersection(self.signal_queue):
                self.signal_queue.clear()
                for process in alive:
                    if process.pid is not None:
                        os.kill(process.pid, signal.SIGINT)  # to a worker that is stopping: end now
            time.sleep(_POLL)
        super().join_all()


def follow_supervisor() -> None:
    """In a worker: stop when the supervisor is gone, or the port would stay taken by orphans."""
    supervisor = multiprocessing.parent_process()
    if supervisor is None:
        return

    def follow() -> None:
        supervisor.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=follow, name="supervisor-watch", daemon=True).start()
