"""Quotas under races of many clients over four workers: as many get in as fit, to the byte."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import pytest

from storage.digest import Digest
from tests.builders import image
from tests.live.servers import Live, running
from tests.live.stories import finish, push_blob, push_manifest, together
from tests.live.wire import Answer, once

CLIENTS, WORKERS = 50, 4
SIZE, FIT = 1000, 10
QUOTAS = (
    f'[{{repositories = ["bytes/*"], bytes = {FIT * SIZE + 1}}},'
    f' {{repositories = ["tags*"], tags = {FIT}}},'
    f' {{repositories = ["open"], each = true, uploads = {FIT}}}]'
)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    root = tmp_path_factory.mktemp("quotas") / "root"
    with running(root, "--workers", str(WORKERS), "--quota", QUOTAS) as live:
        yield live
        assert len(live.workers()) == WORKERS


def layer(number: int) -> bytes:
    return b"%0*d" % (SIZE, number)


def race(tasks: Sequence[Callable[[], Answer]], refused: int) -> list[bool]:
    """Who got in: exactly as many as fit."""
    answers = together(list(tasks))
    won = [answer.status < 300 for answer in answers]
    assert Counter(answer.status for answer in answers if answer.status > 300) == {refused: CLIENTS - FIT}
    return won


def listed(live: Live, repository: str, data: bytes) -> bool:
    return once(live.host, "HEAD", f"/v2/{repository}/blobs/{Digest.of(data)}").status == 200


def test_blobs_of_two_repositories(live: Live) -> None:
    pushes = [partial(push_blob, live.host, f"bytes/{n % 2}", layer(n)) for n in range(CLIENTS)]
    won = race(pushes, 403)
    assert [listed(live, f"bytes/{n % 2}", layer(n)) for n in range(CLIENTS)] == won
    # A second time they are in already, or still do not fit; and who leaves makes room for one.
    assert race(pushes, 403) == won
    first = won.index(True)
    target = f"/v2/bytes/{first % 2}/blobs/{Digest.of(layer(first))}"
    assert once(live.host, "DELETE", target).status == 202
    race(pushes, 403)


def test_new_tags(live: Live) -> None:
    raw = image()
    for repository in ("tags0", "tags1"):
        assert push_blob(live.host, repository, b"{}").status == 201
    race([partial(push_manifest, live.host, f"tags{n % 2}", f"t{n}", raw) for n in range(CLIENTS)], 403)


def test_sessions(live: Live) -> None:
    path = "/v2/open/blobs/uploads/"
    before = len(os.listdir(f"{live.root}/uploads"))
    answers: list[Answer] = []

    def begin() -> Answer:
        answers.append(once(live.host, "POST", path))
        return answers[-1]

    race([begin] * CLIENTS, 429)
    assert len(os.listdir(f"{live.root}/uploads")) == before + FIT
    sessions = [answer.headers["location"] for answer in answers if answer.status == 202]
    for number, session in enumerate(sessions):
        assert finish(live.host, session, layer(number), layer(number)).status == 201
    race([partial(once, live.host, "POST", path)] * CLIENTS, 429)
