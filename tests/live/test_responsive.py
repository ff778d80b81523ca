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
from tests.live.slow_disk import SIZE
from tests.live.stories import push_blob, push_image, together
from tests.live.wire import Answer

LATENCY = 0.1  # seconds, for 99 of 100 answers
UPLOAD_MIB = 1024

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc names the slow files")


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    with running(tmp_path / "root", "--no-access-log", module="tests.live.slow_disk") as server:
        yield server


def test_a_large_upload_holds_nobody_up(live: Live) -> None:
    client = subprocess.Popen(
        [sys.executable, "-m", "bench.stream", "push", live.host, "large", "1", str(UPLOAD_MIB)],
        cwd=PROJECT,
        stdout=subprocess.DEVNULL,
    )
    found = latencies(expect_ok("GET", "/v2/"), live.host, lambda: client.poll() is None)
    assert client.wait() == 0
    assert len(found) >= 100
    assert ninety_ninth(found) <= LATENCY, sorted(found)[-10:]


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
    tasks: list[Callable[[], Answer]] = [
        partial(push_blob, live.host, "slow", blob(SIZE, seed)) for seed in range(pushes)
    ]
    with ThreadPoolExecutor(1) as background:
        pushing = background.submit(lambda: together(tasks))
        time.sleep(0.5)
        began = time.monotonic()
        found = {
            name: slowest(live, small, began + 0.2 * n) for n, (name, small) in enumerate(SMALL.items(), 1)
        }
        assert not pushing.done(), "the pushes must be waiting still"
        assert [answer.status for answer in pushing.result()] == [201] * pushes
    assert max(found.values()) <= LATENCY, found


def slowest(live: Live, small: tuple[str, str], until: float) -> float:
    times = latencies(expect_ok(*small), live.host, lambda: time.monotonic() < until)
    assert len(times) >= 5
    return ninety_ninth(times)
