"""Several processes want one blob of an upstream: it is asked for every byte once, whoever of them dies."""

import contextlib
import http.server
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from storage.digest import Digest
from storage.store import open_store
from tests.builders import blob
from tests.live.fetching import REPOSITORY
from tests.live.servers import PROJECT

CONTENT = blob(24 * 2**20)
DIGEST = Digest.of(CONTENT)
PIECE = 64 * 2**10
SECONDS = 60


@dataclass
class Upstream:
    """It sends the blob's pieces at a pace. `asked` has the offsets of all requests."""

    pause: float
    asked: list[int] = field(default_factory=list)
    sent: int = 0
    url: str = ""


@contextlib.contextmanager
def upstream(pause: float = 0.0) -> Iterator[Upstream]:
    told = Upstream(pause)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            offset = int(found[1]) if found else 0
            told.asked.append(offset)
            self.send_response(206 if found else 200)
            if found:
                self.send_header("Content-Range", f"bytes {offset}-{len(CONTENT) - 1}/{len(CONTENT)}")
            self.send_header("Content-Length", str(len(CONTENT) - offset))
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                for start in range(offset, len(CONTENT), PIECE):
                    told.sent += self.wfile.write(CONTENT[start : start + PIECE])
                    time.sleep(told.pause)

        def log_message(self, *args: object) -> None:
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        told.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield told
        finally:
            server.shutdown()
            thread.join()


Worker = subprocess.Popen[str]


@contextlib.contextmanager
def workers(root: Path, told: Upstream, count: int, *, clients: int) -> Iterator[list[Worker]]:
    """Processes that wait for the word to begin."""
    command = [sys.executable, "-m", "tests.live.fetching", str(root), told.url, str(DIGEST)]
    started = [
        subprocess.Popen(
            [*command, "--clients", str(clients)],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(count)
    ]
    try:
        for worker in started:
            expect(worker, "ready")
        yield started
    finally:
        for worker in started:
            worker.kill()
            worker.communicate()


def expect(worker: Worker, word: str) -> None:
    assert worker.stdout
    assert worker.stdout.readline() == f"{word}\n"


def begin(worker: Worker) -> None:
    assert worker.stdin
    worker.stdin.write("\n")
    worker.stdin.flush()


def ends(worker: Worker) -> list[list[str]]:
    """What each client had: how much, the digest, and the seconds until its first byte."""
    said, _ = worker.communicate(timeout=SECONDS)
    assert worker.returncode == 0
    return [line.split() for line in said.splitlines() if line != "begun"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    open_store(str(tmp_path / "root"), durable=False).close()
    return tmp_path / "root"


async def require_landed(root: Path) -> None:
    store = open_store(str(root), durable=False)
    try:
        assert (await store.names.links.find(REPOSITORY, DIGEST)).size == len(CONTENT)
        assert await store.blobs.read(DIGEST) == CONTENT
        assert os.listdir(store.layout.fetches) == []
    finally:
        store.close()


async def test_every_byte_is_asked_for_once(root: Path) -> None:
    with upstream(pause=0.001) as told, workers(root, told, 3, clients=8) as started:
        for worker in started:
            begin(worker)
        had = [client for worker in started for client in ends(worker)]
    assert [client[:2] for client in had] == [[str(len(CONTENT)), DIGEST.encoded]] * 24
    assert (told.asked, told.sent) == ([0], len(CONTENT))
    await require_landed(root)


async def test_who_fetches_is_killed_and_another_goes_on(root: Path) -> None:
    with upstream(pause=0.005) as told, workers(root, told, 3, clients=4) as (first, *others):
        begin(first)
        expect(first, "begun")
        for worker in others:
            begin(worker)
        for worker in others:
            expect(worker, "begun")
        time.sleep(0.2)
        first.kill()
        (path,) = (path for path in (root / "fetches").iterdir() if not path.suffix)
        written = path.stat().st_size
        had = [client for worker in others for client in ends(worker)]
    assert [client[:2] for client in had] == [[str(len(CONTENT)), DIGEST.encoded]] * 8
    assert len(told.asked) == 2
    assert told.asked[0] == 0
    assert 0 < written <= told.asked[1] < len(CONTENT), "what was written is not asked for again"
    await require_landed(root)


async def test_all_are_killed_and_the_next_start_goes_on(root: Path) -> None:
    with upstream(pause=0.005) as told:
        with workers(root, told, 2, clients=1) as started:
            for worker in started:
                begin(worker)
            for worker in started:
                expect(worker, "begun")
            time.sleep(0.2)
        with workers(root, told, 1, clients=2) as (last,):
            begin(last)
            assert [client[:2] for client in ends(last)] == [[str(len(CONTENT)), DIGEST.encoded]] * 2
    assert len(told.asked) == 2
    assert 0 == told.asked[0] < told.asked[1] < len(CONTENT)
    await require_landed(root)
