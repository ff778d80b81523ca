"""A pull through the cache, by each way that clients ask for it."""

from pathlib import Path

import httpx
import pytest

from storage.digest import Digest
from tests.api.world import push_blob, push_image, push_manifest
from tests.builders import OCI_IMAGE, blob, descriptor, image, index
from tests.cache.places import UP, Place, caching, landed, new_name, push, states
from tests.upstream.proxy import Fault, Rule


async def pull(client: httpx.AsyncClient, path: str, query: str = "", reference: str = "v1") -> list[bytes]:
    """The manifest and all that it names."""
    manifest = await client.get(f"/v2/{path}/manifests/{reference}{query}")
    assert manifest.status_code == 200, manifest.text
    body = manifest.json()
    found = [manifest.content]
    for each in (body["config"], *body["layers"]):
        answer = await client.get(f"/v2/{path}/blobs/{each['digest']}{query}")
        assert answer.status_code == 200, answer.text
        found.append(answer.content)
    return found


@pytest.mark.parametrize("way", ["path", "namespace", "both", "default"])
async def test_cold_and_warm(tmp_path: Path, upstream: str, way: str) -> None:
    async with caching(tmp_path, upstream, default=way == "default") as place:
        image = await push(place.origin, new_name())
        path, query = {
            "path": (f"{UP}/{image.name}", ""),
            "namespace": (image.name, f"?ns={UP}"),
            "both": (f"{UP}/{image.name}", f"?ns={UP}"),
            "default": (image.name, ""),
        }[way]
        expected = [image.manifest, image.config, image.layer]
        assert await pull(place.client, path, query) == expected
        assert states(place) == ["miss"] * 3
        # The client has its last byte before the index has the blob: until then, it comes from the fetch.
        await landed(place, f"/v2/{path}/blobs/{Digest.of(image.layer)}{query}")
        await landed(place, f"/v2/{path}/blobs/{Digest.of(image.config)}{query}")
        asked = len(place.proxy.seen)
        place.proxy.rules.append(Rule(Fault(503)))
        assert await pull(place.client, path, query) == expected
        assert await pull(place.client, path, query, str(Digest.of(image.manifest))) == expected
        assert len(place.proxy.seen) == asked
        assert states(place)[-6:] == ["hit"] * 6


async def test_what_an_answer_says_of_itself(place: Place) -> None:
    image = await push(place.origin, new_name())
    target, layer = f"/v2/{image.name}/manifests/v1", f"/v2/{image.name}/blobs/{Digest.of(image.layer)}"
    for state in ("fwd=miss", "hit"):
        for method, body in (("HEAD", b""), ("GET", image.manifest)):
            answer = await place.client.request(method, target, params={"ns": UP})
            assert answer.content == body
            assert answer.headers["Content-Type"] == OCI_IMAGE
            assert answer.headers["Content-Length"] == str(len(image.manifest))
            assert answer.headers["Docker-Content-Digest"] == str(Digest.of(image.manifest))
            assert answer.headers["OCI-Namespace"] == UP
            assert answer.headers["Cache-Control"] == "no-cache"
            assert "Warning" not in answer.headers
            expected = "hit" if method == "GET" else state  # the HEAD has brought it
            assert answer.headers["Cache-Status"] == f"oci-registry; {expected}"
    for method, headers, status in (
        ("HEAD", {}, 200),
        ("GET", {"Range": "bytes=5-9"}, 206),
        ("GET", {}, 200),
        ("GET", {"If-None-Match": f'"{Digest.of(image.layer)}"'}, 304),
    ):
        answer = await place.client.request(method, layer, params={"ns": UP}, headers=headers)
        assert answer.status_code == status
        assert answer.headers["OCI-Namespace"] == UP
        expected_body = {200: image.layer, 206: image.layer[5:10], 304: b""}[status]
        assert answer.content == (b"" if method == "HEAD" else expected_body)
    assert len([each for each in place.proxy.seen if each.method == "GET" and "/blobs/" in each.target]) == 1


async def test_a_namespace_that_is_no_upstream_is_a_404(place: Place) -> None:
    image = await push(place.client, new_name())
    for target in ("manifests/v1", f"blobs/{Digest.of(image.layer)}", "tags/list"):
        answer = await place.client.get(f"/v2/{image.name}/{target}?ns=other.example")
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (404, "NAME_UNKNOWN")
        assert "OCI-Namespace" not in answer.headers
        own = await place.client.get(f"/v2/{image.name}/{target}?ns=localhost:5000")
        assert own.status_code == 200
        assert "OCI-Namespace" not in own.headers
    assert place.proxy.seen == []


async def test_an_index_and_its_platforms(place: Place) -> None:
    name = new_name()
    raw = await push_image(place.origin, name, "linux", 1)
    other = await push_image(place.origin, name, "windows", 2)
    both = index([descriptor(raw, OCI_IMAGE), descriptor(other, OCI_IMAGE)])
    await push_manifest(place.origin, name, both, "all")
    found = await place.client.get(f"/v2/{UP}/{name}/manifests/all")
    assert found.content == both
    # Only one of them is pulled, as an engine does.
    assert (await pull(place.client, f"{UP}/{name}", reference=str(Digest.of(raw))))[0] == raw
    place.proxy.rules.append(Rule(Fault(503)))
    assert (await place.client.get(f"/v2/{UP}/{name}/manifests/all")).content == both
    assert (await place.client.get(f"/v2/{UP}/{name}/manifests/{Digest.of(other)}")).status_code == 502


@pytest.mark.parametrize(
    ("raw", "media_type"),
    [
        (b"no JSON at all", "application/vnd.example.thing"),
        (b"no JSON at all", ""),
        (b"no JSON at all", "application/\xe9"),
        (b"no JSON at all", "application/" + "x" * 255),
        (b'{"schemaVersion": 1}', "application/vnd.docker.distribution.manifest.v1+json"),
        (image(), "application/vnd.example.thing"),
        (image(), OCI_IMAGE),
    ],
)
async def test_what_no_reader_of_ours_reads_is_served_as_it_came(
    place: Place, raw: bytes, media_type: str
) -> None:
    name = new_name()
    place.proxy.rules.append(Rule(Fault(200, {"Content-Type": media_type}, raw), "/manifests/"))
    for reference in ("odd", "odd", str(Digest.of(raw))):
        answer = await place.client.get(f"/v2/{UP}/{name}/manifests/{reference}")
        assert answer.content == raw
        readable = media_type.isascii() and 0 < len(media_type) < 256
        assert answer.headers["Content-Type"] == (media_type if readable else "application/octet-stream")
    assert len(place.proxy.seen) == 1


async def test_a_blob_that_is_here_already_is_not_fetched_again(place: Place) -> None:
    first, layer = await push(place.origin, new_name()), f"blobs/{Digest.of(blob(5000, 1))}"
    for client in (place.origin, place.client):
        await push_blob(client, "team/theirs", blob(5000, 1))
    answer = await place.client.get(f"/v2/{UP}/team/theirs/{layer}")
    assert answer.content == blob(5000, 1)
    assert [each.method for each in place.proxy.seen] == ["HEAD"]
    # And who lacks it upstream does not get it here.
    place.proxy.seen.clear()
    assert (await place.client.get(f"/v2/{UP}/{first.name}/{layer}")).status_code == 404
    assert [each.method for each in place.proxy.seen] == ["HEAD"]


async def test_what_is_missing_there_is_asked_for_once_in_a_while(place: Place) -> None:
    image = await push(place.origin, new_name())
    absent = Digest.of(b"absent")
    targets = [
        f"/v2/{UP}/{image.name}/{rest}"
        for rest in ("manifests/none", f"manifests/{absent}", f"blobs/{absent}")
    ]
    for _ in range(3):
        for target in targets:
            for method in ("HEAD", "GET"):
                assert (await place.client.request(method, target)).status_code == 404
    assert len(place.proxy.seen) == 3
    assert states(place)[-1] == "negative"
    place.clock.now += 31
    await push_manifest(place.origin, image.name, image.manifest, "none")
    assert [(await place.client.get(target)).status_code for target in targets] == [200, 404, 404]


async def test_nothing_is_pushed_or_deleted_there(place: Place) -> None:
    image = await push(place.origin, new_name())
    await pull(place.client, f"{UP}/{image.name}")
    asked = len(place.proxy.seen)
    for method, rest in (
        ("POST", "blobs/uploads/"),
        ("PUT", "manifests/v1"),
        ("DELETE", "manifests/v1"),
        ("DELETE", f"blobs/{Digest.of(image.layer)}"),
    ):
        for target in (f"/v2/{UP}/{image.name}/{rest}", f"/v2/{image.name}/{rest}?ns={UP}"):
            answer = await place.client.request(method, target)
            assert (answer.status_code, answer.json()["errors"][0]["code"]) == (403, "DENIED")
            assert "`local`" in answer.text
    assert len(place.proxy.seen) == asked
    assert (await place.client.get("/v2/_catalog")).json() == {"repositories": []}


async def test_names_that_are_ours_alone(tmp_path: Path, upstream: str) -> None:
    async with caching(tmp_path, upstream, local=("mine/*", f"{UP}/mine/*"), default=True) as place:
        for name in ("mine/app", f"{UP}/mine/app"):
            image = await push(place.client, name)
            assert (await pull(place.client, name))[0] == image.manifest
            assert (await place.client.get(f"/v2/{name}/manifests/other")).status_code == 404
        assert (await pull(place.client, "mine/app", f"?ns={UP}"))[0] == image.manifest
        assert place.proxy.seen == []


async def test_a_mount_from_what_was_fetched(place: Place) -> None:
    image = await push(place.origin, new_name())
    await landed(place, f"/v2/{UP}/{image.name}/blobs/{Digest.of(image.layer)}")
    for source in ({"from": f"{UP}/{image.name}"}, {}):
        mounted = await place.client.post(
            f"/v2/{new_name()}/blobs/uploads/", params={"mount": str(Digest.of(image.layer)), **source}
        )
        assert mounted.status_code == 201
