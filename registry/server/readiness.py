"""Waiting for a descriptor, which is a duplicate: the loop lets nobody wait for one that a transport has.

And how far a client is, which nobody is told: a socket is writable only once a third of its buffer is free,
and that may be a megabyte.
"""

import asyncio
import fcntl
import sys
import termios
from collections.abc import Callable
from typing import Any


async def readable(loop: asyncio.AbstractEventLoop, descriptor: int, seconds: float) -> None:
    """Wait until the descriptor has bytes, or its end. Raises TimeoutError."""
    await _wait(loop, loop.add_reader, loop.remove_reader, descriptor, seconds)


async def writable(loop: asyncio.AbstractEventLoop, descriptor: int, seconds: float) -> None:
    """Wait until the descriptor takes bytes. Raises TimeoutError."""
    await _wait(loop, loop.add_writer, loop.remove_writer, descriptor, seconds)


def untaken(descriptor: int) -> int:
    """Bytes that were sent and that the other end has not acknowledged; 0 where the system does not tell."""
    try:
        told = fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4))
    except (OSError, ValueError):
        return 0
    return int.from_bytes(told, sys.byteorder)


async def _wait(
    loop: asyncio.AbstractEventLoop,
    add: Callable[..., Any],
    remove: Callable[[int], Any],
    descriptor: int,
    seconds: float,
) -> None:
    ready = loop.create_future()
    add(descriptor, _settle, ready)
    try:
        async with asyncio.timeout(seconds):
            await ready
    finally:
        remove(descriptor)


def _settle(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
