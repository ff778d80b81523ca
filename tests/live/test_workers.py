"""One, two and four workers, and two servers, on one root: nobody can tell the difference."""

import json
import select
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from storage.digest import Digest
from tests.builders import blob, descriptor, image
from tests.live.servers import PROJECT, Live, running
from tests.live.stories import (
    append,
    begin,
    finish,
    offset,
    pull_blob,
    push_blob,
    push_image,
    push_manifest,
    require_whole,
    together,
)
from tests.live.wire import once, wire

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Fleet:
    """Everything that serves one root."""

    servers: tuple[Live, ...]

    def host(self, number: int) -> str:
        """The servers in turn, so that two requests in a row go to different ones."""
        return self.servers[number % len(self.servers)].host

    @property
    def any(self) -> str:
        return self.host(0)

    @property
    def root(self) -> Path:
        return self.servers[0].root


# Servers on the root, and the workers of each.
FLEETS = {"1 worker": (1, 1), "2 workers": (1, 2), "4 workers": (1, 4), "2 servers": (2, 1)}


@pytest.fixture(scope="module", params=list(FLEETS.values()), ids=list(FLEETS))
def fleet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    servers, workers = request.param
    root = tmp_path_factory.mktemp("fleet") / "root"
    with ExitStack() as stack:
        started = [
            stack.enter_context(running(root, "--workers", str(workers), name=f"serve{number}"))
            for number in range(servers)
        ]
        fleet = Fleet(tuple(started))
        await_workers(fleet, workers)
        yield fleet
        assert all(not server_errors(live) for live in started)
        require_sound(root)
    require_sound(root)


def await_workers(fleet: Fleet, expected: int) -> None:
    """Until every worker has the index open, and a moment for its first accept."""
    deadline = time.monotonic() + 60
    for live in fleet.servers:
        while len(live.workers()) < expected and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(live.workers()) == expected
        for worker in live.workers():
            with live.only(worker):
                assert once(live.host, "GET", "/v2/").status == 200


def server_errors(live: Live) -> list[str]:
    """Access lines with a 5xx."""
    lines = [json.loads(line) for line in live.said().splitlines() if line.startswith("{")]
    return [json.dumps(line) for line in lines if line["status"] >= 500]


def require_sound(root: Path) -> None:
    """`registry fsck`, beside the servers too."""
    found = subprocess.run(
        [sys.executable, "-m", "registry", "fsck", "--root", str(root)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr


def test_a_story_whose_every_request_has_a_connection_of_its_own(fleet: Fleet) -> None:
    data = blob(5 * MIB // 2, 1)
    session = begin(fleet.host(0), "story")
    for number, start in enumerate(range(0, 2 * MIB, MIB // 2), 1):
        chunk = data[start : start + MIB // 2]
        answer = append(fleet.host(number), session, chunk, start)
        assert (answer.status, answer.headers["range"]) == (202, f"0-{start + len(chunk) - 1}")
        assert offset(fleet.host(number + 1), session) == start + len(chunk)
    assert finish(fleet.host(1), session, data, data[2 * MIB :]).status == 201
    assert once(fleet.host(0), "GET", session).status == 404
    assert pull_blob(fleet.host(0), "story", data) == data
    raw = push_image(fleet.host(1), "story", "latest", data)
    assert require_whole(fleet.host(0), "story", "latest") == raw


def test_a_session_goes_on_in_another_worker(fleet: Fleet) -> None:
    """Each request is made while only one worker is running, and each time it is the next one."""
    data = blob(3 * MIB, 2)
    live = fleet.servers[0]
    workers = [*live.workers(), *live.workers()]
    with live.only(workers[0]):
        session = begin(live.host, "moved")
    for start, worker in zip(range(0, 2 * MIB, MIB // 2), [*workers[1:], *workers, *workers], strict=False):
        with live.only(worker):
            assert append(live.host, session, data[start : start + MIB // 2], start).status == 202
    for worker in live.workers():
        with live.only(worker):
            assert offset(live.host, session) == 2 * MIB
    with live.only(workers[0]):
        assert finish(live.host, session, data, data[2 * MIB :]).status == 201
    for worker in live.workers():
        with live.only(worker):
            assert pull_blob(live.host, "moved", data) == data


def test_a_tag_that_moves_is_seen_by_all_at_once(fleet: Fleet) -> None:
    """What a worker keeps of its answers is never older than a 201, wherever that came from."""
    images = [push_image(fleet.host(number), "seen", "first", blob(1000, number)) for number in range(2)]
    target = "/v2/seen/manifests/moving"
    with ExitStack() as stack:
        connections = [stack.enter_context(wire(fleet.host(number))) for number in range(12)]
        for turn in range(100):
            raw = images[turn % 2]
            assert push_manifest(fleet.host(turn), "seen", "moving", raw).status == 201
            for connection in connections:
                assert connection.request("GET", target).body == raw
        assert once(fleet.any, "DELETE", target).status == 202
        for connection in connections:
            assert connection.request("GET", target).status == 404


def test_fifty_pushes_of_one_digest(fleet: Fleet) -> None:
    """Half in one request, half by a session; to three repositories."""
    data = blob(300_000, 3)
    sessions = set((fleet.root / "uploads").iterdir())

    def push(number: int) -> int:
        host, repository = fleet.host(number), f"digest{number % 3}"
        if number % 2:
            return push_blob(host, repository, data).status
        session = begin(host, repository)
        assert append(host, session, data[:100_000], 0).status == 202
        return finish(host, session, data, data[100_000:]).status

    assert together([partial(push, number) for number in range(50)]) == [201] * 50
    assert [pull_blob(fleet.any, f"digest{number}", data) for number in range(3)] == [data] * 3
    assert set((fleet.root / "uploads").iterdir()) == sessions


def test_fifty_pushes_of_one_tag(fleet: Fleet) -> None:
    layers = [blob(2_000, seed) for seed in range(50)]
    manifests = [image(layers=[descriptor(layer)]) for layer in layers]
    assert push_blob(fleet.any, "tagged", b"{}").status == 201

    def push(number: int) -> int:
        host = fleet.host(number)
        assert push_blob(host, "tagged", layers[number]).status == 201
        return push_manifest(host, "tagged", "latest", manifests[number]).status

    def pull(number: int) -> bytes | None:
        """While the tag moves, it is always one of those pushed."""
        answer = once(fleet.host(number), "GET", "/v2/tagged/manifests/latest")
        assert answer.status in (200, 404), answer
        return answer.body if answer.status == 200 else None

    pushes: list[Callable[[], int | bytes | None]] = [partial(push, number) for number in range(50)]
    pulls: list[Callable[[], int | bytes | None]] = [partial(pull, number) for number in range(10)]
    outcomes = together([*pushes, *pulls])
    assert outcomes[:50] == [201] * 50
    assert {body for body in outcomes[50:] if isinstance(body, bytes)} <= set(manifests)
    assert {require_whole(fleet.host(number), "tagged", "latest") for number in range(4)} <= set(manifests)
    assert len({require_whole(fleet.host(number), "tagged", "latest") for number in range(4)}) == 1
    for number, raw in enumerate(manifests):
        assert require_whole(fleet.host(number), "tagged", str(Digest.of(raw))) == raw


def test_twenty_parallel_patches_of_one_session(fleet: Fleet) -> None:
    """They overlap for certain: who has the session sends its end when all others have been answered.

    That is so after two seconds, as they hold their bodies' ends back.
    """
    session = begin(fleet.any, "raced")
    bodies = [bytes([number]) * 4_000 for number in range(1, 21)]
    with ExitStack() as stack:
        wires = [stack.enter_context(wire(fleet.host(number))) for number in range(20)]
        for connection, body in zip(wires, bodies, strict=True):
            connection.send_head("PATCH", session, {"Content-Length": str(len(body))})
            connection.send(body[:2_000])
        deadline = time.monotonic() + 30
        while len(answered := select.select([each.socket for each in wires], [], [], 1)[0]) < 19:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        for connection, body in zip(wires, bodies, strict=True):
            if connection.socket not in answered:
                connection.send(body[2_000:])
        answers = [connection.answer() for connection in wires]
    assert Counter(answer.status for answer in answers) == {202: 1, 409: 19}
    codes = {json.loads(answer.body)["errors"][0]["code"] for answer in answers if answer.status == 409}
    assert codes == {"BLOB_UPLOAD_INVALID"}
    (won,) = (body for body, answer in zip(bodies, answers, strict=True) if answer.status == 202)
    assert offset(fleet.any, session) == len(won)
    assert finish(fleet.any, session, won).status == 201  # not one byte of the others is in it
    assert pull_blob(fleet.any, "raced", won) == won


def test_one_of_many_first_writers_of_a_tag_wins(fleet: Fleet) -> None:
    manifests = [image(annotations={"number": str(number)}) for number in range(20)]
    assert push_blob(fleet.any, "first", b"{}").status == 201
    pushes = [
        partial(push_manifest, fleet.host(number), "first", "v1", raw, **{"If-None-Match": "*"})
        for number, raw in enumerate(manifests)
    ]
    answers = together(list(pushes))
    assert Counter(answer.status for answer in answers) == {201: 1, 412: 19}
    (won,) = (raw for raw, answer in zip(manifests, answers, strict=True) if answer.status == 201)
    assert require_whole(fleet.any, "first", "v1") == won


def test_a_delete_against_a_push(fleet: Fleet) -> None:
    """Whoever wins: what was acknowledged and not deleted is whole, and no manifest lacks a blob."""
    seen: Counter[tuple[int, int]] = Counter()
    for turn in range(15):
        layer = blob(1_000, 1_000 + turn)
        raw = image(layers=[descriptor(layer)])
        for data in (b"{}", layer):
            assert push_blob(fleet.any, "contested", data).status == 201
        pushed, deleted = together(
            [
                partial(push_manifest, fleet.host(turn), "contested", f"t{turn}", raw),
                partial(once, fleet.host(turn + 1), "DELETE", f"/v2/contested/blobs/{Digest.of(layer)}"),
            ]
        )
        seen[pushed.status, deleted.status] += 1
        if pushed.status == 201:
            assert require_whole(fleet.any, "contested", f"t{turn}") == raw
        else:
            assert once(fleet.any, "GET", f"/v2/contested/manifests/t{turn}").status == 404
    # The blob goes first and the push is refused, or the push comes first and the delete is.
    assert set(seen) <= {(400, 202), (201, 405)}


def test_tag_pushes_against_deletes_of_the_tag_and_its_manifest(fleet: Fleet) -> None:
    layer = blob(1_000, 5)
    raw = push_image(fleet.any, "fought", "t", layer)
    digest = Digest.of(raw)

    def act(number: int) -> int:
        host = fleet.host(number)
        match number % 3:
            case 0:
                return push_manifest(host, "fought", "t", raw).status
            case 1:
                return once(host, "DELETE", "/v2/fought/manifests/t").status
            case _:
                return once(host, "DELETE", f"/v2/fought/manifests/{digest}").status

    statuses = together([partial(act, number) for number in range(45)])
    assert set(statuses[0::3]) == {201}
    assert set(statuses[1::3]) | set(statuses[2::3]) <= {202, 404}
    tag = once(fleet.any, "GET", "/v2/fought/manifests/t")
    tags = once(fleet.any, "GET", "/v2/fought/tags/list")
    assert (tag.status == 200) == ("t" in json.loads(tags.body).get("tags", []))
    if tag.status == 200:
        assert require_whole(fleet.any, "fought", "t") == raw
    assert push_manifest(fleet.any, "fought", "t", raw).status == 201
    assert require_whole(fleet.any, "fought", "t") == raw
