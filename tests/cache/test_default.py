"""Plain names where there is a default upstream: that one first, and on its 404 what was pushed here."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from registry.access import Action, Actor, Operation
from registry.api.cache_count import CacheCount
from registry.errors import Denied
from storage.digest import Digest
from tests.api.world import push_manifest
from tests.builders import OCI_INDEX, index
from tests.cache.places import UP, Place, caching, new_name, push, states
from tests.upstream.proxy import Fault, Rule


@pytest.fixture
async def place(tmp_path: Path, upstream: str) -> AsyncIterator[Place]:
    async with caching(tmp_path, upstream, default=True, ttl=0, stale=0, negative_ttl=0) as place:
        yield place


async def get(place: Place, name: str, rest: str = "manifests/v1") -> tuple[int, bytes]:
    answer = await place.client.get(f"/v2/{name}/{rest}")
    return answer.status_code, answer.content


async def test_the_upstream_comes_first(place: Place) -> None:
    name = new_name()
    ours = await push(place.client, name)
    assert await get(place, name) == (200, ours.manifest)
    theirs = await push(place.origin, name)
    assert await get(place, name) == (200, theirs.manifest)
    assert await get(place, name, f"blobs/{Digest.of(theirs.layer)}") == (200, theirs.layer)
    await place.origin.delete(f"/v2/{name}/manifests/v1")
    assert await get(place, name) == (200, ours.manifest)


async def test_what_was_pushed_is_in_no_figure_of_an_upstream(place: Place) -> None:
    name, counted = new_name(), list[str]()
    ours = await push(place.client, name)
    place.gate._witnesses = [CacheCount(lambda _, what, __: counted.append(what))]
    assert await get(place, name) == (200, ours.manifest)
    assert counted == []


async def test_what_is_named_by_digest_is_asked_for_last(place: Place) -> None:
    name = new_name()
    ours = await push(place.client, name)
    for content, kind in ((ours.manifest, "manifests"), (ours.config, "blobs"), (ours.layer, "blobs")):
        assert await get(place, name, f"{kind}/{Digest.of(content)}") == (200, content)
        head = await place.client.head(f"/v2/{name}/{kind}/{Digest.of(content)}")
        assert head.headers["Content-Length"] == str(len(content))
    assert place.proxy.seen == []
    assert states(place) == []
    theirs = await push(place.origin, name)
    assert await get(place, name, f"manifests/{Digest.of(theirs.manifest)}") == (200, theirs.manifest)
    assert await get(place, name, f"blobs/{Digest.of(theirs.layer)}") == (200, theirs.layer)
    assert (await get(place, name, f"blobs/{Digest.of(b'absent')}"))[0] == 404


async def test_an_upstream_that_fails_hides_nothing_that_is_ours_alone(place: Place) -> None:
    ours, both = new_name(), new_name()
    pushed = await push(place.client, ours)
    await push(place.client, both, "v2")
    theirs = await push(place.origin, both)
    assert await get(place, both) == (200, theirs.manifest)
    place.proxy.rules.append(Rule(Fault(503)))
    assert await get(place, ours) == (200, pushed.manifest)
    assert (await get(place, ours, "tags/list"))[0] == 200
    # But of what it is known to have, ours does not take the place.
    assert (await get(place, both, "manifests/v2"))[0] == 502
    assert (await get(place, new_name()))[0] == 502
    assert (await get(place, new_name(), "tags/list"))[0] == 502
    place.proxy.rules[:] = [Rule(Fault(401, {"WWW-Authenticate": 'Basic realm="x"'}))]
    place.clock.now += 400
    assert await get(place, ours) == (200, pushed.manifest)
    assert (await get(place, both, "manifests/v2"))[0] == 404
    assert (await get(place, new_name()))[0] == 404


async def test_lists(place: Place) -> None:
    name = new_name()
    ours = await push(place.client, name, "ours")
    named = {"mediaType": OCI_INDEX, "digest": str(Digest.of(ours.manifest)), "size": len(ours.manifest)}
    signature = index(subject=named, artifact_type="application/x")
    await push_manifest(place.client, name, signature)
    target = f"/v2/{name}/referrers/{Digest.of(ours.manifest)}"
    assert (await place.client.get(f"/v2/{name}/tags/list")).json()["tags"] == ["ours"]
    await push(place.origin, name, "theirs")
    assert (await place.client.get(f"/v2/{name}/tags/list")).json()["tags"] == ["theirs"]
    listed = (await place.client.get(target)).json()["manifests"]
    assert [each["digest"] for each in listed] == [str(Digest.of(signature))]
    for fault in (Fault(404), Fault(503)):
        place.proxy.rules[:] = [Rule(fault, "/referrers/")]
        other = await place.client.get(f"/v2/{new_name()}/referrers/{Digest.of(b'x')}")
        assert (other.status_code, other.json()["manifests"]) == (200, [])


async def test_who_pushes_is_told_of_what_was_pushed_alone(place: Place) -> None:
    """Or the push would leave out what its repository lacks."""
    name = new_name()
    theirs = await push(place.origin, name)
    layer = f"/v2/{name}/blobs/{Digest.of(theirs.layer)}"
    assert (await place.client.get(layer)).status_code == 200
    assert (await place.client.head(layer)).status_code == 404
    ours = await push(place.client, name, "ours")
    assert (await place.client.head(f"/v2/{name}/blobs/{Digest.of(ours.layer)}")).status_code == 200


class Rules:
    """`may` are actions on names, as one text."""

    def __init__(self, *may: str) -> None:
        self.may = set(may)

    def allow(self, actor: Actor, operation: Operation) -> None:
        if operation.repository and f"{operation.action.value} {operation.repository}" not in self.may:
            raise Denied(f"no {operation.action.value} of {operation.repository}")


async def test_rights_are_those_of_the_names(tmp_path: Path, upstream: str) -> None:
    name = new_name()
    rules = Rules()
    async with caching(tmp_path, upstream, policies=(rules,), default=True) as place:
        theirs = await push(place.origin, name)
        answers = {
            "plain": f"/v2/{name}/manifests/v1",
            "path": f"/v2/{UP}/{name}/manifests/v1",
            "namespace": f"/v2/{name}/manifests/v1?ns={UP}",
        }

        async def allowed(*may: str) -> set[str]:
            rules.may = set(may)
            return {
                way for way, target in answers.items() if (await place.client.get(target)).status_code == 200
            }

        for _ in range(2):
            assert await allowed() == set()
            assert await allowed(f"pull {name}") == set()
            assert await allowed(f"pull {UP}/{name}") == {"path", "namespace"}
            assert await allowed(f"pull {UP}/{name}", f"pull {name}") == {"plain", "path", "namespace"}
        head = f"/v2/{name}/blobs/{Digest.of(theirs.layer)}"
        assert (await place.client.head(head)).status_code == 200  # who pulls only is told of everything


async def test_one_of_two_names_for_the_same_is_enough(tmp_path: Path, upstream: str) -> None:
    rules = Rules(f"pull {UP}/library/tool")
    async with caching(tmp_path, upstream, policies=(rules,), library=True) as place:
        image = await push(place.origin, "library/tool")
        for said in ("tool", "library/tool"):
            assert await get(place, f"{UP}/{said}") == (200, image.manifest)
        rules.may = {f"pull {UP}/tool"}
        assert [(await get(place, f"{UP}/{said}"))[0] for said in ("tool", "library/tool")] == [200, 403]
        assert place.proxy.count("/manifests/") == 1


@pytest.mark.parametrize("action", [Action.PUSH, Action.DELETE])
async def test_plain_names_are_pushed_to_and_deleted_as_ever(place: Place, action: Action) -> None:
    name = new_name()
    await push(place.origin, name)
    ours = await push(place.client, name, "ours")
    if action is Action.DELETE:
        assert (await place.client.delete(f"/v2/{name}/manifests/ours")).status_code == 202
    assert (await get(place, name, "manifests/ours"))[0] == (404 if action is Action.DELETE else 200)
    assert await get(place, name, f"manifests/{Digest.of(ours.manifest)}") == (200, ours.manifest)


@pytest.mark.parametrize(("said", "query"), [("team/ours", f"?ns={UP}"), (f"{UP}/team/ours", "")])
async def test_a_push_under_an_upstreams_name_goes_on_where_it_began(
    said: str, query: str, tmp_path: Path, upstream: str
) -> None:
    """containerd says the namespace at the beginning, and then follows Location."""
    async with caching(tmp_path, upstream, local=(f"{UP}/team/*",)) as place:
        begun = await place.client.post(f"/v2/{said}/blobs/uploads/{query}")
        assert begun.status_code == 202
        chunk = await place.client.patch(begun.headers["Location"], content=b"all")
        target = httpx.URL(chunk.headers["Location"]).copy_merge_params({"digest": str(Digest.of(b"all"))})
        done = await place.client.put(target)
        assert done.status_code == 201
        assert (await place.client.get(done.headers["Location"])).content == b"all"
        raw = index()
        put = await place.client.put(
            f"/v2/{said}/manifests/v1{query}", content=raw, headers={"Content-Type": OCI_INDEX}
        )
        assert put.status_code == 201
        assert (await place.client.get(put.headers["Location"])).content == raw
        assert place.proxy.seen == []
