"""Tags that move, vanish and come again upstream: how soon that is seen, and what it costs to see."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from registry.cache.freshness import FAILED, STALE
from storage.digest import Digest
from storage.errors import StoreFull
from tests.api.world import push_manifest
from tests.builders import OCI_INDEX, index
from tests.cache.places import QUICK, UP, Place, caching, new_name, states
from tests.upstream.proxy import Fault, Rule


@pytest.fixture
async def place(tmp_path: Path, upstream: str) -> AsyncIterator[Place]:
    async with caching(tmp_path, upstream, ttl=60, stale=30) as place:
        yield place


class Moving:
    """A repository with one tag."""

    def __init__(self, place: Place) -> None:
        self.place, self.name, self.count = place, new_name(), 0

    async def move(self) -> bytes:
        self.count += 1
        raw = index(annotations={"of": self.name, "number": str(self.count)})
        await push_manifest(self.place.origin, self.name, raw, "v1")
        return raw

    async def pull(self, reference: str = "v1") -> bytes:
        answer = await self.place.client.get(f"/v2/{UP}/{self.name}/manifests/{reference}")
        return answer.content if answer.status_code == 200 else str(answer.status_code).encode()

    def asked(self) -> list[str]:
        """The methods of all requests since the last time."""
        found = [each.method for each in self.place.proxy.seen]
        self.place.proxy.seen.clear()
        return found

    async def settle(self) -> None:
        """What goes on beside the answers ends."""
        while tasks := list(self.place.cache._flights._tasks.values()):
            await asyncio.wait(tasks)


@pytest.fixture
async def impatient(tmp_path: Path, upstream: str) -> AsyncIterator[Moving]:
    async with caching(tmp_path, upstream, ttl=60, stale=30, deadline=1, bounds=QUICK) as place:
        yield Moving(place)


@pytest.fixture
def moving(place: Place) -> Moving:
    return Moving(place)


async def test_a_fresh_tag_costs_nothing(moving: Moving) -> None:
    first = await moving.move()
    assert await moving.pull() == first
    assert moving.asked() == ["GET"]
    await moving.move()
    moving.place.clock.now += 59
    assert [await moving.pull() for _ in range(3)] == [first] * 3
    assert moving.asked() == []


async def test_a_stale_one_is_served_and_asked_for_beside_that(moving: Moving) -> None:
    first = await moving.move()
    await moving.pull()
    second = await moving.move()
    moving.asked()
    moving.place.clock.now += 61
    assert await moving.pull() == first
    await moving.settle()
    assert moving.asked() == ["HEAD", "GET"]
    assert await moving.pull() == second
    assert states(moving.place) == ["miss", "stale", "hit"]


async def test_an_old_one_is_asked_for_first(moving: Moving) -> None:
    await moving.move()
    await moving.pull()
    second = await moving.move()
    moving.asked()
    moving.place.clock.now += 91
    assert await moving.pull() == second
    assert moving.asked() == ["HEAD", "GET"]
    moving.place.clock.now += 91
    assert await moving.pull() == second
    assert moving.asked() == ["HEAD"]
    moving.place.clock.now += 59
    assert await moving.pull() == second
    assert moving.asked() == []
    assert states(moving.place) == ["miss", "miss", "hit", "hit"]


async def test_what_cannot_be_kept_makes_nothing_older_fresh(
    moving: Moving, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await moving.move()
    await moving.pull()
    second = await moving.move()
    moving.place.clock.now += 1000

    async def full(*_: object) -> None:
        raise StoreFull("no room")

    with monkeypatch.context() as patch:
        patch.setattr(moving.place.store.blobs, "put", full)
        for _ in range(2):
            answer = await moving.place.client.get(f"/v2/{UP}/{moving.name}/manifests/v1")
            assert (answer.content, answer.headers["Warning"]) == (first, FAILED)
    assert await moving.pull() == second


async def test_a_tag_that_moves_back_is_not_fetched_again(moving: Moving) -> None:
    first = await moving.move()
    await moving.pull()
    await moving.move()
    moving.place.clock.now += 91
    await moving.pull()
    moving.asked()
    await push_manifest(moving.place.origin, moving.name, first, "v1")
    moving.place.clock.now += 91
    assert await moving.pull() == first
    assert moving.asked() == ["HEAD"]


async def test_an_upstream_that_says_little_to_a_head(moving: Moving) -> None:
    first = await moving.move()
    await moving.pull()
    moving.asked()
    moving.place.clock.now += 91
    moving.place.proxy.rules.append(Rule(Fault(fields={"docker-content-digest": ""}), method="HEAD"))
    assert await moving.pull() == first
    assert moving.asked() == ["HEAD", "GET"]


@pytest.mark.parametrize("status", [400, 403, 405, 501])
async def test_an_upstream_without_a_head_keeps_its_tags(moving: Moving, status: int) -> None:
    await moving.move()
    await moving.pull()
    moved = await moving.move()
    moving.place.clock.now += 91
    moving.place.proxy.rules.append(Rule(Fault(status), method="HEAD"))
    assert await moving.pull() == moved


async def test_a_tag_that_vanished_is_gone_and_its_manifest_is_not(moving: Moving) -> None:
    first = await moving.move()
    await moving.pull()
    await moving.place.origin.delete(f"/v2/{moving.name}/manifests/v1")
    moving.place.clock.now += 91
    assert [await moving.pull() for _ in range(2)] == [b"404"] * 2
    assert await moving.pull(str(Digest.of(first))) == first
    again = await moving.move()
    assert await moving.pull() == b"404"
    moving.place.clock.now += 31
    assert await moving.pull() == again


async def test_fifty_at_once_ask_once(moving: Moving) -> None:
    first = await moving.move()
    moving.place.proxy.rules.append(Rule(Fault(delay=0.1)))
    assert await asyncio.gather(*(moving.pull() for _ in range(50))) == [first] * 50
    assert moving.asked() == ["GET"]
    moving.place.clock.now += 91
    assert await asyncio.gather(*(moving.pull() for _ in range(50))) == [first] * 50
    assert moving.asked() == ["HEAD"]


async def test_who_leaves_stops_nothing(moving: Moving) -> None:
    first = await moving.move()
    moving.place.proxy.rules.append(Rule(Fault(delay=0.1), times=1))
    leaving = asyncio.create_task(moving.pull())
    while not moving.place.proxy.seen:
        await asyncio.sleep(0.01)
    leaving.cancel()
    assert await moving.pull() == first
    assert moving.asked() == ["GET"]


async def test_a_late_upstream_is_waited_for_once(impatient: Moving) -> None:
    """And what it says in the end counts."""
    await impatient.move()
    await impatient.pull()
    second = await impatient.move()
    impatient.asked()
    impatient.place.clock.now += 91
    impatient.place.proxy.rules.append(Rule(Fault(delay=30), times=1))
    loop = asyncio.get_running_loop()
    began = loop.time()
    await impatient.pull()
    assert loop.time() - began > 0.9
    began = loop.time()
    answer = await impatient.place.client.head(f"/v2/{UP}/{impatient.name}/manifests/v1")
    assert loop.time() - began < 0.9
    assert answer.headers["Warning"] == STALE
    await impatient.settle()
    impatient.place.clock.now += 11
    assert await impatient.pull() == second


async def test_an_upstream_that_answers_anything_is_waited_for_again(moving: Moving) -> None:
    await moving.move()
    await moving.pull()
    other = Moving(moving.place)
    raw = await other.move()
    moving.place.clock.now += 91
    moving.place.proxy.rules.append(Rule(Fault(503), times=1))
    await moving.pull()
    assert await other.pull() == raw
    second = await moving.move()
    assert await moving.pull() == second


async def test_tags_are_listed_as_they_are_there(moving: Moving) -> None:
    target = f"/v2/{UP}/{moving.name}/tags/list"
    raw = await moving.move()
    for tag in ("v3", "V2", "a"):
        await push_manifest(moving.place.origin, moving.name, raw, tag)
    client = moving.place.client
    first = await client.get(target, params={"n": 3})
    assert first.json() == {"name": f"{UP}/{moving.name}", "tags": ["V2", "a", "v1"]}
    assert (await client.get(first.links["next"]["url"])).json()["tags"] == ["v3"]
    assert moving.asked() == ["GET"]
    assert states(moving.place) == ["miss", "hit"]
    # Where it cannot say, those that were pulled.
    await moving.pull("v3")
    moving.place.clock.now += 61
    moving.place.proxy.rules.append(Rule(Fault(503)))
    assert (await client.get(target)).json()["tags"] == ["v3"]
    assert (await client.get(f"/v2/{UP}/never/pulled/tags/list")).status_code == 502
    moving.place.proxy.rules[:] = [Rule(Fault(404))]
    moving.place.clock.now += 61
    assert (await client.get(target)).status_code == 404


async def test_referrers_are_listed_as_they_are_there(moving: Moving) -> None:
    subject = await moving.move()
    client, target = moving.place.client, f"/v2/{UP}/{moving.name}/referrers/{Digest.of(subject)}"
    named = {"mediaType": OCI_INDEX, "digest": str(Digest.of(subject)), "size": len(subject)}
    for kind in ("application/b", "application/a"):
        raw = index(subject=named, artifact_type=kind, annotations={"kind": kind})
        await push_manifest(moving.place.origin, moving.name, raw)
    expected = (await moving.place.origin.get(f"/v2/{moving.name}/referrers/{Digest.of(subject)}")).json()
    assert len(expected["manifests"]) == 2
    assert (await client.get(target)).json() == expected
    one = (await client.get(target, params={"artifactType": "application/b"})).json()["manifests"]
    assert one == [each for each in expected["manifests"] if each["artifactType"] == "application/b"]
    page = await client.get(target, params={"n": 1})
    rest = await client.get(page.links["next"]["url"])
    assert [*page.json()["manifests"], *rest.json()["manifests"]] == expected["manifests"]
    assert moving.asked() == ["GET"]
    assert states(moving.place) == ["miss", "hit", "hit", "hit"]
    # Where it cannot say, those that were pulled: none of these two.
    await moving.pull()
    moving.place.clock.now += 61
    moving.place.proxy.rules.append(Rule(Fault(503)))
    assert (await client.get(target)).json()["manifests"] == []
    # One without that API says so: clients then look for tags.
    moving.place.proxy.rules[:] = [Rule(Fault(404))]
    moving.place.clock.now += 61
    assert (await client.get(target)).status_code == 404


async def test_a_namespace_is_that_of_the_next_page_too(moving: Moving) -> None:
    subject = await moving.move()
    named = {"mediaType": OCI_INDEX, "digest": str(Digest.of(subject)), "size": len(subject)}
    for number in range(2):
        signature = index(subject=named, artifact_type=f"application/x{number}")
        await push_manifest(moving.place.origin, moving.name, signature, f"x{number}")
    client, base = moving.place.client, f"/v2/{moving.name}"
    first = await client.get(f"{base}/tags/list?ns={UP}&n=1")
    assert (await client.get(first.links["next"]["url"])).json()["tags"] == ["x0"]
    first = await client.get(f"{base}/referrers/{Digest.of(subject)}?ns={UP}&n=1")
    (found,) = (await client.get(first.links["next"]["url"])).json()["manifests"]
    assert found["artifactType"] == "application/x1"
