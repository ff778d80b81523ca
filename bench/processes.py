"""What a server's processes take: resident memory, sampled; and the server under measurement itself."""

import contextlib
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ADDRESS = re.compile(rb"http://(127\.0\.0\.1:[1-9]\d*)")
RESIDENT = re.compile(r"^VmRSS:\s+(\d+) kB$", re.MULTILINE)
SAMPLE_SECONDS = 0.05
START_SECONDS = 30.0
PROJECT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Started:
    process: subprocess.Popen[bytes]
    host: str
    seconds: float  # from the start of the process to its first 200


def start(root: Path, *flags: str, environment: Mapping[str, str] | None = None) -> Started:
    """`registry serve` on a free port of the loopback; the caller ends it."""
    command = [sys.executable, "-m", "registry", "serve", "--root", str(root), "--port", "0", *flags]
    began = time.monotonic()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, cwd=PROJECT
    )
    assert process.stdout is not None
    found = ADDRESS.search(process.stdout.readline())
    host = found[1].decode() if found else ""
    while not (host and answers(host)):
        if not host or process.poll() is not None or time.monotonic() - began > START_SECONDS:
            end(process)
            raise RuntimeError("the server did not start")
        time.sleep(0.002)
    return Started(process, host, time.monotonic() - began)


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def answers(host: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{host}/v2/", timeout=5) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, ConnectionError):
        return False


@contextlib.contextmanager
def running(root: Path, *flags: str) -> Iterator[Started]:
    started = start(root, *flags)
    try:
        yield started
    finally:
        end(started.process)


def family(pid: int) -> tuple[int, ...]:
    """The process and its children."""
    return (pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def resident(pid: int) -> int:
    """Bytes of memory that the process has resident (VmRSS)."""
    found = RESIDENT.search(Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) * 1024 if found else 0


@dataclass(slots=True)
class Peaks:
    """The most that each process had while the block ran."""

    pids: tuple[int, ...]
    most: dict[int, int] = field(default_factory=dict)

    def sample(self) -> None:
        for pid in self.pids:
            self.most[pid] = max(self.most.get(pid, 0), resident(pid))

    def growth(self, since: Mapping[int, int]) -> int:
        """Bytes by which the processes together grew: the sum of each one's peak over its start."""
        return sum(self.most[pid] - since[pid] for pid in self.pids)


@contextlib.contextmanager
def sampling(pids: tuple[int, ...]) -> Iterator[Peaks]:
    peaks, ended = Peaks(pids), threading.Event()

    def sample() -> None:
        while not ended.wait(SAMPLE_SECONDS):
            peaks.sample()

    peaks.sample()
    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield peaks
    finally:
        ended.set()
        thread.join()
        peaks.sample()
