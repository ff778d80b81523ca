"""What the kernel booked: CPU seconds and resident memory of process trees, CPU seconds of the machine."""

import os
import platform
import resource
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType

Figures = Mapping[str, float]
"""Seconds, requests a second or MiB, by the name of the measure."""

MIB = 2**20
_TICK = 1 / os.sysconf("SC_CLK_TCK")
_SETTLE = 0.05  # seconds in which a server may still close what it answered


class Meter:
    """`figures` after the block: wall, cpu (of the tree of `pid`), machine and client, all in seconds."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.figures: dict[str, float] = {}

    def __enter__(self) -> "Meter":
        self._before = self._read()
        return self

    def __exit__(self, kind: type[BaseException] | None, _: object, __: TracebackType | None) -> None:
        if kind:
            return
        wall = time.perf_counter() - self._before["wall"]
        time.sleep(_SETTLE)
        after = self._read()
        self.figures = {name: after[name] - self._before[name] for name in after} | {"wall": wall}

    def _read(self) -> dict[str, float]:
        own = resource.getrusage(resource.RUSAGE_SELF)
        done = resource.getrusage(resource.RUSAGE_CHILDREN)
        return {
            "cpu": tree_seconds(self._pid),
            "machine": machine_seconds(Path("/proc/stat").read_text()),
            "client": own.ru_utime + own.ru_stime + done.ru_utime + done.ru_stime,
            "wall": time.perf_counter(),
        }


def tree_seconds(pid: int) -> float:
    """User and system time of a process, its descendants, and those of them that have ended."""
    return sum(_stat_ticks(text) for text in _each(pid, "stat")) * _TICK


def _stat_ticks(text: str) -> int:
    # The command's name is in brackets and may hold anything; 14 to 17 count from before it (proc(5)).
    fields = text.rpartition(")")[2].split()
    return sum(map(int, fields[11:15]))


def machine_seconds(stat: str) -> float:
    """All that was not idle: user, nice, system, irq, softirq."""
    fields = stat.splitlines()[0].split()
    return sum(int(fields[number]) for number in (1, 2, 3, 6, 7)) * _TICK


def resident(pid: int) -> float:
    """MiB of memory that the tree holds; what its processes share counts for each."""
    return sum(field_mib(text, "VmRSS") for text in _each(pid, "status"))


def peak(pid: int) -> float:
    """MiB that the tree's processes held at most since `forget_peak`, each at its own time."""
    return sum(peaks(pid).values())


def peaks(pid: int) -> dict[int, float]:
    found: dict[int, float] = {}
    for process in tree(pid):
        with suppress(OSError):
            found[process] = field_mib(Path(f"/proc/{process}/status").read_text(), "VmHWM")
    return found


def forget_peak(pid: int) -> None:
    for process in tree(pid):
        with suppress(OSError):
            Path(f"/proc/{process}/clear_refs").write_text("5")


def field_mib(status: str, name: str) -> float:
    for line in status.splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) / 1024
    return 0.0


def tree(pid: int) -> list[int]:
    """A process and all its descendants, parents first."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with suppress(OSError):
                parent = int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry))
    found = [pid]
    for process in found:
        found += children.get(process, [])
    return found


def _each(pid: int, name: str) -> Iterator[str]:
    for process in tree(pid):
        with suppress(OSError):  # it has just ended: its parent has its time
            yield Path(f"/proc/{process}/{name}").read_text()


def machine() -> dict[str, object]:
    """What the figures depend on."""
    models = [
        line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")
    ]
    memory = Path("/proc/meminfo").read_text().split()[1]
    return {
        "kernel": platform.release(),
        "cores": os.cpu_count() or 0,
        "processor": models[0].partition(": ")[2] if models else platform.machine(),
        "memory_gib": round(int(memory) / 2**20, 1),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }
