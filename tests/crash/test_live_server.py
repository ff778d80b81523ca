"""`kill -9` of the real server at random moments, while clients push, move tags and delete."""

import asyncio
import http.client
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from registry.fsck import read
from storage.check import check
from storage.store import open_store
from tests.crash.evidence import look
from tests.crash.ledger import Client, Ledger, losses
from tests.e2e.serving import STOP_SECONDS, await_host

pytestmark = pytest.mark.crash

HERE = Path(__file__).parents[2]
CLIENTS = 4
CYCLES = 6  # for each number of workers


@contextmanager
def server(root: Path, workers: int) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """In a process group of its own, so that `kill -9` takes the workers and their supervisor at once."""
    log = root.with_suffix(".log")
    flags = ["--root", str(root), "--port", "0", "--workers", str(workers), "--no-access-log"]
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


@pytest.mark.parametrize("workers", [1, 2])
def test_nothing_acknowledged_is_lost(tmp_path: Path, say: Callable[[str], None], workers: int) -> None:
    seed = int(os.environ.get("CRASH_SEED") or random.SystemRandom().getrandbits(32))
    print(f"CRASH_SEED={seed}")
    moments, ledger, root = random.Random(seed), Ledger(), tmp_path / "root"
    clients = [Client("", number, ledger, random.Random(f"{seed}/{number}")) for number in range(CLIENTS)]
    lost: list[str] = []
    for _ in range(CYCLES):
        with server(root, workers) as (process, host):
            lost += losses(host, ledger)
            push_and_kill(process, host, clients, moments.uniform(0.2, 0.8))
    with server(root, workers) as (process, host):
        lost += losses(host, ledger, everything=True)
        process.terminate()
        assert process.wait(STOP_SECONDS) == 0
    acked = sum(ledger.acked.values())
    say(
        f"kill -9 of a server with {workers} workers, CRASH_SEED={seed}: {CYCLES} cycles, {acked} writes"
        f" acknowledged ({', '.join(f'{n} {verb}s' for verb, n in sorted(ledger.acked.items()))}),"
        f" {len(ledger.legal)} names read; lost or wrong: {len(lost)}, refused: {len(ledger.refused)}"
    )
    assert not lost, "\n".join(lost[:20])
    assert not ledger.refused, "\n".join(ledger.refused[:20])
    assert acked >= 100
    assert not look(str(root)).problems
    assert not fsck(root)


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


def push_and_kill(process: subprocess.Popen[bytes], host: str, clients: list[Client], seconds: float) -> None:
    for client in clients:
        client.host = host
    threads = [threading.Thread(target=client.push_until_cut) for client in clients]
    for thread in threads:
        thread.start()
    threads[0].join(seconds)
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
