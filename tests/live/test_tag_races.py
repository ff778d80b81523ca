"""Tags under races of many clients over four workers: one wins, and what it wrote stands."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import partial

import pytest

from storage.digest import Digest
from tests.builders import image
from tests.live.servers import PROJECT, Live, running
from tests.live.stories import push_blob, push_manifest, require_whole, together
from tests.live.wire import Answer, once

CLIENTS, TURNS = 50, 6
WORKERS = 4


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    root = tmp_path_factory.mktemp("races") / "root"
    flags = ("--workers", str(WORKERS), "--immutable-tags", "*:v*")
    with running(root, *flags) as live:
        # Each has a listener of its own from the start: what comes before it accepts waits.
        assert push_blob(live.host, "raced", b"{}").status == 201
        yield live
        assert len(live.workers()) == WORKERS


@pytest.fixture(scope="module")
def manifests(live: Live) -> list[bytes]:
    """One for each client; all are in the repository, so that only the tag is raced for."""
    raws = [image(annotations={"client": str(number)}) for number in range(CLIENTS)]
    for raw in raws:
        assert push_manifest(live.host, "raced", str(Digest.of(raw)), raw).status == 201
    return raws


def race(live: Live, tag: str, manifests: list[bytes], **headers: str) -> list[Answer]:
    """Every client pushes its own manifest to the tag, all at once."""
    return together([partial(push_manifest, live.host, "raced", tag, raw, **headers) for raw in manifests])


def require_one_winner(
    live: Live, tag: str, manifests: list[bytes], answers: list[Answer], lost: int
) -> bytes:
    assert Counter(answer.status for answer in answers) == {201: 1, lost: CLIENTS - 1}
    (won,) = (raw for raw, answer in zip(manifests, answers, strict=True) if answer.status == 201)
    assert require_whole(live.host, "raced", tag) == won
    # Who lost is told what it lost to.
    assert {json.loads(each.body)["errors"][0]["code"] for each in answers if each.status != 201} == {
        "DENIED"
    }
    assert all(str(Digest.of(won)).encode() in each.body for each in answers if each.status != 201)
    return won


def history(live: Live, tag: str) -> list[dict[str, str | None]]:
    """What `registry tag history` says beside the server, the first move first."""
    command = [
        sys.executable,
        "-m",
        "registry",
        "tag",
        "history",
        f"raced:{tag}",
        "--json",
        "--limit",
        "1000",
    ]
    said = subprocess.run(
        [*command, "--root", live.root], cwd=PROJECT, capture_output=True, text=True, timeout=60, check=True
    )
    found: list[dict[str, str | None]] = json.loads(said.stdout)
    return found[::-1]


@pytest.mark.parametrize("turn", range(TURNS))
def test_one_makes_a_tag_that_all_make_only_if_there_is_none(
    live: Live, manifests: list[bytes], turn: int
) -> None:
    tag = f"first{turn}"
    answers = race(live, tag, manifests, **{"If-None-Match": "*"})
    require_one_winner(live, tag, manifests, answers, 412)


@pytest.mark.parametrize("turn", range(TURNS))
def test_one_moves_a_tag_that_all_move_from_where_they_saw_it(
    live: Live, manifests: list[bytes], turn: int
) -> None:
    tag, base = f"next{turn}", image(annotations={"base": str(turn)})
    assert push_manifest(live.host, "raced", tag, base).status == 201
    answers = race(live, tag, manifests, **{"If-Match": f'"{Digest.of(base)}"'})
    require_one_winner(live, tag, manifests, answers, 412)


@pytest.mark.parametrize("turn", range(TURNS))
def test_one_makes_an_immutable_tag(live: Live, manifests: list[bytes], turn: int) -> None:
    tag = f"v{turn}"
    won = require_one_winner(live, tag, manifests, race(live, tag, manifests), 403)
    # And so it stays, against all that clients do.
    target, whole = (f"/v2/raced/manifests/{reference}" for reference in (tag, Digest.of(won)))
    pushes = [partial(push_manifest, live.host, "raced", tag, raw) for raw in manifests[:20]]
    deletes = [partial(once, live.host, "DELETE", each) for each in (target, whole) for _ in range(15)]
    statuses = Counter(answer.status for answer in together([*pushes, *deletes]))
    same = won in manifests[:20]
    assert statuses == Counter({201: int(same), 403: 50 - int(same)}) + Counter()
    assert require_whole(live.host, "raced", tag) == won
    assert [move["to"] for move in history(live, tag)] == [str(Digest.of(won))]


def test_a_counter_in_a_tag(live: Live) -> None:
    """Clients that read, add one and write back if nobody else has: no step is lost or made twice."""
    writers, steps = 8, 5

    def raw(count: int) -> bytes:
        return image(annotations={"count": str(count)})

    def add(_: int) -> int:
        tries = 0
        for _ in range(steps):
            while True:
                tries += 1
                seen = once(live.host, "GET", "/v2/raced/manifests/count")
                count = int(json.loads(seen.body)["annotations"]["count"])
                headers = {"If-Match": seen.headers["etag"]}
                answer = push_manifest(live.host, "raced", "count", raw(count + 1), **headers)
                assert answer.status in (201, 412), answer
                if answer.status == 201:
                    break
        return tries

    assert push_manifest(live.host, "raced", "count", raw(0)).status == 201
    tries = together([partial(add, number) for number in range(writers)])
    last = json.loads(require_whole(live.host, "raced", "count"))
    assert last["annotations"]["count"] == str(writers * steps)
    assert sum(tries) > writers * steps, "nobody ever lost: there was no race"
    assert [move["to"] for move in history(live, "count")] == [
        str(Digest.of(raw(count))) for count in range(writers * steps + 1)
    ]


def test_the_history_of_a_raced_tag_is_one_chain(live: Live, manifests: list[bytes]) -> None:
    """Every push that was answered with 201 and moved the tag is a link of it; pushes and deletes at once."""
    pushes = [partial(push_manifest, live.host, "raced", "moving", raw) for raw in manifests]
    deletes = [partial(once, live.host, "DELETE", "/v2/raced/manifests/moving") for _ in range(20)]
    answers = together([*pushes, *deletes])
    assert {answer.status for answer in answers[:CLIENTS]} == {201}
    deleted = Counter(answer.status for answer in answers[CLIENTS:])
    assert set(deleted) <= {202, 404}
    moves = history(live, "moving")
    assert [move["from"] for move in moves] == [None, *(move["to"] for move in moves[:-1])]
    assert Counter(move["to"] for move in moves) == Counter(
        [*(str(Digest.of(raw)) for raw in manifests), *[None] * deleted[202]]
    )
    now = once(live.host, "GET", "/v2/raced/manifests/moving")
    assert (str(Digest.of(now.body)) if now.status == 200 else None) == moves[-1]["to"]
