"""Answers given again at once: only while they are right, and then the same as by the long way."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import httpx
import pytest

from registry.access import Action, Actor, Operation
from registry.api import identities
from registry.api.access_log import AccessLog
from registry.api.gate import Gate
from registry.api.identities import Identities
from registry.api.origins import Origins
from registry.api.prompt import Prompt
from registry.api.wire import Lasting
from registry.errors import Denied
from registry.names import Reference, RepositoryName
from registry.pulls import Pull, Pulls
from registry.registry import Registry
from registry.repository import Repository
from storage.collect import collect
from storage.digest import Digest
from storage.garbage import Rules
from storage.manifest_rows import ManifestRow
from storage.store import Store
from tests.api.world import CONFIG, IMAGE, LAYER, REPOSITORY, begin, digest, fill, push_image
from tests.inprocess import Answer, ask, connect_app, opened

BASE = f"/v2/{REPOSITORY}"
TAG = f"{BASE}/manifests/latest"
BLOB = f"{BASE}/blobs/{digest(LAYER)}"
KEPT = ["/v2/", TAG, f"{BASE}/manifests/{digest(IMAGE)}", BLOB, f"{BASE}/tags/list?n=2"]
PLAIN = ((b"host", b"registry.test"), (b"user-agent", b"a client"), (b"accept", b"*/*"))
DIFFERENT_EACH_TIME = "x-request-id"


@dataclass(slots=True)
class Switch:
    """A policy that can change its mind."""

    refuses: bool = False

    def allow(self, actor: Actor, operation: Operation) -> None:
        if self.refuses:
            raise Denied(f"no {operation.action.value} of {operation.repository}")


@dataclass(slots=True)
class Place:
    store: Store
    gate: Gate
    policy: Switch
    lines: list[str]
    pulls: Pulls
    pulled: list[Pull] = field(default_factory=list)

    async def ask(self, target: str, method: str = "GET", *headers: tuple[bytes, bytes]) -> Answer:
        path, _, query = target.partition("?")
        return await ask(self.gate, method, path.encode(), query=query.encode(), headers=headers)

    def find(self, target: str, method: str = "GET", *headers: tuple[bytes, bytes]) -> bytes | None:
        return self.gate.prompt.find(
            method.encode(), target.encode(), (*PLAIN, *headers), ("192.0.2.7", 40000)
        )


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    lines: list[str] = []
    with opened(tmp_path) as store:
        policy = Switch()
        registry = Registry(store.names, store.blobs, store.uploads)
        pulled: list[Pull] = []
        registry.pulls = Pulls(partial(_extend, pulled))
        gate = Gate(registry, policies=[policy], log=AccessLog(sink=lines.append))
        async with connect_app(gate) as client:
            await fill(client)
        yield Place(store, gate, policy, lines, registry.pulls, pulled)


async def _extend(pulled: list[Pull], pulls: Sequence[Pull], *, ago: int) -> None:
    pulled.extend(pulls)


def parsed(answer: bytes) -> tuple[dict[str, str], bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    fields = (line.decode().partition(": ") for line in head.split(b"\r\n"))
    return {name: value for name, _, value in fields}, body


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("target", KEPT)
async def test_the_answer_is_that_of_the_long_way(place: Place, target: str, method: str) -> None:
    assert place.find(target, method) is None
    long = await place.ask(target, method)
    assert long.status == 200
    prompt = place.find(target, method)
    assert prompt is not None
    headers, body = parsed(prompt)
    assert body == long.body
    assert headers.keys() == long.headers.keys()
    assert {name for name in headers if headers[name] != long.headers[name]} == {DIFFERENT_EACH_TIME}


async def test_the_log_tells_of_it_as_of_any(place: Place) -> None:
    await place.ask(TAG, "GET", *PLAIN[1:])
    found = place.find(TAG)
    assert found is not None
    long, prompt = map(json.loads, place.lines[-2:])
    assert long.keys() == prompt.keys()
    assert {name for name in long if long[name] != prompt[name]} <= {"id", "seconds", "time"}
    assert prompt["id"] == parsed(found)[0]["x-request-id"]
    assert place.find(TAG) != found  # each has an id of its own


@pytest.mark.parametrize(
    "field",
    [
        b"range: bytes=0-1",
        b'if-none-match: "x"',
        b"if-match: *",
        b"content-length: 1",
        b"transfer-encoding: chunked",
        b"expect: 100-continue",
        b"content-encoding: gzip",
        b"upgrade: h2c",
        b"x-anything: else",
    ],
)
async def test_who_says_more_takes_the_long_way(place: Place, field: bytes) -> None:
    name, _, value = field.partition(b": ")
    if name not in (b"content-length", b"content-encoding", b"if-match"):
        await place.ask(TAG, "GET", (name, value))
        assert place.find(TAG) is None  # and nothing was kept of it
    await place.ask(TAG)
    assert place.find(TAG) is not None
    assert place.find(TAG, "GET", (name, value)) is None


@pytest.mark.parametrize(
    ("target", "method"),
    [
        ("/v2/_catalog", "GET"),
        (f"{BASE}/manifests/absent", "GET"),
        (f"{BASE}/blobs/{digest(b'absent')}", "HEAD"),
        (f"{BASE}/tags/list?n=x", "GET"),
        ("/v2/nowhere/tags/list", "GET"),
    ],
)
async def test_what_is_not_kept(place: Place, target: str, method: str) -> None:
    await place.ask(target, method)
    assert place.find(target, method) is None


async def test_other_targets_and_methods_are_others(place: Place) -> None:
    await place.ask(TAG)
    for target, method in ((TAG, "HEAD"), (TAG + "?", "GET"), (TAG + "/", "GET"), (TAG, "PUT")):
        assert place.find(target, method) is None


async def moves_the_tag(place: Place) -> None:
    async with connect_app(place.gate) as client:
        await push_image(client, REPOSITORY, "latest", 1)


async def changes_another_repository(place: Place) -> None:
    """More is forgotten than must be: one number stands for the whole index."""
    async with connect_app(place.gate) as client:
        await push_image(client, "team/other", "latest", 2)


async def changes_by_another_process(place: Place, tag: str = "latest") -> None:
    with opened(Path(place.store.layout.root).parent) as other:
        await other.names.manifests.remove_tag(REPOSITORY, tag, check=lambda *_: None)


async def loses_the_file(place: Place) -> None:
    Path(place.store.layout.blob(Digest.of(IMAGE))).unlink()


async def shortens_the_file(place: Place) -> None:
    path = Path(place.store.layout.blob(Digest.of(IMAGE)))
    path.unlink()
    path.write_bytes(IMAGE[:-1])


async def is_refused(place: Place) -> None:
    place.policy.refuses = True
    await asyncio.sleep(identities._LASTING)  # so long are the policies not asked again


@pytest.mark.parametrize(
    "happens",
    [
        moves_the_tag,
        changes_another_repository,
        changes_by_another_process,
        loses_the_file,
        shortens_the_file,
        is_refused,
    ],
)
async def test_nothing_is_given_again_once_it_may_be_wrong(
    place: Place, happens: Callable[[Place], Awaitable[None]]
) -> None:
    before = await place.ask(TAG)
    assert place.find(TAG) is not None
    await happens(place)
    assert place.find(TAG) is None
    after = await place.ask(TAG)
    same = (after.status, after.body) == (before.status, before.body)
    assert same is (happens is changes_another_repository)


@pytest.mark.parametrize("moment", ["before the look", "after the look"])
async def test_an_answer_that_a_change_overtakes_is_not_kept(
    place: Place, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index changes while the handler works: what it found may be old already."""
    real = Repository.manifest_row

    async def slowly(self: Repository, reference: Reference) -> ManifestRow:
        if moment == "before the look":
            await changes_by_another_process(place, "all")
        found = await real(self, reference)
        if moment == "after the look":
            await changes_by_another_process(place, "latest")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Repository, "manifest_row", slowly)
        assert (await place.ask(TAG)).body == IMAGE
    assert place.find(TAG) is None
    assert (await place.ask(TAG)).status == (404 if moment == "after the look" else 200)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", [f"{BASE}/manifests/{digest(IMAGE)}", BLOB])
async def test_what_was_kept_before_a_mark_is_not_given_after_it(
    place: Place, path: str, method: str
) -> None:
    """Else "it is here" would be said, and the mark not taken off."""
    async with connect_app(place.gate) as client:
        for tag in ("latest", "docker", "all", "wide"):
            assert (await client.delete(f"{BASE}/manifests/{tag}")).status_code == 202
    before = await place.ask(path, method)
    assert place.find(path, method) is not None
    await mark_garbage(place)
    assert path in await marked(place)
    assert place.find(path, method) is None
    after = await place.ask(path, method)
    assert (after.status, after.body) == (before.status, before.body)
    assert path not in await marked(place)
    assert place.find(path, method) is not None, "it is right until the next mark"
    await mark_garbage(place)
    assert place.find(path, method) is None


async def mark_garbage(place: Place) -> None:
    """By another process: the command beside a server."""
    with opened(Path(place.store.layout.root).parent) as other:
        await collect(other, Rules(untagged=lambda _: -1))


async def marked(place: Place) -> set[str]:
    """The paths of marked content."""
    sql = (
        "SELECT 'blobs', digest FROM links JOIN blobs ON blobs.id = blob WHERE mark IS NOT NULL"
        " UNION SELECT 'manifests', digest FROM manifests WHERE mark IS NOT NULL"
    )
    rows = await place.store.database.read(lambda connection: connection.execute(sql).fetchall())
    return {f"{BASE}/{kind}/{Digest.from_binary(found)}" for kind, found in rows}


async def test_bookkeeping_forgets_nothing(place: Place) -> None:
    """No answer that is kept shows sessions: a push under way does not slow pulls down."""
    await place.ask(TAG)
    async with connect_app(place.gate) as client:
        await begin(client, REPOSITORY, b"some bytes")
    assert place.find(TAG) is not None


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("target", KEPT)
async def test_a_kept_answer_of_a_manifest_is_a_pull(place: Place, target: str, method: str) -> None:
    await place.ask(target, method)
    await place.pulls.flush()
    place.pulled.clear()
    assert place.find(target, method) is not None
    await place.pulls.flush()
    assert place.pulled == ([(REPOSITORY, Digest.of(IMAGE))] if "/manifests/" in target else [])


async def test_memory_is_bounded(place: Place) -> None:
    """By all that is kept: targets and heads too, and those longest not asked for go first."""
    limit = 40 * 2**10
    names, size = place.store.names, place.store.blobs.size
    pulls = Pulls(names.manifests.note_pulls)
    small = Prompt(
        names.generation,
        size,
        identities=Identities(),
        policies=[],
        meters=[],
        origins=Origins(),
        sink=None,
        pulls=pulls,
        limit=limit,
    )
    place.gate.prompt = small
    targets = [f"/v2/?{number:0900}" for number in range(60)]
    for target in targets:
        await place.ask(target)
        assert place.find(targets[0]) is not None
    found = [target for target in targets if place.find(target) is not None]
    assert found[0] == targets[0]
    assert found[1:] == targets[len(targets) - len(found) + 1 :]
    each = sum(len(target) + len(place.find(target) or b"") for target in found)
    assert limit / 3 < each < limit  # the rest is what an entry takes by itself


async def test_long_targets_are_not_kept(place: Place) -> None:
    for length, kept in ((1000, True), (2000, False)):
        target = "/v2/?".ljust(length, "a")
        await place.ask(target)
        assert (place.find(target) is not None) is kept


async def test_large_bodies_are_not_kept(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        gate = Gate(Registry(store.names, store.blobs, store.uploads), log=AccessLog())
        large = bytes(64 * 2**10 + 1)
        async with connect_app(gate) as client:
            for data in (large, CONFIG):
                target = f"/v2/a/blobs/uploads/?digest={digest(data)}"
                assert (await client.post(target, content=data)).status_code == 201
            for data, kept in ((large, False), (CONFIG, True)):
                target = f"/v2/a/blobs/{digest(data)}"
                answer: httpx.Response = await client.get(target, headers={"connection": "close"})
                assert answer.content == data
                await ask(gate, "GET", target.encode())
                found = gate.prompt.find(b"GET", target.encode(), PLAIN, None)
                assert (found is not None) is kept


async def test_who_counts_is_told_each_time_that_it_is_given(place: Place) -> None:
    told: list[int] = []
    scope = {"method": "GET", "raw_path": b"/v2/counted", "query_string": b"", "headers": PLAIN}
    await place.ask("/v2/", "GET", *PLAIN)
    place.gate.prompt.keep(
        scope,
        [Operation(Action.PULL, RepositoryName(REPOSITORY))],
        Lasting(b"content", headers={}),
        place.gate.prompt.generation,
        Actor(),
        again=told.append,
    )
    for _ in range(2):
        assert place.find("/v2/counted")
    assert place.find("/v2/other") is None
    assert told == [len(b"content")] * 2
