"""Starting a server as a child on a folder of its own, and ending it."""

import contextlib
import os
import random
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.kinds import PROJECT, Certificate, Found

_START_SECONDS = 30.0
_STOP_SECONDS = 40.0
_POLL = 0.0005  # seconds; a start is measured with it


class Failed(Exception):
    """A server or a client did not do what a measurement needs; the text says what it said."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers. `start` is the seconds from its process's start to its first answer."""

    found: Found
    pid: int
    port: int
    folder: Path
    start: float
    tls: Certificate | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"


@contextlib.contextmanager
def started(
    found: Found, folder: Path, *, fresh: bool = False, tls: Certificate | None = None
) -> Iterator[Running]:
    """Serve from `folder` until the block ends; a fresh one is emptied before and removed afterwards."""
    if fresh:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    log = folder / "server.log"
    with log.open("ab") as output:
        command = found.kind.command(found.program, folder, port, tls)
        begun = time.perf_counter()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=_environment(found, folder),
        )
    try:
        _await(process, port, log, tls)
        yield Running(found, process.pid, port, folder, time.perf_counter() - begun, tls)
        if process.poll() is not None:
            raise Failed(f"{found.kind.name} ended by itself:\n{tail(log)}")
    finally:
        _end(process)
        if fresh:
            shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """Below the range that the kernel gives away, so that nobody is given it before the server binds it."""
    while True:
        port = random.randrange(20_000, 32_000)  # noqa: S311
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _environment(found: Found, folder: Path) -> dict[str, str]:
    """This process's, less what would change a server's settings. Temporary roots lie on the same disk."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("REGISTRY_", "OTEL_"))}
    return kept | {"PYTHONPATH": str(PROJECT), "TMPDIR": str(folder)} | dict(found.kind.environment)


def _await(process: "subprocess.Popen[bytes]", port: int, log: Path, tls: Certificate | None) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if _answers(port, tls):
            return
        time.sleep(_POLL)
    raise Failed(f"{process.args!r} did not start:\n{tail(log)}")


def _answers(port: int, tls: Certificate | None) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as connection:
            if tls:
                context = ssl.create_default_context(cafile=str(tls.cert))
                with context.wrap_socket(connection, server_hostname="127.0.0.1") as secure:
                    return _is_ready(secure)
            return _is_ready(connection)
    except OSError:
        return False


def _is_ready(connection: socket.socket) -> bool:
    connection.sendall(b"GET /v2/ HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
    return connection.recv(12).endswith((b" 200", b" 401"))


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def tail(log: Path, lines: int = 20) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
