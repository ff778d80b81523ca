"""Resident memory of a server: idle, and while blobs are pushed and pulled at once.

python -m bench.memory [WORKERS]
"""

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench.processes import PROJECT, Started, family, resident, running, sampling

BLOBS, MEBIBYTES = 8, 256
QUIET_SECONDS = 1.0
MIB = 2**20


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes; `idle` lists the first process and then its children, growth is of all of them together."""

    idle: tuple[int, ...]
    push_growth: int
    pull_growth: int
    push_seconds: float
    pull_seconds: float

    def __str__(self) -> str:
        idle = " + ".join(f"{size / MIB:.1f}" for size in self.idle)
        pushed = f"pushed at once: +{self.push_growth / MIB:.1f} MiB in {self.push_seconds:.1f} s"
        pulled = f"pulled at once: +{self.pull_growth / MIB:.1f} MiB in {self.pull_seconds:.1f} s"
        return f"idle {idle} MiB; {BLOBS} x {MEBIBYTES} MiB {pushed}, {pulled}"


def measure(folder: Path, workers: int = 1) -> Memory:
    """Growth is counted from the idle server on, for the pulls too: what pushes leave behind counts."""
    with running(folder / "root", "--no-access-log", "--workers", str(workers)) as server:
        idle = settle(server)
        pids = tuple(idle)
        with sampling(pids) as pushing:
            began = time.monotonic()
            digests = run(
                [["push", server.host, f"load{seed}", str(seed), str(MEBIBYTES)] for seed in range(BLOBS)]
            )
            push_seconds = time.monotonic() - began
        with sampling(pids) as pulling:
            began = time.monotonic()
            run([["pull", server.host, f"load{seed}", digest] for seed, digest in enumerate(digests)])
            pull_seconds = time.monotonic() - began
    return Memory(
        tuple(idle.values()), pushing.growth(idle), pulling.growth(idle), push_seconds, pull_seconds
    )


def measure_idle(folder: Path, workers: int) -> tuple[int, ...]:
    """Bytes of each process."""
    with running(folder / "root", "--no-access-log", "--workers", str(workers)) as server:
        return tuple(settle(server).values())


def settle(server: Started) -> dict[int, int]:
    """The idle server's processes and what each has resident."""
    time.sleep(QUIET_SECONDS)
    return {pid: resident(pid) for pid in family(server.process.pid)}


def run(clients: list[list[str]]) -> list[str]:
    """All at once; what each printed. Raises RuntimeError if one fails."""
    command = [sys.executable, "-m", "bench.stream"]
    started = [
        subprocess.Popen([*command, *client], stdout=subprocess.PIPE, text=True, cwd=PROJECT)
        for client in clients
    ]
    outputs = [process.communicate()[0].strip() for process in started]
    if any(process.returncode for process in started):
        raise RuntimeError("a client failed")
    return outputs


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        print(measure(Path(scratch), int(sys.argv[1]) if sys.argv[1:] else 1))
