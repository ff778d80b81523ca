"""Live servers whose processes a test signals, holds for a moment, and measures."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.serving import await_host, tail
from tests.live import wire

STOP_SECONDS = 40.0
PROJECT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Live:
    process: subprocess.Popen[bytes]
    host: str  # 127.0.0.1:PORT
    root: Path
    log: Path  # standard output and standard error

    @property
    def pid(self) -> int:
        return self.process.pid

    def workers(self) -> tuple[int, ...]:
        """The pids that serve: the supervisor's children, or the only process itself."""
        return tuple(pid for pid in children(self.pid) if b"spawn_main" in command_line(pid)) or (self.pid,)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def stop(self) -> int:
        self.signal(signal.SIGTERM)
        return self.process.wait(STOP_SECONDS)

    def kill(self) -> None:
        """`kill -9`, the supervisor first: it would replace a worker."""
        for pid in dict.fromkeys([self.pid, *self.workers()]):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(STOP_SECONDS)

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    @contextlib.contextmanager
    def only(self, worker: int) -> Iterator[None]:
        """Meanwhile every new connection comes to this worker: the others stand still."""
        others = [pid for pid in self.workers() if pid != worker]
        for pid in others:
            os.kill(pid, signal.SIGSTOP)
        wire.choosy = bool(others)
        try:
            yield
        finally:
            wire.choosy = False
            for pid in others:
                os.kill(pid, signal.SIGCONT)


def start(
    root: Path,
    *flags: str,
    module: str = "registry",
    name: str = "serve",
    environment: Mapping[str, str] | None = None,
    wrapper: Sequence[str] = (),
) -> Live:
    """Start and wait for the first answer. The caller ends the process; `running` does so by itself.

    `wrapper` is a command that executes the one behind it, such as `prlimit --nofile=64`.
    """
    log = root.parent / f"{root.name}.{name}.log"
    command = [sys.executable, "-m", module, "serve", "--host", "127.0.0.1", "--port", "0"]
    place = [] if "--ephemeral" in flags else ["--root", str(root)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*wrapper, *command, *place, *flags],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=PROJECT,
            env=environment,
        )
    try:
        return Live(process, await_host(process, log), root, log)
    except BaseException:
        process.kill()
        process.wait()
        raise


@contextlib.contextmanager
def running(
    root: Path,
    *flags: str,
    module: str = "registry",
    name: str = "serve",
    environment: Mapping[str, str] | None = None,
    wrapper: Sequence[str] = (),
    tracebacks: bool = False,
) -> Iterator[Live]:
    """Serve until the block ends; then SIGTERM must end it with 0.

    No traceback may have been printed, unless some are expected.
    """
    live = start(root, *flags, module=module, name=name, environment=environment, wrapper=wrapper)
    try:
        yield live
        if live.process.poll() is None:
            code = live.stop()
            assert code == 0, f"exit code {code}:\n{tail(live.log)}"
        assert tracebacks or "Traceback" not in live.said(), tail(live.log, 80)
    finally:
        if live.process.poll() is None:
            live.kill()


def children(pid: int) -> tuple[int, ...]:
    try:
        return tuple(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    except FileNotFoundError:
        return ()


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return b""


def descriptors(pid: int) -> dict[str, str]:
    """Open descriptors and what they are open on."""
    folder = Path(f"/proc/{pid}/fd")
    found = {}
    for entry in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            found[entry.name] = str(entry.readlink())
    return found
