"""`python -m bench.through`: images pulled through a cache: by a crowd at once, cold, and warm.

The upstream is a server of ours behind a wire of so many megabytes a second, which counts what goes over it.
"""

import argparse
import contextlib
import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from bench.accounting import machine
from bench.kinds import PROJECT, Found, Kind, ours
from bench.payloads import Payload, make_payloads
from bench.pulling import Puller
from bench.pushing import push, push_reference
from bench.report import aligned
from bench.scenario import REPOSITORY
from bench.servers import Failed, Running, started
from registry import __version__

_NAME = "upstream.test"
_PLAIN, _CACHED = f"/v2/{REPOSITORY}", f"/v2/{_NAME}/{REPOSITORY}"
_FIRST = 0.2  # seconds after the upstream's first byte
_COLD, _WARM = 1.15, 1.10  # times as long as the other way


@dataclass(slots=True)
class Pull:
    """When its first byte came (monotonic), how long it took in all, and whether the bytes were right."""

    first: float = 0.0
    seconds: float = 0.0
    right: bool = False


@dataclass(slots=True)
class Wire:
    """A relay in a process of its own."""

    process: "subprocess.Popen[str]"
    port: int

    def heard(self) -> list[dict[str, float | str]]:
        """What went over it since the last time."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        found: list[dict[str, float | str]] = json.loads(self.process.stdout.readline())
        return found


@dataclass(slots=True)
class Results:
    """`firsts`: seconds from the upstream's first byte to each client's. `fetched`: a layer's bytes over the
    wire. `requests` are for the layer, `asked` for the manifest.
    """

    firsts: list[float] = field(default_factory=list)
    fetched: int = 0
    requests: int = 0
    asked: int = 0
    crowd: float = 0.0
    direct: list[float] = field(default_factory=list)
    cold: list[float] = field(default_factory=list)
    warm: list[float] = field(default_factory=list)
    normal: list[float] = field(default_factory=list)


@contextlib.contextmanager
def wire(port: int, rate: float) -> Iterator[Wire]:
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.relay", str(port), str(rate)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=PROJECT,
    )
    try:
        assert process.stdout
        yield Wire(process, int(process.stdout.readline()))
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def cache(folder: Path, relay: Wire, workers: int) -> Iterator[Running]:
    flags = ("--workers", str(workers), "--mirror", f"{_NAME}=http://127.0.0.1:{relay.port}")
    kind = Kind("cache", "ours", (sys.executable,), (), ours(*flags))
    with started(Found(kind, sys.executable, __version__), folder, fresh=True) as server:
        yield server


def pull(server: Running, base: str, payload: Payload, gate: threading.Barrier | None = None) -> Pull:
    """A manifest by its tag, then its layer."""
    done, hasher = Pull(), hashlib.sha256()

    def see(piece: memoryview) -> None:
        if piece.nbytes and not done.first:
            done.first = time.monotonic()
        if gate is None:
            hasher.update(piece)

    with Puller(server) as puller:
        begun = time.monotonic()
        puller.get(f"{base}/manifests/v0")
        if gate:
            gate.wait(60)
        size = puller.get(f"{base}/blobs/{payload.digest}", see=see)
        done.seconds = time.monotonic() - begun
    # A crowd's bytes are not hashed: that would be all that two cores do.
    done.right = size == payload.size and (
        gate is not None or f"sha256:{hasher.hexdigest()}" == payload.digest
    )
    return done


def meet(folder: Path, relay: Wire, payload: Payload, options: argparse.Namespace, results: Results) -> None:
    """All clients at once, on a cache that has nothing."""
    with cache(folder / "crowd", relay, options.workers) as server:
        relay.heard()
        gate = threading.Barrier(options.clients)
        with ThreadPoolExecutor(options.clients) as pool:
            begun = time.monotonic()
            pulls = list(pool.map(lambda _: pull(server, _CACHED, payload, gate), range(options.clients)))
            results.crowd = time.monotonic() - begun
        if not pull(server, _CACHED, payload).right:
            raise Failed("the cache kept other bytes")
    heard = relay.heard()
    blobs = [each for each in heard if "/blobs/" in str(each["target"])]
    results.asked = len([each for each in heard if "/manifests/" in str(each["target"])])
    results.requests, results.fetched = len(blobs), sum(int(each["count"]) for each in blobs)
    first = min(float(each["first"]) for each in blobs)
    results.firsts = sorted(each.first - first for each in pulls)


def compare(folder: Path, upstream: Running, relay: Wire, payload: Payload, results: Results) -> None:
    """One client: from the upstream over the wire, cold through the cache, warm, and from a registry."""
    slow = Running(upstream.found, upstream.pid, relay.port, upstream.folder, 0)
    results.direct.append(_seconds(slow, _PLAIN, payload))
    with cache(folder / "cold", relay, 1) as server:
        results.cold.append(_seconds(server, _CACHED, payload))
        results.warm.append(_seconds(server, _CACHED, payload))
    results.normal.append(_seconds(upstream, _PLAIN, payload))


def _seconds(server: Running, base: str, payload: Payload) -> float:
    done = pull(server, base, payload)
    if not done.right:
        raise Failed("wrong bytes")
    return done.seconds


def rows(results: Results, payload: Payload, options: argparse.Namespace) -> Sequence[Sequence[str]]:
    direct, cold, warm, normal = (
        statistics.median(each) for each in (results.direct, results.cold, results.warm, results.normal)
    )
    over = results.fetched - payload.size
    who = f"{options.clients} clients, {options.workers} workers"
    return [
        ["", "", "must show"],
        [f"{who}: blob requests upstream", str(results.requests), "1"],
        ["manifest requests upstream", str(results.asked), "1"],
        ["bytes from the upstream beyond the blob's", str(over), "a head's"],
        ["first byte after the upstream's, the last client", f"{results.firsts[-1] * 1e3:.0f} ms", "200 ms"],
        ["all clients done", f"{results.crowd:.1f} s", ""],
        ["one client, from the upstream", f"{direct:.2f} s", ""],
        ["cold, through the cache", f"{cold:.2f} s ({cold / direct:.2f})", f"{_COLD}"],
        ["warm", f"{warm:.2f} s ({warm / normal:.2f} of a pull from a registry)", f"{_WARM}"],
    ]


def main() -> int:
    options = _options()
    options.json.parent.mkdir(parents=True, exist_ok=True)
    results = Results()
    plain = Kind("upstream", "ours", (sys.executable,), (), ours())
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.json.parent) as scratch:
        folder = Path(scratch)
        payload = make_payloads(folder, options.mib * 2**20)[0]
        with started(Found(plain, sys.executable, __version__), folder / "upstream") as upstream:
            push(upstream, REPOSITORY, payload)
            push_reference(upstream, REPOSITORY, "v0", payload)
            with wire(upstream.port, options.rate * 1e6) as relay:
                meet(folder, relay, payload, options, results)
                for _ in range(options.rounds):
                    compare(folder, upstream, relay, payload, results)
    found = {slot: getattr(results, slot) for slot in Results.__slots__}
    options.json.write_text(json.dumps({"machine": machine(), "results": found}))
    print("\n".join(aligned(rows(results, payload, options))))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.through", description=__doc__)
    parser.add_argument("--mib", type=int, default=256)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--rate", type=float, default=50, help="MB a second over the wire; 0: all it can")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, default=PROJECT / "results" / "through.json", metavar="FILE")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
