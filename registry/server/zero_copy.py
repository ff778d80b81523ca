"""From page cache to socket by sendfile(2): no byte in Python, and no thread that waits for a client."""

import asyncio
import errno
import os
from collections.abc import Callable
from contextlib import suppress

from registry.server.patience import Patience
from registry.server.readiness import writable
from storage.threads import Threads

# Bytes of one sendfile call, and of a turn of calls in a thread: so much each of many streams gets before the
# next one. 8 × 512 MiB took 0.87 s with turns of 1 MiB, 0.73 with 2, 0.86 with 8; on the loop, which is one
# thread, 0.65 to 1.77. A stream that is alone costs less there: it needs no second thread.
_STEP, _TURN = 2**19, 2**21
_SMALL = 2**18  # bytes whose sending costs less than a hop
_GONE = {errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.EBADF}
_NOWAIT: int = getattr(os, "RWF_NOWAIT", 0)


class Copier:
    """Sends files for all connections of a process. One at a time is sent on the loop, which costs no hop."""

    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        self._under_way = 0

    async def copy(
        self,
        target: int,
        file: int,
        offset: int,
        count: int,
        *,
        wanted: Callable[[], bool],
        patience: Patience,
    ) -> bool:
        """Send part of a file to a socket; False if the client went away or took too little for too long.

        Raises EOFError where the file ends early. `target` is a descriptor of its own (os.dup): the loop lets
        nobody wait for one that a transport has.
        """
        self._under_way += 1
        try:
            return await self._copy(target, file, offset, offset + count, wanted, patience)
        except OSError as error:
            if error.errno in _GONE:
                return False
            raise
        finally:
            self._under_way -= 1

    async def _copy(
        self,
        target: int,
        file: int,
        offset: int,
        end: int,
        wanted: Callable[[], bool],
        patience: Patience,
    ) -> bool:
        loop = asyncio.get_running_loop()
        while offset < end and wanted():
            alone = self._under_way == 1
            stop = min(offset + (_STEP if alone else _TURN), end)
            if not is_cached(file, offset, stop - offset):
                stop = min(offset + _STEP, end)
                await self._threads.read(os.pread, file, stop - offset, offset)
            if alone or stop - offset <= _SMALL:
                sent, full = _send(target, file, offset, stop)
            else:
                sent, full = await self._threads.send(_send, target, file, offset, stop)
            offset += sent
            patience.brought(sent)
            if full and patience.is_over:
                return False
            if full:
                begun = loop.time()
                with suppress(TimeoutError):  # it takes bytes long before it is said to: a third must be free
                    await writable(loop, target, patience.left)
                patience.waited(loop.time() - begun)
            else:
                await asyncio.sleep(0)  # the turn of other requests
        return offset == end


def _send(target: int, file: int, offset: int, end: int) -> tuple[int, bool]:
    """A turn of sending: how many bytes the socket took, and whether it takes no more for now."""
    begun = offset
    while offset < end:
        try:
            sent = os.sendfile(target, file, offset, min(_STEP, end - offset))
        except BlockingIOError:
            return offset - begun, True
        if sent == 0:
            raise EOFError(f"the file ends {end - offset} bytes early, or more")
        offset += sent
    return offset - begun, False


def is_cached(file: int, offset: int, count: int) -> bool:
    """Whether sendfile would not wait for the disk, judged by the first and the last byte.

    Where the file system or the platform can't tell, it is taken to be: then a cold file holds up the loop.
    """
    if not _NOWAIT:
        return True
    probe = [bytearray(1)]
    try:
        for position in (offset, offset + count - 1):
            if os.preadv(file, probe, position, _NOWAIT) == 0:
                return True
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
