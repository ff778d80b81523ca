"""From page cache to socket by sendfile(2): no byte in Python, no thread for a slow client."""

import asyncio
import errno
import os
from collections.abc import Callable

from registry.server.readiness import writable

_STEP = 2**20  # bytes of one sendfile call: what the loop does not get back in between
_STALL = 60.0  # seconds in which a client must take something
_GONE = {errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.EBADF}
_NOWAIT: int = getattr(os, "RWF_NOWAIT", 0)


async def copy(target: int, file: int, offset: int, count: int, *, wanted: Callable[[], bool]) -> bool:
    """Send part of a file to a socket; False if the client went away or took nothing for too long.

    Raises EOFError where the file ends early. `target` is a descriptor of its own (os.dup): the loop lets
    nobody wait for one that a transport has.
    """
    loop = asyncio.get_running_loop()
    end = offset + count
    try:
        while offset < end and wanted():
            step = min(_STEP, end - offset)
            if not is_cached(file, offset, step):
                await loop.run_in_executor(None, os.pread, file, step, offset)
            try:
                sent = os.sendfile(target, file, offset, step)
            except BlockingIOError:
                await writable(loop, target, _STALL)
                continue
            if sent == 0:
                raise EOFError(f"the file ends {end - offset} bytes early")
            offset += sent
            await asyncio.sleep(0)  # other connections' turn
    except TimeoutError:
        return False
    except OSError as error:
        if error.errno in _GONE:
            return False
        raise
    return offset == end


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
