"""Child processes that live for one case: forked from a process without threads, and ended by a signal."""

import ctypes
import gc
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass

Say = Callable[[bytes], None]

_LONGEST = 100  # seconds until a child that hangs is ended by SIGALRM
_CAPABILITY_VERSION = 0x20080522
_DAC_OVERRIDE = 1 << 1


@dataclass(frozen=True, slots=True)
class End:
    """How a child ended: the signal that killed it, else 0, and its exit code; and what it said."""

    signal: int
    code: int
    said: bytes


def run_in_child(act: Callable[[Say], None], begun: Callable[[int], None] = lambda _: None) -> End:
    """`begun` is told the child's process id while it lives."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _live(act, writer)
    os.close(writer)
    begun(child)
    with open(reader, "rb") as file:
        said = file.read()
    _, status = os.waitpid(child, 0)
    killed = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    return End(killed, 0 if killed else os.WEXITSTATUS(status), said)


def _live(act: Callable[[Say], None], writer: int) -> None:
    code = 1
    try:
        gc.disable()  # looking at every object would copy the pages that are shared with the parent
        signal.alarm(_LONGEST)
        obey_modes()
        act(lambda text: _write_all(writer, text))
        code = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _write_all(descriptor: int, text: bytes) -> None:
    while text:
        text = text[os.write(descriptor, text) :]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at_file_size(limit: int) -> None:
    """From now on the write that would take any file past `limit` bytes stops there, and the next one kills.

    The kernel does it, so it reaches into the middle of SQLite's writes too.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it otherwise
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))


def obey_modes() -> None:
    """Give up root's right to open files against their mode: most servers run without it."""
    if os.geteuid() != 0 or not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; the same for the upper 32
    assert libc.capget(header, sets) == 0, os.strerror(ctypes.get_errno())
    for number in range(3):
        sets[number] &= ~_DAC_OVERRIDE
    assert libc.capset(header, sets) == 0, os.strerror(ctypes.get_errno())
