"""Answers in one write: uvicorn writes head and body one after the other, a system call each."""

import asyncio
import os
import socket
import struct
from contextlib import suppress

from registry.server.limits import Limits
from registry.server.timers import Timer

_AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: on, for no time
_CORK = 64 * 2**10  # bytes that may wait: more is worth a system call, and counts where writing is paused


class Corked:
    """A transport for answers: what is written in one turn of the loop goes out at once."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, limits: Limits) -> None:
        self._transport, self._loop, self._limits = transport, loop, limits
        self._farewell = Timer(loop)
        self._waiting: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> None:
        if not self._waiting:
            self._loop.call_soon(self.flush)
        self._waiting.append(data)
        self._size += len(data)
        if self._size > _CORK:
            self.flush()

    def flush(self) -> None:
        waiting, self._waiting, self._size = self._waiting, [], 0
        if waiting and not self._transport.is_closing():  # else the client is gone: writing would raise
            self._transport.writelines(waiting)

    def close(self) -> None:
        """Once the client has taken what waits, for which it has no longer than at the slowest rate."""
        self.flush()
        waiting = self._transport.get_write_buffer_size()
        self._transport.close()
        if waiting and not self._farewell.runs:
            seconds = self._limits.stall_seconds + waiting / self._limits.rate
            self._farewell.start(seconds, self.reset)

    def reset(self) -> None:
        """At once: the kernel would keep megabytes for a client that takes nothing, for minutes."""
        with suppress(OSError):
            descriptor = os.dup(self._transport.get_extra_info("socket").fileno())
            with socket.socket(fileno=descriptor) as duplicate:
                duplicate.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self._transport.abort()

    def closed(self) -> None:
        """It is over, whoever closed it."""
        self._farewell.stop()

    def is_closing(self) -> bool:
        return self._transport.is_closing()
