"""An index pushed beside a default upstream, some of whose children only that one has."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import httpx
import pytest

from registry.access import Actor, Operation
from registry.errors import Denied
from registry.manifests import Manifest
from registry.names import Reference
from registry.registry import Registry
from storage.digest import Digest
from storage.errors import BlobMissing, ManifestMissing
from tests.api.world import push_manifest
from tests.builders import OCI_IMAGE, OCI_INDEX, descriptor, index
from tests.cache.places import UP, Image, Place, caching, new_name, push
from tests.upstream.proxy import Fault, Rule


@pytest.fixture
async def place(tmp_path: Path, upstream: str) -> AsyncIterator[Place]:
    async with caching(tmp_path, upstream, default=True, negative_ttl=0) as place:
        yield place


async def put(place: Place, name: str, *children: bytes, media_type: str = OCI_IMAGE) -> httpx.Response:
    raw = index([descriptor(child, media_type) for child in children])
    target, fields = f"/v2/{name}/manifests/all", {"Content-Type": OCI_INDEX}
    return await place.client.put(target, content=raw, headers=fields)


async def head(place: Place, name: str, manifest: bytes) -> int:
    return (await place.client.head(f"/v2/{name}/manifests/{Digest.of(manifest)}")).status_code


async def is_pushed(place: Place, name: str, manifests: Sequence[bytes], blobs: Sequence[bytes]) -> bool:
    """Whether all of it is there without the upstream."""
    try:
        for each in manifests:
            await place.store.names.manifests.find(name, Digest.of(each))
        for each in blobs:
            found = await place.store.names.links.find(name, Digest.of(each))
            assert place.store.blobs.size(Digest.of(each)) == found.size
    except (ManifestMissing, BlobMissing):
        return False
    return True


@pytest.mark.parametrize("pulled", [False, True], ids=["nothing pulled", "blobs pulled"])
async def test_a_child_that_a_head_told_of_comes_along(pulled: bool, place: Place) -> None:
    """Who is told that it is here leaves out all of it."""
    name = new_name()
    theirs, ours = await push(place.origin, name), await push(place.client, name, "ours")
    assert await head(place, name, theirs.manifest) == 200
    if pulled:
        for each in (theirs.config, theirs.layer):
            assert (await place.client.get(f"/v2/{name}/blobs/{Digest.of(each)}")).status_code == 200
    answer = await put(place, name, theirs.manifest, ours.manifest)
    assert answer.status_code == 201, answer.text
    assert "Cache-Status" not in answer.headers
    assert await is_pushed(place, name, [theirs.manifest], [theirs.config, theirs.layer])


async def test_so_do_the_children_of_a_child(place: Place) -> None:
    name = new_name()
    theirs = await push(place.origin, name)
    inner = index([descriptor(theirs.manifest, OCI_IMAGE)])
    await push_manifest(place.origin, name, inner, "inner")
    for each in (inner, theirs.manifest):
        assert await head(place, name, each) == 200
    assert (await put(place, name, inner, media_type=OCI_INDEX)).status_code == 201
    assert await is_pushed(place, name, [inner, theirs.manifest], [theirs.config, theirs.layer])


async def test_what_is_named_often_is_taken_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or few small indexes, each of which names the next a thousand times, would be work without an end."""
    name, times = new_name(), 10
    theirs = await push(place.origin, name)
    inner = index([descriptor(theirs.manifest, OCI_IMAGE)] * times)
    outer = index([descriptor(inner, OCI_INDEX)] * times)
    for tag, each in (("inner", inner), ("outer", outer)):
        await push_manifest(place.origin, name, each, tag)
    for each in (outer, inner, theirs.manifest):
        assert await head(place, name, each) == 200
    parsed: list[object] = []
    parse = Registry.parse

    async def count(self: Registry, raw: bytes, content_type: str | None, reference: Reference) -> Manifest:
        parsed.append(reference)
        return await parse(self, raw, content_type, reference)

    monkeypatch.setattr(Registry, "parse", count)
    assert (await put(place, name, outer, media_type=OCI_INDEX)).status_code == 201
    assert await is_pushed(place, name, [outer, inner, theirs.manifest], [theirs.config, theirs.layer])
    assert len(parsed) == 8  # each twice: to look into it, and to push it


async def refused(place: Place, image: Image) -> bool:
    answer = await put(place, image.name, image.manifest)
    lacked = answer.status_code == 400 and answer.json()["errors"][0]["code"] == "MANIFEST_BLOB_UNKNOWN"
    assert not await is_pushed(place, image.name, [image.manifest], [])
    return lacked


async def test_what_nobody_was_told_of_is_not_asked_for(place: Place) -> None:
    """Or an index of many children would make as many requests."""
    theirs = await push(place.origin, new_name())
    assert await refused(place, theirs)
    assert place.proxy.seen == []


async def test_what_the_upstream_has_no_more_is_lacking(place: Place) -> None:
    theirs = await push(place.origin, new_name())
    assert await head(place, theirs.name, theirs.manifest) == 200
    place.proxy.rules.append(Rule(Fault(404), "/blobs/"))
    assert await refused(place, theirs)
    assert place.proxy.count("/blobs/") == 1  # one is enough to know that all is in vain


async def test_an_upstream_that_fails_is_said_to(place: Place) -> None:
    theirs = await push(place.origin, new_name())
    assert await head(place, theirs.name, theirs.manifest) == 200
    place.proxy.rules.append(Rule(Fault(429, {"Retry-After": "1"}), "/blobs/"))
    assert (await put(place, theirs.name, theirs.manifest)).status_code == 429
    place.proxy.rules.clear()
    place.clock.now += 400
    assert (await put(place, theirs.name, theirs.manifest)).status_code == 201
    assert await is_pushed(place, theirs.name, [theirs.manifest], [theirs.config, theirs.layer])


async def test_who_may_not_pull_it_there_gets_nothing_of_it(tmp_path: Path, upstream: str) -> None:
    class Rules:
        def __init__(self) -> None:
            self.closed = False

        def allow(self, actor: Actor, operation: Operation) -> None:
            if self.closed and (operation.repository or "").startswith(f"{UP}/"):
                raise Denied("no")

    rules = Rules()
    async with caching(tmp_path, upstream, policies=(rules,), default=True) as place:
        theirs = await push(place.origin, new_name())
        assert await head(place, theirs.name, theirs.manifest) == 200
        rules.closed = True
        assert await refused(place, theirs)
