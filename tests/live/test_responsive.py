"""Slow work is done in threads: whoever asks for something small gets it at once (T24)."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from storage.digest import Digest
from tests.builders import blob
from tests.live.measuring import expect_ok, latencies, ninety_ninth
from tests.live.servers import PROJECT, Live, running
from tests.live.slow_disk import SECONDS, SIZE
from tests.live.stories import push_blob, push_image, together
from tests.live.wire import Answer

LATENCY = 0.1  # seconds, for 99 of 100 answers
TIMES = 3  # as long as where this server has nothing else to do, if the machine is so busy
UPLOAD_MIB = 1024
ASKED = 20

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc names the slow files")


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    with running(tmp_path / "root", "--no-access-log", module="tests.live.slow_disk") as server:
        yield server


def test_a_large_upload_holds_nobody_up(live: Live, tmp_path: Path) -> None:
    """Nobody waits for longer than while another server, on the same machine, takes it."""
    with running(tmp_path / "other", "--no-access-log", name="other") as other:
        beside = while_it_takes(other, live)
    found = while_it_takes(live, live)
    assert ninety_ninth(found) <= max(LATENCY, TIMES * ninety_ninth(beside)), sorted(found)[-10:]


def while_it_takes(target: Live, asked: Live) -> list[float]:
    """How long it takes `asked` to answer, while `target` takes a large upload."""
    client = subprocess.Popen(
        [sys.executable, "-m", "bench.stream", "push", target.host, "large", "1", str(UPLOAD_MIB)],
        cwd=PROJECT,
        stdout=subprocess.DEVNULL,
    )
    found = latencies(expect_ok("GET", "/v2/"), asked.host, lambda: client.poll() is None)
    assert client.wait() == 0
    assert len(found) >= 100
    return found


SMALL = {
    "version": ("GET", "/v2/"),
    "tags": ("GET", "/v2/read/tags/list"),
    "manifest head": ("HEAD", "/v2/read/manifests/latest"),
    "manifest": ("GET", "/v2/read/manifests/latest"),
    "blob": ("GET", f"/v2/read/blobs/{Digest.of(blob(5_000, 1))}"),
}


# More pushes than threads make the rest of them wait, but nobody else.
@pytest.mark.parametrize("pushes", [8, 24])
def test_a_slow_fsync_holds_nobody_up(live: Live, pushes: int) -> None:
    """While pushes wait for the disk, reads of every kind go on."""
    push_image(live.host, "read", "latest", blob(5_000, 1))
    idle = {name: slowest(live, small) for name, small in SMALL.items()}
    tasks: list[Callable[[], Answer]] = [
        partial(push_blob, live.host, "slow", blob(SIZE, seed)) for seed in range(pushes)
    ]
    with ThreadPoolExecutor(1) as background:
        pushing = background.submit(lambda: together(tasks))
        time.sleep(0.5)
        found = {name: slowest(live, small) for name, small in SMALL.items()}
        assert not pushing.done(), "the pushes must be waiting still"
        assert [answer.status for answer in pushing.result()] == [201] * pushes
    assert max(found.values()) <= max(LATENCY, TIMES * max(idle.values())), (found, idle)
    assert max(found.values()) < SECONDS / 2, found


def slowest(live: Live, small: tuple[str, str]) -> float:
    left = iter(range(ASKED))
    return ninety_ninth(latencies(expect_ok(*small), live.host, lambda: next(left, None) is not None))
