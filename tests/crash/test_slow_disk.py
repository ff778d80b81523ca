"""F6: a real server whose every fsync and fdatasync takes two seconds longer, while clients push."""

import random
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from storage.digest import Digest
from tests.builders import blob
from tests.crash import tiers
from tests.live.measuring import expect_ok, latencies, ninety_ninth
from tests.live.servers import Live, running
from tests.live.stories import pull_blob, push_blob, push_image, together
from tests.live.tracing import slow_syncs

pytestmark = pytest.mark.crash

DELAY = 2.0  # seconds of each sync
LATENCY = 0.1  # seconds, for 99 of 100 answers
PUSHERS = 8
ROUNDS = tiers.pick(ci=1, soak=5)
SECONDS = tiers.pick(ci=3, soak=30)  # in which clients begin pushes

SMALL = {
    "version": ("GET", "/v2/"),
    "tags": ("GET", "/v2/read/tags/list"),
    "manifest": ("GET", "/v2/read/manifests/latest"),
    "blob": ("GET", f"/v2/read/blobs/{Digest.of(blob(5_000, 1))}"),
}


@pytest.mark.timeout(tiers.pick(ci=120, soak=900))
def test_reads_do_not_wait_for_the_disk(tmp_path: Path, say: Callable[[str], None]) -> None:
    root, log = tmp_path / "root", tmp_path / "syncs"
    with running(root) as live:  # a first start syncs hundreds of folders
        push_image(live.host, "read", "latest", blob(5_000, 1))
    for number in range(ROUNDS):
        with running(root, "--no-access-log", wrapper=slow_syncs(DELAY, log)) as live:
            pushed, found = push_and_measure(live, number)
            for data in pushed:
                assert pull_blob(live.host, "slow", data) == data
        delayed = log.read_text().count("(DELAYED)")
        figures = ", ".join(f"{name} {1000 * ninety_ninth(times):.1f}" for name, times in found.items())
        say(
            f"F6, fsync and fdatasync {DELAY:.0f} s late: {len(pushed)} pushes, {delayed} syncs delayed,"
            f" {sum(map(len, found.values()))} small requests; 99 of 100 within ms: {figures}"
        )
        assert max(map(ninety_ninth, found.values())) <= LATENCY, found
        assert delayed > len(pushed) > 0


def push_and_measure(live: Live, number: int) -> tuple[list[bytes], dict[str, list[float]]]:
    """What clients have pushed in a while, and how long small requests of each kind took meanwhile."""
    until = time.monotonic() + SECONDS
    pushed: list[bytes] = []

    def push(pusher: int) -> None:
        dice = random.Random(f"{number}/{pusher}")
        while time.monotonic() < until:
            data = dice.randbytes(50_000)
            began = time.monotonic()
            assert push_blob(live.host, "slow", data).status == 201
            assert time.monotonic() - began >= 2 * DELAY, "a push that waited for no disk"
            pushed.append(data)

    def measure(small: tuple[str, str]) -> list[float]:
        return latencies(expect_ok(*small), live.host, lambda: any(pusher.is_alive() for pusher in pushers))

    pushers = [threading.Thread(target=push, args=(pusher,)) for pusher in range(PUSHERS)]
    for pusher in pushers:
        pusher.start()
    found = together([partial(measure, small) for small in SMALL.values()])
    assert len(pushed) >= PUSHERS
    return pushed, dict(zip(SMALL, found, strict=True))
