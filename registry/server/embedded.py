"""A server in a thread of a program that goes on to do other things, and that ends without a trace."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

import uvicorn
from starlette.types import ASGIApp

from registry.server.serve import server_config
from registry.server.tls import context
from registry.settings import Settings

Result = TypeVar("Result")

_TICK = 0.1  # seconds between two looks at uvicorn's clock, as uvicorn has it
_POLL, _POLLS = 0.002, 50  # seconds between two looks at what is ending, and how many looks


class Embedded:
    """Started once, stopped once. The listener stays the caller's: who connects in between waits there."""

    def __init__(self, make: Callable[[], ASGIApp], settings: Settings, listener: socket.socket) -> None:
        config = server_config(make, settings)
        if settings.tls_cert:
            # Not the one that is renewed: a thread would look at the files for ever.
            config.ssl_context_factory = partial(_context, settings)
        self._ready = threading.Event()
        self._failed: BaseException | None = None
        self._server = _Server(config, self._ready.set)
        # Nothing of it outlives `stop`; where nobody calls that, it must not hold up the program's end.
        self._thread = threading.Thread(target=self._run, args=(listener,), name="oci-registry", daemon=True)

    def start(self) -> None:
        """Returns when it answers. Raises what the start came to."""
        self._thread.start()
        self._ready.wait()
        if self._failed is not None:
            self._thread.join()
            raise self._failed

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """On its loop, from another thread."""
        return asyncio.run_coroutine_threadsafe(work, self._server.loop).result()

    def stop(self) -> None:
        self._server.leave()
        self._thread.join()

    def _run(self, listener: socket.socket) -> None:
        try:
            with listener.dup() as own:
                self._server.run(sockets=[own])
        except SystemExit:  # how uvicorn tells of it: the program that we are in goes on
            self._failed = RuntimeError("the app did not start: the log says why")
        except BaseException as error:
            self._failed = error
        finally:
            self._ready.set()


def _context(settings: Settings, *_: object) -> ssl.SSLContext:
    made = context(settings)
    assert made is not None, "the settings name a certificate"
    return made


class _Server(uvicorn.Server):
    loop: asyncio.AbstractEventLoop  # once it has started

    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._tell = started
        self._asked = asyncio.Event()

    def leave(self) -> None:
        """From another thread."""
        self.loop.call_soon_threadsafe(self._asked.set)

    async def main_loop(self) -> None:
        self.loop = asyncio.get_running_loop()
        tick = 0
        await self.on_tick(tick)  # the Date of answers
        self._tell()
        asked = asyncio.ensure_future(self._asked.wait())  # once: `wait` ends no task that it waited for
        while not asked.done():
            await asyncio.wait([asked], timeout=_TICK)
            tick += 1
            await self.on_tick(tick)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """uvicorn's takes a tenth of a second at least, which a test-suite pays for each of its tests."""
        for server in self.servers:
            server.close()
        for listening in sockets or ():
            listening.close()
        state = self.server_state
        for connection in list(state.connections):
            connection.shutdown()
        if tasks := tuple(state.tasks):
            _, late = await asyncio.wait(tasks, timeout=self.config.timeout_graceful_shutdown)
            for task in late:
                task.cancel()
            await asyncio.wait(tasks)
        await self._see_off()
        for connection in list(state.connections):
            connection.transport.abort()
        await self._see_off()
        await self.lifespan.shutdown()

    async def _see_off(self) -> None:
        """Let connections take their last bytes. One with TLS may wait for a farewell that never comes."""
        for _ in range(_POLLS):
            if not self.server_state.connections:
                return
            await asyncio.sleep(_POLL)
