"""Garbage collected in a loop by a real server, beside clients that lean on what it says (F9)."""

import os
import random
import re
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.crash.beside import Pusher
from tests.crash.test_live_server import fsck
from tests.crash.tiers import pick
from tests.e2e.serving import serve

pytestmark = [pytest.mark.crash, pytest.mark.timeout(pick(120, 1800))]

CLIENTS = 4
GRACE = 1  # seconds; what a client is told stays true for so long
SECONDS = pick(12, 450)
_SWEPT = re.compile(r"garbage collection: (\d+) manifests and (\d+) blobs")


@pytest.mark.parametrize("workers", [1, 3])
def test_nothing_that_a_client_leans_on_is_collected(
    tmp_path: Path, say: Callable[[str], None], workers: int
) -> None:
    seed = int(os.environ.get("CRASH_SEED") or random.SystemRandom().getrandbits(32))
    print(f"CRASH_SEED={seed}")
    flags = ["--workers", str(workers), "--no-access-log", "--gc-grace", str(GRACE)]
    with serve(tmp_path, *flags) as server, ThreadPoolExecutor(CLIENTS) as pool:
        clients = [Pusher(server.host, number, seed, patience=0.8 * GRACE) for number in range(CLIENTS)]
        for done in [pool.submit(client.work, SECONDS) for client in clients]:
            done.result()
    events = sum((client.tally.events for client in clients), Counter[str]())
    wrong = [message for client in clients for message in client.tally.wrong]
    swept = sum(int(blobs) for _, blobs in _SWEPT.findall(server.log.read_text()))
    say(
        f"garbage collected beside {CLIENTS} clients, {workers} workers, CRASH_SEED={seed}: "
        f"{events.total()} events ({', '.join(f'{n} × {event}' for event, n in sorted(events.items()))}), "
        f"{swept} blobs swept; unpullable or falsely refused: {len(wrong)}"
    )
    assert not wrong, "\n".join(wrong[:20])
    assert swept >= pick(100, 2000)
    assert events.total() >= pick(300, 10_000)
    assert not fsck(server.root)
