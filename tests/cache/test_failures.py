"""An upstream that fails in every way: what is here is served in time, and nothing wrong is ever kept."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import httpx
import pytest

from registry.cache.freshness import FAILED, STALE
from registry.upstream.errors import UpstreamError
from storage.blobs import BlobFile
from storage.digest import Digest
from storage.errors import StoreFull
from tests.api.world import push_manifest
from tests.builders import index
from tests.cache.places import QUICK, UP, Image, Place, caching, landed, new_name, push, states
from tests.upstream.proxy import Fault, Rule

DEADLINE = 1.0
SLACK = 2.0  # seconds, on a machine with much else to do

REFUSALS = {
    "a 503": Fault(503),
    "a 500": Fault(500),
    "a 429": Fault(429, {"Retry-After": "1"}),
    "a 429 without a time": Fault(429),
    "a redirect to a forbidden address": Fault(307, {"Location": "http://169.254.169.254/latest/meta-data"}),
    "a redirect to nowhere": Fault(307, {"Location": "http://127.0.0.1:1/"}),
    "a login that nobody has": Fault(401, {"WWW-Authenticate": 'Basic realm="x"'}),
    "no HTTP": Fault(200, {"Content-Length": "x"}),
    "no answer": Fault(delay=30),
}
BAD_BODIES = {
    "cut": Fault(cut=20),
    "stopped": Fault(stall=20),
    "other bytes": Fault(flip=50),
    "another's": Fault(200, {"Content-Type": "application/x"}, b"{}"),
    "too much": Fault(200, {"Content-Length": str(5 * 2**20)}),
}


@pytest.fixture
async def place(tmp_path: Path, upstream: str) -> AsyncIterator[Place]:
    async with caching(tmp_path, upstream, bounds=QUICK, deadline=1, ttl=60, stale=0) as place:
        yield place


def all_of(image: Image) -> dict[str, bytes]:
    return {
        "manifests/v1": image.manifest,
        f"manifests/{Digest.of(image.manifest)}": image.manifest,
        f"blobs/{Digest.of(image.config)}": image.config,
        f"blobs/{Digest.of(image.layer)}": image.layer,
    }


async def get(place: Place, image: Image, rest: str, method: str = "GET") -> httpx.Response:
    return await place.client.request(method, f"/v2/{UP}/{image.name}/{rest}")


async def pull_all(place: Place, image: Image) -> None:
    for rest, content in all_of(image).items():
        answer = await get(place, image, rest)
        assert (answer.status_code, answer.content) == (200, content)


@pytest.mark.parametrize("fault", REFUSALS.values(), ids=REFUSALS)
async def test_what_is_here_is_served_in_time(place: Place, fault: Fault) -> None:
    image = await push(place.origin, new_name())
    await pull_all(place, image)
    place.clock.now += 61
    place.proxy.rules.append(Rule(fault))
    for _ in range(2):  # the second waits for nothing
        began = time.monotonic()
        await pull_all(place, image)
        assert time.monotonic() - began < DEADLINE + SLACK
    for method in ("HEAD", "GET"):
        answer = await get(place, image, "manifests/v1", method)
        assert answer.headers["Warning"] in (STALE, FAILED)
        assert answer.headers["Cache-Status"] == "oci-registry; hit; detail=stale"
    await recover(place, image)


async def recover(place: Place, image: Image) -> None:
    """By itself, once the upstream is well; and then with what it has now."""
    moved = index(annotations={"of": image.name})
    await push_manifest(place.origin, image.name, moved, "v1")
    place.proxy.rules.clear()
    place.clock.now += 400
    # A request that hangs was begun before, and whoever waited for it waits for no other for a while.
    async with asyncio.timeout(10):
        while (await get(place, image, "manifests/v1")).content != moved:
            await asyncio.sleep(0.1)
    assert "Warning" not in (await get(place, image, "manifests/v1")).headers


@pytest.mark.parametrize("fault", REFUSALS.values(), ids=REFUSALS)
async def test_what_is_not_here_fails_with_a_reason(place: Place, fault: Fault) -> None:
    image = await push(place.origin, new_name())
    place.proxy.rules.append(Rule(fault))
    found = await asyncio.gather(*(get(place, image, rest) for rest in all_of(image)))
    for answer in found:
        assert answer.status_code in (404, 429, 502)
        if answer.status_code == 429:
            assert int(answer.headers["Retry-After"]) >= 1
        if answer.status_code == 502:
            assert UP in answer.text
    place.proxy.rules.clear()
    place.clock.now += 400
    await pull_all(place, image)


@pytest.mark.parametrize("fault", BAD_BODIES.values(), ids=BAD_BODIES)
async def test_no_bad_manifest_is_kept(place: Place, fault: Fault) -> None:
    image = await push(place.origin, new_name())
    by_digest = f"manifests/{Digest.of(image.manifest)}"
    place.proxy.rules.append(Rule(fault, "/manifests/sha256:"))
    answer = await get(place, image, by_digest)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (502, "UNKNOWN")
    place.proxy.rules.clear()
    place.clock.now += 400
    assert (await get(place, image, by_digest)).content == image.manifest


async def test_no_bad_blob_is_kept(place: Place) -> None:
    image = await push(place.origin, new_name())
    layer = f"blobs/{Digest.of(image.layer)}"
    place.proxy.rules.append(Rule(Fault(flip=150_000), "/blobs/"))
    with pytest.raises(UpstreamError):  # which cuts the answer
        await get(place, image, layer)
    place.proxy.rules.clear()
    assert (await get(place, image, layer)).content == image.layer


async def test_bytes_that_rot_here_are_fetched_again(place: Place) -> None:
    image = await push(place.origin, new_name())
    await pull_all(place, image)
    await landed(place, f"/v2/{UP}/{image.name}/blobs/{Digest.of(image.config)}")
    place.cache._registry.recent._held.clear()
    for content in (image.manifest, image.config):
        path = Path(place.store.layout.blob(Digest.of(content)))
        path.chmod(0o600)
        path.write_bytes(bytes(len(content)))
    assert (await get(place, image, "manifests/v1")).content == image.manifest
    await pull_all(place, image)
    assert states(place)[-5:] == ["miss", "hit", "hit", "miss", "hit"]
    await pull_all(place, image)
    assert states(place)[-4:] == ["hit"] * 4


async def test_bytes_that_rot_here_cannot_be_fetched_from_who_has_none(place: Place) -> None:
    image = await push(place.origin, new_name())
    await pull_all(place, image)
    await landed(place, f"/v2/{UP}/{image.name}/blobs/{Digest.of(image.config)}")
    place.cache._registry.recent._held.clear()
    path = Path(place.store.layout.blob(Digest.of(image.config)))
    path.chmod(0o600)
    path.write_bytes(bytes(len(image.config)))
    place.proxy.rules.append(Rule(Fault(404)))
    for state in ("miss", "negative"):
        assert (await get(place, image, f"blobs/{Digest.of(image.config)}")).status_code == 404
        assert states(place)[-1] == state


async def test_a_layer_that_goes_before_it_is_opened_is_fetched_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = await push(place.origin, new_name())
    layer = await landed(place, f"/v2/{UP}/{image.name}/blobs/{Digest.of(image.layer)}")
    opened = place.store.blobs.open

    def gone(digest: Digest) -> AbstractAsyncContextManager[BlobFile]:
        monkeypatch.undo()
        Path(place.store.layout.blob(digest)).unlink()
        return opened(digest)

    monkeypatch.setattr(place.store.blobs, "open", gone)
    answer = await place.client.get(layer)
    assert (answer.status_code, answer.content, states(place)[-1]) == (200, image.layer, "miss")


async def test_bytes_behind_the_end_stand_in_the_way_once(place: Place) -> None:
    """Left by a transfer without a length that broke off: the upstream has no range behind them."""
    image = await push(place.origin, new_name())
    digest = Digest.of(image.layer)
    with open(place.store.layout.fetch(f"@{UP}/{image.name}", digest), "wb") as file:
        file.write(image.layer + b"more")
    assert (await get(place, image, f"blobs/{digest}")).status_code == 502
    answer = await get(place, image, f"blobs/{digest}")
    assert (answer.status_code, answer.content) == (200, image.layer)


async def test_a_full_disk_stops_no_manifest(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    image = await push(place.origin, new_name())

    async def full(*_: object) -> None:
        raise StoreFull("no room")

    monkeypatch.setattr(place.store.blobs, "put", full)
    for rest in ("manifests/v1", f"manifests/{Digest.of(image.manifest)}"):
        answer = await get(place, image, rest)
        assert (answer.status_code, answer.content) == (200, image.manifest)
    assert states(place) == ["miss", "miss"]


async def test_offline(tmp_path: Path, upstream: str) -> None:
    async with caching(tmp_path, upstream) as place:
        image = await push(place.origin, new_name())
        await pull_all(place, image)
        assert (await get(place, image, "tags/list")).json()["tags"] == ["v1"]
    async with caching(tmp_path, upstream, offline=True) as place:
        place.clock.now += 10**6
        await pull_all(place, image)
        assert (await get(place, image, "tags/list")).json()["tags"] == ["v1"]
        assert (await get(place, image, f"referrers/{Digest.of(image.manifest)}")).json()["manifests"] == []
        absent = Digest.of(b"absent")
        for rest in ("manifests/v2", f"manifests/{absent}", f"blobs/{absent}"):
            assert (await get(place, image, rest)).status_code == 404
        assert (await place.client.get(f"/v2/{UP}/never/pulled/tags/list")).status_code == 404
        assert place.proxy.seen == []
