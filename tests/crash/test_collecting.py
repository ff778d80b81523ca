"""Garbage collected in a loop by a real server, beside clients that lean on what it says (F9)."""

import http.client
import json
import re
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from storage.digest import Digest
from tests.builders import OCI_CONFIG, OCI_IMAGE, blob, descriptor, image
from tests.crash import tiers
from tests.crash.beside import LATE, TIMEOUT, Pusher
from tests.crash.test_live_server import fsck
from tests.crash.tiers import pick, seed
from tests.e2e.serving import Server, serve

pytestmark = [pytest.mark.crash, pytest.mark.timeout(pick(120, 1800))]

CLIENTS = 4
IMAGES = 40
GRACE = 1  # seconds; what a client is told stays true for so long
SECONDS = tiers.pick(ci=12, soak=150)
EVENTS = tiers.pick(ci=300, soak=10_000)  # at least, for each number of workers
SWEPT = tiers.pick(ci=20, soak=1_000)  # manifests, and blobs, at least
_SWEPT = re.compile(r"garbage collection: (\d+) manifests and (\d+) blobs")


@pytest.mark.parametrize("workers", [1, 3])
def test_nothing_that_a_client_leans_on_is_collected(
    tmp_path: Path, say: Callable[[str], None], workers: int
) -> None:
    number = seed()
    print(f"CRASH_SEED={number}")
    flags = ["--workers", str(workers), "--no-access-log", "--gc-grace", str(GRACE), "--untagged", "1"]
    with serve(tmp_path, *flags) as server, ThreadPoolExecutor(CLIENTS) as pool:
        clients = [
            Pusher(server.host, place, number, patience=0.8 * GRACE, promise=GRACE)
            for place in range(CLIENTS)
        ]

        def enough() -> bool:
            return min(swept(server)) >= SWEPT and sum(told(client) for client in clients) >= EVENTS

        for done in [pool.submit(client.work, SECONDS, enough) for client in clients]:
            done.result()
    events = sum((client.tally.events for client in clients), Counter[str]())
    wrong = [message for client in clients for message in client.tally.wrong]
    manifests, blobs = swept(server)
    say(
        f"garbage collected beside {CLIENTS} clients, {workers} workers, CRASH_SEED={number}: "
        f"{events.total()} events ({', '.join(f'{n} × {event}' for event, n in sorted(events.items()))}), "
        f"{manifests} manifests and {blobs} blobs swept; unpullable or falsely refused: {len(wrong)}"
    )
    assert not wrong, "\n".join(wrong[:20])
    assert min(blobs, manifests) >= SWEPT
    assert sum(told(client) for client in clients) >= max(EVENTS, 9 * events[LATE])
    assert not fsck(server.root)


@pytest.mark.parametrize(("promise", "wrong"), [(60.0, True), (0.0, False)], ids=["in time", "late"])
def test_a_refusal_within_the_promise_is_noticed(tmp_path: Path, promise: float, wrong: bool) -> None:
    with serve(tmp_path) as server:
        pusher = Pusher(server.host, 0, 0, patience=0, promise=promise)
        with closing(pusher):
            pusher.lean_on([b"{}", b"what the server has never had"])
    assert bool(pusher.tally.wrong) is wrong
    assert pusher.tally.events[LATE] == (not wrong)


def swept(server: Server) -> tuple[int, int]:
    """Manifests, and blobs."""
    passes = _SWEPT.findall(server.log.read_text())
    return sum(int(each[0]) for each in passes), sum(int(each[1]) for each in passes)


def told(client: Pusher) -> int:
    """The events that show something."""
    return client.tally.events.total() - client.tally.events[LATE]


def test_the_space_of_what_was_deleted_comes_back(tmp_path: Path, say: Callable[[str], None]) -> None:
    """Half of the images are deleted: two passes later the disk holds what is left and nothing else."""
    with serve(tmp_path, "--gc-grace", str(GRACE), "--no-access-log") as server:
        connection = http.client.HTTPConnection(server.host, timeout=TIMEOUT)
        pushed = [push_image(connection, f"{'gone' if n % 2 else 'kept'}{n % 5}", n) for n in range(IMAGES)]
        for name, digest, _ in pushed[1::2]:
            connection.request("DELETE", f"/v2/{name}/manifests/{digest}")
            reply = connection.getresponse()
            reply.read()
            assert reply.status == 202
        live = sum(size for *_, size in pushed[::2])
        deadline = time.monotonic() + 30
        while (stored := bytes_below(server.root / "blobs")) > live and time.monotonic() < deadline:
            time.sleep(0.1)
        connection.request("GET", "/v2/_catalog")
        catalog = json.load(connection.getresponse())["repositories"]
        connection.close()
    total = bytes_below(server.root) - (server.root / "ballast").stat().st_size
    say(f"{IMAGES} images, half of them deleted: {live} bytes live, {stored} stored, {total} with the index")
    assert stored == live
    assert catalog == [f"kept{n}" for n in range(5)]
    assert total < live * 1.1


def push_image(connection: http.client.HTTPConnection, name: str, number: int) -> tuple[str, str, int]:
    """(name, digest, bytes) of an image of one layer that no other has."""
    layer, config = blob(256 * 1024, 1000 + number), b'{"os":"linux","number":%d}' % number
    raw = image(descriptor(config, OCI_CONFIG), [descriptor(layer)])
    digest = str(Digest.of(raw))
    uploads = f"/v2/{name}/blobs/uploads/?digest="
    requests = [
        *(("POST", f"{uploads}{Digest.of(data)}", data, "") for data in (layer, config)),
        ("PUT", f"/v2/{name}/manifests/v{number}", raw, OCI_IMAGE),
    ]
    for method, path, data, kind in requests:
        connection.request(method, path, data, {"Content-Type": kind})
        reply = connection.getresponse()
        reply.read()
        assert reply.status == 201
    return name, digest, len(layer) + len(config) + len(raw)


def bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
