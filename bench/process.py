"""What a server costs before and beside its work: start-up time and memory."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.accounting import forget_peak, peak, resident
from bench.kinds import Found
from bench.payloads import Payload
from bench.pulling import Puller
from bench.pushing import push
from bench.scenario import PEERS, REPOSITORY, Material, Rows, Scenario
from bench.servers import Running, started

_IDLE = 1.0  # seconds after the first answer


def measure_start(found: Found, folder: Path, _: Material) -> Rows:
    """Process start to the first 200: on a new root, and on one that is there already."""
    with started(found, folder / "new", fresh=True) as server:
        new = server.start
    with started(found, folder / "old"):
        pass
    with started(found, folder / "old") as server:
        old = server.start
    return {"start": {"wall": old}, "start, new root": {"wall": new}}


def measure_memory(found: Found, folder: Path, material: Material) -> Rows:
    """Resident memory of all the server's processes: idle, and the peak with eight transfers at once."""
    with started(found, folder, fresh=True) as server:
        time.sleep(_IDLE)
        idle = resident(server.pid)
        forget_peak(server.pid)
        _at_once(server, material.several, _push)
        pushed = peak(server.pid)
        forget_peak(server.pid)
        _at_once(server, material.several, _pull)
        pulled = peak(server.pid)
    return {
        "memory, idle": {"memory": idle},
        "memory, 8 pushes": {"memory": pushed},
        "memory, 8 pulls": {"memory": pulled},
    }


def _at_once(
    server: Running, payloads: Sequence[Payload], transfer: Callable[[Running, Payload], None]
) -> None:
    with ThreadPoolExecutor(len(payloads)) as pool:
        for done in [pool.submit(transfer, server, payload) for payload in payloads]:
            done.result()


def _push(server: Running, payload: Payload) -> None:
    push(server, REPOSITORY, payload, chunked=True)


def _pull(server: Running, payload: Payload) -> None:
    with Puller(server) as puller:
        puller.get(f"/v2/{REPOSITORY}/blobs/{payload.digest}")


SCENARIOS = (
    Scenario("start", ("ours", "ours 2w", *PEERS), measure_start),
    Scenario("memory", ("ours", "ours 2w", *PEERS), measure_memory),
)
