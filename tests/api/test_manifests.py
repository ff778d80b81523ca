"""Manifests over HTTP: what is taken, what is refused, what a tag and a digest then answer."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp

from registry.app import build
from registry.manifests import MAX_MANIFEST
from registry.settings import Settings
from storage.digest import Digest
from storage.store import Store
from tests.api.rows import Row, assert_error, check
from tests.api.world import CONFIG, LAYER, digest, push_blob, push_image, push_manifest, put_manifest
from tests.builders import (
    DOCKER_IMAGE,
    DOCKER_INDEX,
    OCI_ARTIFACT,
    OCI_CONFIG,
    OCI_IMAGE,
    OCI_INDEX,
    OCI_LAYER,
    JsonObject,
    blob,
    descriptor,
    image,
    index,
)
from tests.inprocess import ask, connect

CACHE_CONFIG = "application/vnd.buildkit.cacheconfig.v0"
FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
NONDISTRIBUTABLE = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"


@pytest.fixture(scope="module")
def app(store: Store) -> ASGIApp:
    return build(store, Settings(root=store.layout.root))


@pytest.fixture
async def stocked(client: httpx.AsyncClient, repository: str) -> str:
    """A repository with CONFIG, LAYER and `{}`."""
    for data in (CONFIG, LAYER, b"{}"):
        await push_blob(client, repository, data)
    return repository


def plain(media_type: str = OCI_IMAGE, **extra: Any) -> bytes:
    return image(descriptor(CONFIG, OCI_CONFIG), [descriptor(LAYER)], media_type=media_type, **extra)


# -- what is taken ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize(
    ("raw", "media_type"),
    [
        (plain(), OCI_IMAGE),
        (plain(DOCKER_IMAGE), DOCKER_IMAGE),
        (index(), OCI_INDEX),
        (index(media_type=DOCKER_INDEX), DOCKER_INDEX),
        (plain(unknown={"key": [1, 2.5, None]}), OCI_IMAGE),
        (image(layers=[]), OCI_IMAGE),
        (json.dumps(json.loads(plain()), indent=3).encode() + b"\n \n", OCI_IMAGE),
        (plain(annotations={"ключ": "\U0001f600 \\ \u2028"}), OCI_IMAGE),
        (
            image(descriptor(CONFIG, "application/vnd.cncf.helm.config.v1+json"), [descriptor(LAYER)]),
            OCI_IMAGE,
        ),
        (image(descriptor(CONFIG, CACHE_CONFIG), [descriptor(LAYER)]), OCI_IMAGE),
        (json.dumps({"mediaType": OCI_ARTIFACT, "blobs": [descriptor(LAYER)]}).encode(), OCI_ARTIFACT),
    ],
)
async def test_every_byte_is_kept(
    client: httpx.AsyncClient, stocked: str, raw: bytes, media_type: str, algorithm: str
) -> None:
    named = digest(raw, algorithm)
    pushed = await push_manifest(client, stocked, raw, named, "tag")
    assert pushed.headers["Docker-Content-Digest"] == named
    assert pushed.headers["OCI-Tag"] == "tag"
    expect = {
        "Content-Type": media_type,
        "Content-Length": str(len(raw)),
        "Docker-Content-Digest": named,
        "ETag": f'"{named}"',
    }
    for target in (f"/v2/{stocked}/manifests/tag", pushed.headers["Location"]):
        await check(client, Row("GET", target, 200, expect=expect, holds=raw))
        await check(client, Row("HEAD", target, 200, expect=expect))


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_a_digest_must_be_the_bodys(client: httpx.AsyncClient, stocked: str, algorithm: str) -> None:
    raw = plain()
    wrong = digest(b"other", algorithm)
    answer = await put_manifest(client, stocked, raw, wrong, "tag")
    assert_error(answer, 400, "DIGEST_INVALID", wrong, digest(raw, algorithm))
    await check(client, Row("GET", f"/v2/{stocked}/manifests/tag", 404, "MANIFEST_UNKNOWN"))


async def test_one_manifest_under_two_digests(client: httpx.AsyncClient, stocked: str) -> None:
    raw = plain()
    for algorithm in ("sha256", "sha512"):
        await push_manifest(client, stocked, raw, digest(raw, algorithm), algorithm)
    for algorithm in ("sha256", "sha512"):
        named = digest(raw, algorithm)
        await check(
            client, Row("GET", f"/v2/{stocked}/manifests/{algorithm}", 200, expect={"ETag": f'"{named}"'})
        )
    await check(client, Row("DELETE", f"/v2/{stocked}/manifests/{digest(raw)}", 202))
    await check(client, Row("GET", f"/v2/{stocked}/manifests/sha256", 404, "MANIFEST_UNKNOWN"))
    await check(client, Row("GET", f"/v2/{stocked}/manifests/sha512", 200, holds=raw))


async def test_sha512_throughout(client: httpx.AsyncClient, repository: str) -> None:
    for data in (CONFIG, LAYER):
        await push_blob(client, repository, data, "sha512")
    raw = image(descriptor(CONFIG, OCI_CONFIG, algorithm="sha512"), [descriptor(LAYER, algorithm="sha512")])
    await push_manifest(client, repository, raw, digest(raw, "sha512"))
    outer = index(
        [descriptor(raw, OCI_IMAGE, algorithm="sha512")],
        subject=descriptor(raw, OCI_IMAGE, algorithm="sha512"),
    )
    pushed = await push_manifest(client, repository, outer, digest(outer, "sha512"), "all")
    assert pushed.headers["OCI-Subject"] == digest(raw, "sha512")
    listed = (await client.get(f"/v2/{repository}/referrers/{digest(raw, 'sha512')}")).json()["manifests"]
    assert [entry["digest"] for entry in listed] == [digest(outer, "sha512")]
    # The bytes are not known by their other digest.
    for path in (f"manifests/{digest(raw)}", f"blobs/{digest(LAYER)}"):
        assert (await client.get(f"/v2/{repository}/{path}")).status_code == 404
    refused = await put_manifest(client, repository, plain(), "wrong")
    assert_error(refused, 400, "MANIFEST_BLOB_UNKNOWN", digest(LAYER), digest(CONFIG))


# -- T8, T9: types ----------------------------------------------------------------------------------------

CONTENT_TYPES = [
    (OCI_IMAGE, plain(), 201),
    (f"{OCI_IMAGE}; charset=utf-8", plain(), 201),
    (f" {OCI_IMAGE.upper()} ;x=y", plain(), 201),
    ("application/json", plain(), 201),
    ("application/octet-stream", plain(), 201),
    (None, plain(), 201),
    (OCI_INDEX, plain(), 400),
    (DOCKER_IMAGE, plain(), 400),
    (DOCKER_IMAGE, plain(DOCKER_IMAGE), 201),
    ("text/html", plain(), 400),
    ("application/vnd.docker.distribution.manifest.v1+prettyjws", plain(), 400),
    ("application/xml", plain(), 400),
    ("image/svg+xml", plain(), 400),
    (None, json.dumps({"config": descriptor(CONFIG), "layers": []}).encode(), 201),
    (DOCKER_IMAGE, json.dumps({"config": descriptor(CONFIG), "layers": []}).encode(), 201),
    (None, json.dumps({"manifests": []}).encode(), 201),
    (None, b"{}", 400),
    (OCI_IMAGE, plain("text/html"), 400),
]


@pytest.mark.parametrize(("content_type", "raw", "status"), CONTENT_TYPES)
async def test_content_types(
    client: httpx.AsyncClient, stocked: str, content_type: str | None, raw: bytes, status: int
) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    answer = await put_manifest(client, stocked, raw, "tag", headers=headers)
    if status == 400:
        assert_error(answer, 400, "MANIFEST_INVALID")
        await check(client, Row("GET", f"/v2/{stocked}/manifests/tag", 404, "MANIFEST_UNKNOWN"))
        return
    assert answer.status_code == 201
    served = (await client.get(f"/v2/{stocked}/manifests/tag")).headers["Content-Type"]
    assert served in {OCI_IMAGE, OCI_INDEX, DOCKER_IMAGE}
    assert served == json.loads(raw).get("mediaType", served)


MEMBERS: Mapping[str, JsonObject] = {
    "image": {"config": descriptor(CONFIG), "layers": [descriptor(LAYER)]},
    "index": {"manifests": []},
    "both": {"config": descriptor(CONFIG), "layers": [descriptor(LAYER)], "manifests": []},
    "neither": {},
    "layers alone": {"layers": [descriptor(LAYER)]},
    "index with layers": {"manifests": [], "layers": []},
    "index with config": {"manifests": [], "config": descriptor(CONFIG)},
    "null members": {"config": descriptor(CONFIG), "layers": None, "manifests": None},
}
TAKEN = {
    OCI_IMAGE: {"image", "null members"},
    DOCKER_IMAGE: {"image", "null members"},
    OCI_INDEX: {"index", "neither"},
    DOCKER_INDEX: {"index", "neither"},
}


@pytest.mark.parametrize("told", ["by the body", "by Content-Type"])
@pytest.mark.parametrize("shape", MEMBERS)
@pytest.mark.parametrize("media_type", TAKEN)
async def test_a_type_and_its_members(
    client: httpx.AsyncClient, stocked: str, media_type: str, shape: str, told: str
) -> None:
    """T8 (CVE-2021-41190): no body may be an image to one reader and an index to another."""
    own = {"mediaType": media_type} if told == "by the body" else {}
    raw = json.dumps({"schemaVersion": 2, **own, **MEMBERS[shape]}).encode()
    answer = await put_manifest(client, stocked, raw, "tag", headers={"Content-Type": media_type})
    if shape in TAKEN[media_type]:
        assert answer.status_code == 201
        await check(
            client,
            Row("GET", f"/v2/{stocked}/manifests/tag", 200, expect={"Content-Type": media_type}, holds=raw),
        )
    else:
        assert_error(answer, 400, "MANIFEST_INVALID", media_type)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b"\xff\xfe{\x00}\x00",
        b"\xef\xbb\xbf{}",
        plain().replace(b'"layers"', b'"Layers"'),
        plain().replace(b'"layers"', '"layerſ"'.encode()),
        plain()[:-1] + b', "layers": []}',
        plain(n=float("nan")),
        plain().replace(b'"schemaVersion": 2', b'"schemaVersion": 1'),
        plain().replace(digest(LAYER).encode(), b"sha256:abc"),
        plain().replace(digest(LAYER).encode(), b"../../etc/passwd"),
        plain().replace(b'"size": 2048', b'"size": -1'),
        plain().replace(b'"size": 2048', b'"size": 2048.0'),
        plain().replace(b'"size": 2048', b'"size": true'),
        plain().replace(b'"size": 2048', b'"size": ' + b"9" * 5000),
        b'{"layers":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"layers":[' + b"{}," * 300_000 + b"{}]}",
        plain(subject="x"),
        plain(annotations={"a": 1}),
    ],
    ids=range(22),
)
async def test_what_readers_would_take_differently(
    client: httpx.AsyncClient, stocked: str, raw: bytes
) -> None:
    """T7: refused alike, nothing stored."""
    answer = await put_manifest(client, stocked, raw, "tag")
    assert_error(answer, 400, "MANIFEST_INVALID")
    assert answer.elapsed.total_seconds() < 5
    await check(client, Row("GET", f"/v2/{stocked}/manifests/tag", 404, "MANIFEST_UNKNOWN"))


# -- T6: size ---------------------------------------------------------------------------------------------


def sized(size: int) -> bytes:
    """A manifest of exactly that many bytes."""
    short = plain(annotations={"filler": ""})
    return plain(annotations={"filler": "x" * (size - len(short))})


async def test_the_largest_manifest(client: httpx.AsyncClient, stocked: str) -> None:
    raw = sized(MAX_MANIFEST)
    assert len(raw) == MAX_MANIFEST
    await push_manifest(client, stocked, raw, "tag")
    await check(client, Row("GET", f"/v2/{stocked}/manifests/tag", 200, holds=raw))


@pytest.mark.parametrize("announced", [True, False])
async def test_a_larger_manifest(client: httpx.AsyncClient, stocked: str, announced: bool) -> None:
    raw = sized(MAX_MANIFEST + 1)

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(raw), 2**16):
            yield raw[start : start + 2**16]

    target = f"/v2/{stocked}/manifests/tag"
    answer = await client.put(target, content=raw if announced else chunks())
    assert_error(answer, 413, "MANIFEST_INVALID", f"{MAX_MANIFEST} bytes")
    await check(client, Row("GET", target, 404, "MANIFEST_UNKNOWN"))


@pytest.mark.parametrize(
    "headers",
    [
        [(b"content-length", b"4194305")],
        [(b"content-length", b"99999999999999999999")],
        [(b"content-length", b"4194305"), (b"expect", b"100-continue")],
        [(b"transfer-encoding", b"chunked")],
    ],
)
async def test_a_larger_manifest_is_not_read(
    app: ASGIApp, repository: str, headers: list[tuple[bytes, bytes]]
) -> None:
    """By its header before a byte, else by what came; what is left of it is not waited for."""
    body = iter([{"type": "http.request", "body": b" " * 2**16, "more_body": True}] * 400)
    path = f"/v2/{repository}/manifests/tag".encode()
    answer = await ask(app, "PUT", path, headers=headers, body=body)
    assert (answer.status, answer.headers["connection"]) == (413, "close")
    read = 400 - len(list(body))
    # 64 KiB a time: 4 MiB and a bit if it had to be counted, then a mebibyte of the rest, and, for a client
    # that goes on sending without a look at the answer, 16 more.
    rest = 16 + 256
    assert read <= {"content-length": rest, "transfer-encoding": 65 + rest}[headers[0][0].decode()]
    assert read == 0 or (b"expect", b"100-continue") not in headers


async def test_a_hundred_large_manifests_at_once(client: httpx.AsyncClient, stocked: str) -> None:
    raws = [sized(300_000 + number) for number in range(100)]
    answers = await asyncio.gather(*(put_manifest(client, stocked, raw, f"t{len(raw)}") for raw in raws))
    assert {answer.status_code for answer in answers} == {201}


# -- T10: what it names -----------------------------------------------------------------------------------


async def test_all_that_is_missing_is_listed(client: httpx.AsyncClient, stocked: str) -> None:
    missing = [blob(10, seed) for seed in range(30)]
    raw = image(descriptor(b"no config"), [*map(descriptor, missing), descriptor(LAYER)])
    answer = await put_manifest(client, stocked, raw, "tag")
    assert_error(answer, 400, "MANIFEST_BLOB_UNKNOWN", "push it first")
    assert {error["detail"]["digest"] for error in answer.json()["errors"]} == {
        digest(b"no config"),
        *map(digest, missing),
    }


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (
            image(descriptor(CONFIG), [descriptor(LAYER) | {"size": 5}]),
            "has 2048 bytes here, the manifest says 5",
        ),
        (image(descriptor(b"only elsewhere"), []), "push it first"),
        (image(descriptor(CONFIG), [descriptor(LAYER, algorithm="sha512")]), "push it first"),
        (image(descriptor(CONFIG), [descriptor(LAYER) | {"digest": "blake3:abc"}]), "push it first"),
        (index([descriptor(b"no child", OCI_IMAGE)]), "push it first"),
        (index([descriptor(plain(annotations={"only": "elsewhere"}), OCI_IMAGE)]), "push it first"),
        (
            image(descriptor(CONFIG, FOREIGN), [descriptor(b"absent", OCI_LAYER, urls=["https://e.org/"])]),
            "push it",
        ),
        (image(descriptor(b"absent", FOREIGN), []), "push it first"),
    ],
)
async def test_what_is_not_here_as_named(
    client: httpx.AsyncClient, stocked: str, raw: bytes, says: str
) -> None:
    await push_blob(client, f"{stocked}/b", b"only elsewhere")
    await push_manifest(client, "own/elsewhere", index(), "x")
    for data in (CONFIG, LAYER):
        await push_blob(client, "own/elsewhere", data)
    await push_manifest(client, "own/elsewhere", plain(annotations={"only": "elsewhere"}))
    assert_error(await put_manifest(client, stocked, raw, "tag"), 400, "MANIFEST_BLOB_UNKNOWN", says)
    await check(client, Row("GET", f"/v2/{stocked}/manifests/tag", 404, "MANIFEST_UNKNOWN"))
    await check(client, Row("GET", f"/v2/{stocked}/manifests/{digest(raw)}", 404, "MANIFEST_UNKNOWN"))


@pytest.mark.parametrize("media_type", [FOREIGN, NONDISTRIBUTABLE])
async def test_foreign_layers_may_be_absent(client: httpx.AsyncClient, stocked: str, media_type: str) -> None:
    """T31: and what they point to is never fetched."""
    layer = descriptor(b"somewhere else", media_type, urls=["http://127.0.0.1:1/never"])
    raw = image(descriptor(CONFIG, OCI_CONFIG), [layer, descriptor(LAYER)])
    await push_manifest(client, stocked, raw, "tag")
    await check(client, Row("GET", f"/v2/{stocked}/manifests/tag", 200, holds=raw))
    await check(client, Row("GET", f"/v2/{stocked}/blobs/{layer['digest']}", 404, "BLOB_UNKNOWN"))


async def test_a_subject_may_be_absent(client: httpx.AsyncClient, stocked: str) -> None:
    for absent in (descriptor(b"absent", OCI_IMAGE), {**descriptor(b"x", OCI_IMAGE), "digest": "blake3:abc"}):
        pushed = await push_manifest(client, stocked, plain(subject=absent))
        assert pushed.headers["OCI-Subject"] == absent["digest"]


async def test_buildkits_cache_index(client: httpx.AsyncClient, stocked: str) -> None:
    """Its children are blobs, its config is one of them."""
    raw = index([descriptor(LAYER), descriptor(CONFIG, CACHE_CONFIG)])
    await push_manifest(client, stocked, raw, "cache")
    await check(client, Row("GET", f"/v2/{stocked}/manifests/cache", 200, holds=raw))
    await check(client, Row("DELETE", f"/v2/{stocked}/blobs/{digest(LAYER)}", 405, "UNSUPPORTED"))


async def test_sparse_takes_what_is_absent(store: Store, repository: str) -> None:
    raws = (
        image(descriptor(b"absent", OCI_CONFIG), [descriptor(b"absent too")]),
        index([descriptor(b"no child", OCI_IMAGE)]),
        image(descriptor(b"absent", OCI_CONFIG), [{**descriptor(b"x"), "digest": "blake3:abc"}]),
    )
    async with connect(store, sparse=True) as client:
        for raw in raws:
            await push_manifest(client, repository, raw, "tag")
            await check(client, Row("GET", f"/v2/{repository}/manifests/tag", 200, holds=raw))
        await check(client, Row("GET", f"/v2/{repository}/blobs/{digest(b'absent')}", 404, "BLOB_UNKNOWN"))
        # A part that is pushed later, and taken away again although it is named.
        await push_blob(client, repository, b"absent")
        await check(client, Row("DELETE", f"/v2/{repository}/blobs/{digest(b'absent')}", 202))
    async with connect(store) as strict:
        refused = await put_manifest(strict, repository, image(descriptor(b"absent", OCI_CONFIG)), "tag")
        assert_error(refused, 400, "MANIFEST_BLOB_UNKNOWN")


async def test_a_graph_of_many_levels(client: httpx.AsyncClient, repository: str) -> None:
    """T37: thirty levels, each naming the one below twice."""
    raw = index(annotations={"level": "0"})
    await push_manifest(client, repository, raw)
    for level in range(1, 31):
        below = descriptor(raw, OCI_INDEX)
        raw = index([below, {**below, "annotations": {"again": "yes"}}], annotations={"level": str(level)})
        await push_manifest(client, repository, raw, "top")
    await check(client, Row("GET", f"/v2/{repository}/manifests/top", 200, holds=raw))
    await check(client, Row("DELETE", f"/v2/{repository}/manifests/{digest(raw)}", 202))


# -- tags -------------------------------------------------------------------------------------------------


async def test_a_tag_moves_between_types(client: httpx.AsyncClient, stocked: str) -> None:
    oci = plain()
    await push_manifest(client, stocked, oci)
    types = (
        (oci, OCI_IMAGE),
        (plain(DOCKER_IMAGE), DOCKER_IMAGE),
        (index([descriptor(oci, OCI_IMAGE)]), OCI_INDEX),
        (index([descriptor(oci, OCI_IMAGE)], media_type=DOCKER_INDEX), DOCKER_INDEX),
        (oci, OCI_IMAGE),
    )
    for raw, media_type in types:
        await push_manifest(client, stocked, raw, "moving")
        row = Row(
            "GET", f"/v2/{stocked}/manifests/moving", 200, expect={"Content-Type": media_type}, holds=raw
        )
        await check(client, row)
    for raw, _ in types:
        await check(client, Row("GET", f"/v2/{stocked}/manifests/{digest(raw)}", 200, holds=raw))


@pytest.mark.parametrize("count", [0, 1, 10, 11, 100])
async def test_many_tags_at_once(client: httpx.AsyncClient, stocked: str, count: int) -> None:
    tags = [f"t{number}" for number in range(count)]
    pushed = await push_manifest(client, stocked, plain(), "first", *tags)
    assert pushed.headers.get("OCI-Tag", "") == ", ".join(tags)
    listed = (await client.get(f"/v2/{stocked}/tags/list")).json()["tags"]
    assert listed == sorted(["first", *tags])


async def test_more_tags_than_that(client: httpx.AsyncClient, stocked: str) -> None:
    tags = [f"t{number}" for number in range(101)]
    answer = await put_manifest(client, stocked, plain(), "first", *tags)
    assert_error(answer, 414, "UNSUPPORTED", "101 tag parameters", "100 are allowed")
    assert (await client.get(f"/v2/{stocked}/tags/list")).json()["tags"] == []


async def test_one_bad_tag_moves_none(client: httpx.AsyncClient, stocked: str) -> None:
    for bad in ("", "-x", "a" * 129, "a/b", "a b", "a\n"):
        answer = await put_manifest(client, stocked, plain(), "good", "fine", bad)
        assert_error(answer, 400, "MANIFEST_INVALID", "is not a tag")
    assert (await client.get(f"/v2/{stocked}/tags/list")).json()["tags"] == []


async def test_a_tag_named_twice(client: httpx.AsyncClient, stocked: str) -> None:
    await push_manifest(client, stocked, plain(), "same", "same", "same")
    assert (await client.get(f"/v2/{stocked}/tags/list")).json()["tags"] == ["same"]


# -- deletes ----------------------------------------------------------------------------------------------


async def test_a_deleted_tag_leaves_its_manifest(client: httpx.AsyncClient, stocked: str) -> None:
    await push_manifest(client, stocked, plain(), "one", "two")
    await check(client, Row("DELETE", f"/v2/{stocked}/manifests/one", 202))
    await check(client, Row("GET", f"/v2/{stocked}/manifests/one", 404, "MANIFEST_UNKNOWN"))
    for left in ("two", digest(plain())):
        await check(client, Row("GET", f"/v2/{stocked}/manifests/{left}", 200, holds=plain()))


async def test_a_deleted_manifest_takes_its_tags_along(client: httpx.AsyncClient, stocked: str) -> None:
    await push_manifest(client, stocked, plain(), "one", "two")
    await push_manifest(client, stocked, plain(DOCKER_IMAGE), "other")
    await check(client, Row("DELETE", f"/v2/{stocked}/manifests/{digest(plain())}", 202))
    for gone in ("one", "two", digest(plain())):
        await check(client, Row("GET", f"/v2/{stocked}/manifests/{gone}", 404, "MANIFEST_UNKNOWN"))
    assert (await client.get(f"/v2/{stocked}/tags/list")).json()["tags"] == ["other"]
    await check(client, Row("DELETE", f"/v2/{stocked}/manifests/{digest(plain())}", 404, "MANIFEST_UNKNOWN"))


async def test_a_child_stays_while_its_index_does(client: httpx.AsyncClient, stocked: str) -> None:
    await push_manifest(client, stocked, plain(), "child")
    outer = index([descriptor(plain(), OCI_IMAGE)])
    await push_manifest(client, stocked, outer, "all")
    target = f"/v2/{stocked}/manifests/{digest(plain())}"
    refused = Row(
        "DELETE", target, 405, "UNSUPPORTED", says=(digest(outer),), expect={"Allow": "GET, HEAD, PUT"}
    )
    await check(client, refused)
    await check(client, Row("GET", f"/v2/{stocked}/manifests/child", 200))
    await check(client, Row("DELETE", f"/v2/{stocked}/manifests/{digest(outer)}", 202))
    await check(client, Row("DELETE", target, 202))


async def test_an_emptied_repository_is_gone(client: httpx.AsyncClient, repository: str) -> None:
    await push_manifest(client, repository, index(), "tag")
    await check(client, Row("DELETE", f"/v2/{repository}/manifests/tag", 202))
    await check(client, Row("GET", f"/v2/{repository}/tags/list", 200))
    await check(client, Row("DELETE", f"/v2/{repository}/manifests/{digest(index())}", 202))
    await check(client, Row("GET", f"/v2/{repository}/tags/list", 404, "NAME_UNKNOWN"))
    assert repository not in (await client.get("/v2/_catalog")).json()["repositories"]


async def test_repositories_do_not_share_manifests(client: httpx.AsyncClient, repository: str) -> None:
    raw = await push_image(client, repository, "tag", 1)
    assert raw == await push_image(client, f"{repository}/b", "tag", 1)
    await check(client, Row("DELETE", f"/v2/{repository}/manifests/{digest(raw)}", 202))
    await check(client, Row("GET", f"/v2/{repository}/b/manifests/tag", 200, holds=raw))


@pytest.mark.parametrize("damage", ["shorter", "other bytes", "gone"])
async def test_a_damaged_manifest_is_absent_until_it_is_pushed_again(
    client: httpx.AsyncClient, store: Store, stocked: str, damage: str
) -> None:
    raw = plain(annotations={"damage": damage})
    await push_manifest(client, stocked, raw, "tag")
    path = store.layout.blob(Digest.of(raw))
    os.unlink(path)
    if damage != "gone":
        with open(path, "wb") as file:
            file.write(raw[:-1] if damage == "shorter" else b"!" * len(raw))
    for reference in ("tag", digest(raw)):
        await check(client, Row("GET", f"/v2/{stocked}/manifests/{reference}", 404, "MANIFEST_UNKNOWN"))
        await check(client, Row("HEAD", f"/v2/{stocked}/manifests/{reference}", 404))
    await push_manifest(client, stocked, raw)
    await check(client, Row("GET", f"/v2/{stocked}/manifests/tag", 200, holds=raw))
