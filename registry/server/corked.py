"""Answers in one write: uvicorn writes head and body one after the other, a system call each."""

import asyncio

_CORK = 64 * 2**10  # bytes that may wait: more is worth a system call, and counts where writing is paused


class Corked:
    """A transport for answers: what is written in one turn of the loop goes out at once."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
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
        self.flush()
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()
