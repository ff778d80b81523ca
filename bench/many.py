"""`python -m bench.many`: slow pulls and pushes by the hundred, and how a small request fares beside them."""

import argparse
import asyncio
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.accounting import MIB, field_mib, forget_peak, machine, peaks, tree
from bench.crowd import Crowd, Tally
from bench.kinds import KINDS, PROJECT, Found, Kind, find, ours
from bench.latency import Asker, milliseconds, quantile
from bench.payloads import make_payloads
from bench.pushing import push, push_image
from bench.report import aligned
from bench.scenario import REPOSITORY
from bench.servers import Failed, Running, started
from bench.small import IMAGE
from registry import __version__

_TARGET = f"/v2/{REPOSITORY}/manifests/v0"
_PULLED = 64 * MIB  # bytes: more than a slow pull takes in the time
_QUIET = 2  # seconds of asking before the crowd comes
_PAUSE = 0.01  # seconds between two questions
_EACH = 4  # descriptors that a transfer may need of the server: socket, its copy, file, lock
_GROWTH = 128  # MiB
_PROMPT = 0.1  # seconds


@dataclass(frozen=True, slots=True)
class Asked:
    """Seconds of manifest GETs: on one connection, and each on a new one as Docker 20.10 does it."""

    kept: list[float]
    new: list[float]


def ask(port: int, seconds: float) -> Asked:
    """Runs in a process of its own: the crowd's loop must not be in the figures."""
    asked = Asked([], [])
    end = time.monotonic() + seconds
    with Asker(port) as kept:
        while time.monotonic() < end:
            asked.kept.append(kept.ask("GET", _TARGET)[0])
            begun = time.perf_counter()
            with Asker(port) as once:
                once.ask("GET", _TARGET)
            asked.new.append(time.perf_counter() - begun)
            time.sleep(_PAUSE)
    return asked


def main() -> int:
    options = _options()
    found = _found(options)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.json.parent) as folder:
        payload = make_payloads(Path(folder), _PULLED)[0]
        with started(found, Path(folder) / "server") as server:
            push_image(server, REPOSITORY, IMAGE, ["v0"])
            push(server, REPOSITORY, payload)
            notes = _raise_limits(server, options.pulls + options.pushes)
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                alone = pool.submit(ask, server.port, _QUIET).result()
                before = {process: _resident(process) for process in tree(server.pid)}
                forget_peak(server.pid)
                target = f"/v2/{REPOSITORY}/blobs/{payload.digest}"
                tally, beside = asyncio.run(_meet(server.port, target, options, pool))
            growth = {process: peak - before.get(process, 0) for process, peak in peaks(server.pid).items()}
    rows = _rows(options, alone, beside, max(growth.values()), tally)
    run = {"machine": machine(), "notes": notes, "tally": asdict(tally), "beside": asdict(beside)}
    options.json.write_text(json.dumps(run | {"growth": list(growth.values()), "alone": asdict(alone)}))
    print("\n".join(aligned(rows)))
    for line in [*notes, *sorted(set(tally.failures))[:5]]:
        print(f"bench: {line}", file=sys.stderr)
    return 1 if tally.failures else 0


def _found(options: argparse.Namespace) -> Found:
    if options.server == "ours":
        kind = Kind("ours", "ours", (sys.executable,), (), ours("--workers", str(options.workers)))
        return Found(kind, sys.executable, __version__)
    found = next((find(kind) for kind in KINDS if kind.name == options.server), None)
    if found is None:
        raise Failed(f"{options.server} is not on this machine")
    return found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.many", description=__doc__)
    parser.add_argument("--pulls", type=int, default=1000)
    parser.add_argument("--pushes", type=int, default=200)
    parser.add_argument("--push-mib", type=int, default=8, help="of each pushed blob")
    parser.add_argument("--push-rate", type=float, default=0, help="MiB a second of each push; 0: all it can")
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--server", default="ours", help="or a peer, to compare")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--json", type=Path, default=PROJECT / "results" / "many.json", metavar="FILE")
    return parser.parse_args()


async def _meet(
    port: int, target: str, options: argparse.Namespace, pool: ProcessPoolExecutor
) -> tuple[Tally, Asked]:
    crowd = Crowd(port, target, options.push_mib * MIB, options.push_rate * MIB)
    try:
        await crowd.start(options.pulls, options.pushes)
        asking: Future[Asked] = pool.submit(ask, port, options.seconds)
        return crowd.tally, await asyncio.wrap_future(asking)
    finally:
        await crowd.stop()


def _resident(process: int) -> float:
    return field_mib(Path(f"/proc/{process}/status").read_text(), "VmRSS")


def _raise_limits(server: Running, clients: int) -> list[str]:
    """Enough descriptors for the crowd here; and there too, with a note, where the server has too few."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < clients + 100:
        raise Failed(f"this process may open {hard} files, {clients + 100} are needed: see ulimit -Hn")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    needed = clients * _EACH
    notes: list[str] = []
    for process in tree(server.pid):
        given, most = resource.prlimit(process, resource.RLIMIT_NOFILE)
        if given < needed:
            resource.prlimit(process, resource.RLIMIT_NOFILE, (min(needed, most), most))
            notes.append(
                f"the server may open {given} files, too few for {clients} clients: raised to {needed}"
            )
    return sorted(set(notes))


def _rows(
    options: argparse.Namespace, alone: Asked, beside: Asked, growth: float, tally: Tally
) -> Sequence[Sequence[str]]:
    speeds = (tally.pulled / options.seconds / MIB, tally.pushed_bytes / options.seconds / MIB)
    pulls = f"{tally.pulling} of {options.pulls}, {speeds[0]:.0f} MiB/s"
    pushes = f"{options.pushes}: {tally.pushed} blobs, {speeds[1]:.0f} MiB/s"
    rows = [
        ["", "", "must show"],
        ["slow pulls", pulls, ""],
        ["pushes", pushes, ""],
        ["failures", str(len(tally.failures)), "0"],
        ["memory growth of a worker", f"{growth:.0f} MiB", f"≤ {_GROWTH}: {_verdict(growth <= _GROWTH)}"],
    ]
    for name, asked in (("alone", alone), ("beside them", beside)):
        for way, seconds in (("kept connection", asked.kept), ("new connection", asked.new)):
            tail = quantile(seconds, 0.99)
            text = f"p50 {milliseconds(quantile(seconds, 0.5))}, p99 {milliseconds(tail)}"
            wanted = f"p99 ≤ {milliseconds(_PROMPT)}: {_verdict(tail <= _PROMPT)}" if name != "alone" else ""
            rows.append([f"manifest GET {name}, {way}", text, wanted])
    return rows


def _verdict(met: bool) -> str:
    return "met" if met else "MISSED"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as error:
        sys.exit(f"bench: {error}")
