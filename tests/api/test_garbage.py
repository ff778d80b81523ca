"""What a collector has marked, asked for over HTTP: who may push is told "here" only of what then stays."""

from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from registry.access import Action, Actor, Grant, Shown
from registry.api.access_log import AccessLog
from registry.api.gate import Gate
from registry.auth import rules
from registry.policies.access_rules import AccessRules
from registry.registry import Registry
from storage.collect import collect
from storage.digest import Digest
from storage.garbage import HOUR, Rules
from storage.locks import held
from storage.store import Store, open_store
from tests.api.world import CONFIG, IMAGE, INDEX, LAYER, REPOSITORY, SPARE, digest, fill, push_manifest
from tests.inprocess import connect, connect_app
from tests.storage.hands import Hands

BASE = f"/v2/{REPOSITORY}"
RULES = Rules(patience=HOUR, untagged=lambda _: -1)

BLOB, LINKED = f"{BASE}/blobs/{digest(SPARE)}", f"{BASE}/blobs/{digest(LAYER)}"
MANIFEST, PARENT = f"{BASE}/manifests/{digest(IMAGE)}", f"{BASE}/manifests/{digest(INDEX)}"

# What each takes the mark off.
TAKES_OFF = {
    BLOB: {SPARE},
    LINKED: {LAYER},
    MANIFEST: {IMAGE, CONFIG, LAYER},
    PARENT: {INDEX, IMAGE, CONFIG, LAYER},
}
paths = pytest.mark.parametrize("path", TAKES_OFF, ids=["blob", "layer", "manifest", "index"])
methods = pytest.mark.parametrize("method", ["HEAD", "GET"])


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
async def store(tmp_path: Path, hands: Hands) -> AsyncIterator[Store]:
    """The small world without its tags, marked."""
    store = open_store(str(tmp_path / "root"), durable=False, machine=hands.machine)
    with closing(store):
        async with connect(store) as client:
            await fill(client)
            for tag in ("latest", "docker", "all", "wide"):
                assert (await client.delete(f"{BASE}/manifests/{tag}")).status_code == 202
        await collect(store, RULES)
        assert not await unmarked(store)
        yield store


@pytest.fixture
async def client(store: Store) -> AsyncIterator[httpx.AsyncClient]:
    async with connect(store) as client:
        yield client


async def unmarked(store: Store) -> set[Digest]:
    sql = (
        "SELECT digest FROM blobs JOIN links ON links.blob = blobs.id WHERE mark IS NULL"
        " UNION SELECT digest FROM manifests WHERE mark IS NULL"
    )
    rows = await store.database.read(lambda connection: connection.execute(sql).fetchall())
    return {Digest.from_binary(found) for (found,) in rows}


@methods
@paths
async def test_who_may_push_takes_the_marks_off(
    store: Store, client: httpx.AsyncClient, path: str, method: str
) -> None:
    answer = await client.request(method, path)
    assert answer.status_code == 200
    kept = await unmarked(store)
    assert {Digest.of(data) for data in TAKES_OFF[path]} <= kept
    assert Digest.of(SPARE, "sha512") not in kept
    assert (path == BLOB) == (Digest.of(SPARE) in kept)


@methods
@paths
async def test_who_may_only_pull_takes_none_off(store: Store, path: str, method: str) -> None:
    async with connect(store, anonymous="pull") as reading:
        assert (await reading.request(method, path)).status_code == 200
    assert not await unmarked(store)


class Holds:
    """A user who may push, with a token that was made for pulls."""

    async def identify(self, shown: Shown) -> Actor | None:
        return Actor("alice", limit=(Grant((REPOSITORY,), frozenset({Action.PULL})),))


@methods
@paths
async def test_a_token_for_pulls_takes_them_off_for_who_may_push(
    store: Store, path: str, method: str
) -> None:
    """The next token may be for the push that relies on it."""
    gate = Gate(
        Registry(store.names, store.blobs, store.uploads),
        authenticators=[Holds()],
        policies=[AccessRules(rules.Rules((), {}, "none", lambda: True))],
        log=AccessLog(),
    )
    async with connect_app(gate) as client:
        for _ in range(2):  # the second time it may be a kept answer
            answer = await client.request(method, path, headers={"Authorization": "Bearer x"})
            assert answer.status_code == 200
    assert await unmarked(store)


@pytest.mark.parametrize(
    "headers",
    [{"If-None-Match": f'"{digest(SPARE)}"'}, {"Range": "bytes=0-1"}],
    ids=["not modified", "a range"],
)
async def test_other_answers_that_say_here_do_so_too(
    store: Store, client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    assert (await client.get(BLOB, headers=headers)).status_code in (206, 304)
    assert Digest.of(SPARE) in await unmarked(store)


async def test_a_mount_takes_the_mark_off_at_its_target(store: Store, client: httpx.AsyncClient) -> None:
    """And brings it here anew elsewhere."""
    for repository in ("team/other", REPOSITORY):
        mount = {"mount": digest(SPARE), "from": REPOSITORY}
        answer = await client.post(f"/v2/{repository}/blobs/uploads/", params=mount)
        assert answer.status_code == 201
        assert (await store.names.links.find(repository, Digest.of(SPARE))).marked is False


async def test_a_push_of_an_index_takes_the_marks_of_all_below_off(
    store: Store, client: httpx.AsyncClient
) -> None:
    await push_manifest(client, REPOSITORY, INDEX, "again")
    assert {Digest.of(data) for data in (INDEX, IMAGE, CONFIG, LAYER)} <= await unmarked(store)


@methods
@paths
async def test_what_cannot_be_kept_is_not_here(
    store: Store, client: httpx.AsyncClient, path: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.repository._KEPT_WITHIN", 0.05)
    with held(store.layout.write_lock, "a test"):
        assert (await client.request(method, path)).status_code == 404
    assert (await client.request(method, path)).status_code == 200


@methods
@paths
async def test_what_was_told_is_true_for_a_grace(
    store: Store, client: httpx.AsyncClient, hands: Hands, path: str, method: str
) -> None:
    """All other content goes in the pass after the answer."""
    hands.wait(HOUR + 2)
    assert (await client.request(method, path)).status_code == 200
    assert (await collect(store, RULES)).files > 0
    hands.wait(HOUR - 2)
    await collect(store, RULES)
    assert (await client.request(method, path)).status_code == 200
    others = [other for other in TAKES_OFF if other == BLOB or path == BLOB]
    for other in set(others) - {path}:
        assert (await client.request(method, other)).status_code == 404


async def test_nothing_is_left_of_what_nobody_asked_for(
    store: Store, client: httpx.AsyncClient, hands: Hands
) -> None:
    hands.wait(HOUR + 2)
    await collect(store, RULES)
    for path in TAKES_OFF:
        assert (await client.get(path)).status_code == 404
    assert (await client.get("/v2/_catalog")).json() == {"repositories": []}
