"""Large blobs: pushes with and without chunks; pulls by one stream, by ranges, by eight streams, by TLS."""

import hashlib
import os
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.accounting import Figures, Meter
from bench.kinds import Found
from bench.payloads import Payload
from bench.pulling import Puller
from bench.pushing import push, push_reference
from bench.scenario import PEERS, REPOSITORY, Material, Rows, Scenario, prepared
from bench.servers import Failed, Running, started
from bench.tls import make_certificate, pull_undecrypted

_STREAMS = 8
_PIECE = 4 * 2**20  # bytes of a range


def measure_push(found: Found, folder: Path, material: Material) -> Rows:
    if found.kind.family == "floor":
        return {"push": floor(folder, material.large)}
    return {"push": _push(found, folder, material.large, chunked=False)}


def measure_chunked_push(found: Found, folder: Path, material: Material) -> Rows:
    if found.kind.family == "floor":
        return {"push, chunked": floor(folder, material.large)}
    return {"push, chunked": _push(found, folder, material.large, chunked=True)}


def _push(found: Found, folder: Path, payload: Payload, *, chunked: bool) -> Figures:
    """A root of its own for each push: nothing of it is there yet, and no dirty page of another's."""
    with started(found, folder, fresh=True) as server:
        os.sync()
        with Meter(server.pid) as meter:
            push(server, REPOSITORY, payload, chunked=chunked)
        _check(server, payload)
    return meter.figures


def floor(folder: Path, payload: Payload) -> Figures:
    """What hashing and copying cost alone, by the common programs for it. One after the other."""
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / "copy"
    os.sync()
    begun = time.perf_counter()
    seconds = _run(["openssl", "dgst", "-sha256", str(payload.path)]) + _run(
        ["cp", str(payload.path), str(copy)]
    )
    wall = time.perf_counter() - begun
    copy.unlink()
    return {"wall": wall, "cpu": seconds}


def _run(command: list[str]) -> float:
    """The program's user and system seconds."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise Failed(f"{command} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def measure_pulls(found: Found, folder: Path, material: Material) -> Rows:
    payload = material.large
    with started(found, folder) as server:
        prepared(server, "pull", lambda: _provide(server, payload))
        _check(server, payload)  # also brings the file into the page cache
        with Meter(server.pid) as one:
            _pull(server, payload)
        with Meter(server.pid) as ranges:
            _pull_ranges(server, payload)
        eight = _pull_at_once(_pull, server, payload)
    return {"pull": one.figures, "pull, 4 MiB ranges": ranges.figures, "pull, 8 streams": eight}


def measure_tls_pulls(found: Found, folder: Path, material: Material) -> Rows:
    payload = material.large
    with started(found, folder) as server:
        prepared(server, "pull", lambda: _provide(server, payload))
    with started(found, folder, tls=make_certificate(folder)) as server:
        _check(server, payload)
        return {"pull, 8 streams, TLS": _pull_at_once(_pull_undecrypted, server, payload)}


def _pull_at_once(pull: Callable[[Running, Payload], None], server: Running, payload: Payload) -> Figures:
    with Meter(server.pid) as meter, ThreadPoolExecutor(_STREAMS) as pool:
        for done in [pool.submit(pull, server, payload) for _ in range(_STREAMS)]:
            done.result()
    return meter.figures


def _provide(server: Running, payload: Payload) -> None:
    if server.found.kind.family == "nginx":
        os.link(payload.path, server.folder / "root" / "blob")
    else:
        push(server, REPOSITORY, payload)
        push_reference(server, REPOSITORY, "large", payload)


def _target(server: Running, payload: Payload) -> str:
    if server.found.kind.family == "nginx":
        return "/blob"
    return f"/v2/{REPOSITORY}/blobs/{payload.digest}"


def _check(server: Running, payload: Payload) -> None:
    """What is served is what was pushed."""
    hasher = hashlib.sha256()
    with Puller(server) as puller:
        puller.get(_target(server, payload), see=hasher.update)
    if f"sha256:{hasher.hexdigest()}" != payload.digest:
        raise Failed(f"{server.found.kind.name} served other bytes than were pushed")


def _pull(server: Running, payload: Payload) -> None:
    with Puller(server) as puller:
        length = puller.get(_target(server, payload))
    _require_size(server, payload, length)


def _pull_undecrypted(server: Running, payload: Payload) -> None:
    _require_size(server, payload, pull_undecrypted(server, _target(server, payload)))


def _require_size(server: Running, payload: Payload, length: int) -> None:
    if length != payload.size:
        raise Failed(f"{server.found.kind.name} served another length than was pushed")


def _pull_ranges(server: Running, payload: Payload) -> None:
    """The whole blob, one range after the other on one connection."""
    with Puller(server) as puller:
        for start in range(0, payload.size, _PIECE):
            end = min(start + _PIECE, payload.size)
            if puller.get(_target(server, payload), span=(start, end - 1)) != end - start:
                raise Failed(f"{server.found.kind.name} served another range than was asked for")


SCENARIOS = (
    Scenario("push", ("ours", "ours nosync", "floor", *PEERS), measure_push),
    Scenario("push-chunked", ("ours", "ours nosync", "floor", *PEERS), measure_chunked_push),
    Scenario("pull", ("ours", "ours 2w", "nginx", *PEERS), measure_pulls),
    Scenario("pull-tls", ("ours 2w", "nginx", *PEERS), measure_tls_pulls),
)
