"""How a server stops: no new connections, a wait for the requests in flight, none after a second signal."""

import asyncio
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Sequence
from types import FrameType

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

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
    over, with the connections that wait there.
    """

    def __init__(self, config: uvicorn.Config, listeners: Sequence[socket.socket]) -> None:
        self._listeners = listeners
        super().__init__(config, [])

    @property
    def sockets(self) -> list[socket.socket]:
        """Of the worker that uvicorn is about to make: the first whose place is not taken."""
        taken = [process.process.is_alive() for process in self.processes]
        place = taken.index(False) if False in taken else len(taken)
        # Beyond the last: a restart, which makes the new worker beside the one that it replaces.
        return [self._listeners[place]] if place < len(self._listeners) else list(self._listeners)

    @sockets.setter
    def sockets(self, _: list[socket.socket]) -> None:
        """uvicorn's own; ours are `_listeners`."""

    @property
    def failed(self) -> bool:
        """Whether it ended because a worker could not start."""
        return any(process.exitcode == STARTUP_FAILURE for process in self.processes)

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
