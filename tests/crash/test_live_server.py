"""`kill -9` of the real server at random moments, while clients push, move tags and delete."""

import asyncio
import http.client
import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from registry.fsck import read
from storage.check import check
from storage.store import open_store
from tests.crash import tiers
from tests.crash.evidence import look
from tests.crash.ledger import Client, Ledger, losses
from tests.e2e.serving import STOP_SECONDS, await_host

pytestmark = pytest.mark.crash

HERE = Path(__file__).parents[2]
CLIENTS = 4
CYCLES = tiers.pick(ci=30, soak=1000)  # for each number of workers
LANES = tiers.pick(ci=3, soak=4)  # roots at once: while one server starts, the others' clients push
GRACE = 2  # seconds, on one of the roots: garbage is collected while its servers are killed
SLOW = 10.0  # seconds that a slow machine is given more, until there is enough to lose
ACKED = tiers.pick(ci=1_000, soak=10_000)  # writes at least


@contextmanager
def server(root: Path, workers: int, *more: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """In a process group of its own, so that `kill -9` takes the workers and their supervisor at once."""
    log = root.with_suffix(".log")
    flags = ["--root", str(root), "--port", "0", "--workers", str(workers), "--no-access-log", *more]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "registry", "serve", *flags],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=HERE,
            start_new_session=True,
        )
    try:
        yield process, await_host(process, log)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@dataclass(slots=True)
class Lane:
    """One root, its clients, and what was found in its cycles; `more` are flags of its servers."""

    root: Path
    more: tuple[str, ...] = ()
    ledger: Ledger = field(default_factory=Ledger)
    lost: list[str] = field(default_factory=list)

    def run(self, workers: int, cycles: int, seed: str) -> None:
        moments = random.Random(seed)
        clients = [
            Client("", number, self.ledger, random.Random(f"{seed}/{number}")) for number in range(CLIENTS)
        ]
        for number in range(cycles):
            with server(self.root, workers, *self.more) as (process, host):
                self.lost += losses(host, self.ledger)
                seconds, enough = moments.uniform(0.2, 0.8), (ACKED // CYCLES + 1) * (number + 1)
                push_and_kill(process, host, clients, seconds, enough)
        with server(self.root, workers, *self.more) as (process, host):
            self.lost += losses(host, self.ledger, everything=True)
            process.terminate()
            assert process.wait(STOP_SECONDS) == 0


@pytest.mark.timeout(tiers.pick(ci=120, soak=3600))
@pytest.mark.parametrize("workers", [1, 3])
def test_nothing_acknowledged_is_lost(tmp_path: Path, say: Callable[[str], None], workers: int) -> None:
    seed = tiers.seed()
    print(f"CRASH_SEED={seed}")
    lanes = [Lane(tmp_path / f"root{number}") for number in range(LANES - 1)]
    lanes.append(Lane(tmp_path / "collected", ("--gc-grace", str(GRACE)), Ledger(grace=GRACE)))
    with ThreadPoolExecutor(LANES) as pool:
        runs = [
            pool.submit(partial(lane.run, workers, CYCLES // LANES, f"{seed}/{number}"))
            for number, lane in enumerate(lanes)
        ]
        for run in runs:
            run.result()
    acked = sum((lane.ledger.acked for lane in lanes), Counter[str]())
    lost, refused = (
        [it for lane in lanes for it in lane.lost],
        [it for lane in lanes for it in lane.ledger.refused],
    )
    late = sum(lane.ledger.late for lane in lanes)
    verbs = ", ".join(f"{count} {verb}s" for verb, count in sorted(acked.items()))
    say(
        f"F1b, kill -9 of a server with {workers} workers, CRASH_SEED={seed}: {CYCLES} cycles,"
        f" {acked.total()} writes acknowledged ({verbs}),"
        f" {sum(len(lane.ledger.legal) for lane in lanes)} names read; lost or wrong: {len(lost)},"
        f" refused: {len(refused)}, and {late} rightly, as they came late"
    )
    assert not lost, "\n".join(lost[:20])
    assert not refused, "\n".join(refused[:20])
    assert acked.total() >= max(ACKED, 100 * late)
    for lane in lanes:
        assert not look(str(lane.root)).problems
        assert not fsck(lane.root)


def test_ledger_notices(tmp_path: Path) -> None:
    """What happens behind the ledger's back is a loss: else the test above could not fail."""
    ledger = Ledger()
    with server(tmp_path / "root", workers=1) as (_, host):
        with closing(http.client.HTTPConnection(host)) as connection:
            Client(host, 0, ledger, random.Random(0)).push_image(connection)
            assert not losses(host, ledger)
            tag = next(path for path in ledger.legal if "moving" in path)
            connection.request("DELETE", tag)
            assert connection.getresponse().status == 202
        (loss,) = losses(host, ledger, everything=True)
    assert loss.startswith(f"{tag} is absent, not sha256:")


def push_and_kill(
    process: subprocess.Popen[bytes], host: str, clients: list[Client], seconds: float, enough: int
) -> None:
    """After so many seconds, and `enough` acknowledged by then over all cycles."""
    for client in clients:
        client.host = host
    threads = [threading.Thread(target=client.push_until_cut) for client in clients]
    for thread in threads:
        thread.start()
    threads[0].join(seconds)
    clients[0].ledger.await_acked(enough, threads, SLOW)
    assert process.poll() is None, "the server ended by itself"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for thread in threads:
        thread.join()


def fsck(root: Path) -> list[str]:
    store = open_store(str(root))
    try:
        report = asyncio.run(check(store, read=read))
    finally:
        store.close()
    return [f"{finding.kind} {finding.subject}: {finding.message}" for finding in report.findings]
