"""Every route and method: what it answers, what HEAD answers beside GET, what is refused."""

import httpx
import pytest

from registry.api import routes
from tests.api.rows import Row, assert_closed, check
from tests.api.world import CONFIG, IMAGE, LAYER, REPOSITORY, SPARE, WIDE, World, begin, digest
from tests.builders import DOCKER_IMAGE, OCI_CONFIG, OCI_IMAGE, OCI_INDEX, descriptor, image

NEW = image(descriptor(CONFIG, OCI_CONFIG), [descriptor(LAYER)], annotations={"pushed": "by this table"})
UPLOAD = "/v2/{repo}/blobs/uploads/{upload}"
SESSION = {"Location": UPLOAD, "Range": "0-3", "Docker-Upload-UUID": "{upload}"}
FOREVER = "max-age=31536000, immutable"

READS = (
    Row("GET", "/v2/", 200, expect={"Docker-Distribution-API-Version": "registry/2.0"}, holds=b"{}"),
    Row("GET", "/v2", 200, expect={"Content-Type": "application/json", "Location": None}, holds=b"{}"),
    Row("GET", "/v2/?unknown=parameter&ns=example.org", 200),
    Row("GET", "/v2/_catalog", 200, expect={"Content-Type": "application/json", "Link": None}),
    Row(
        "GET",
        "/v2/{repo}/tags/list",
        200,
        expect={"Content-Type": "application/json", "Link": None},
        holds=b'{"name": "team/app", "tags": ["all", "docker", "latest", "wide"]}',
    ),
    Row(
        "GET",
        "/v2/{repo}/tags/list?n=1",
        200,
        expect={"Link": '</v2/{repo}/tags/list?last=all&n=1>; rel="next"'},
    ),
    Row("GET", "/v2/team/none/tags/list", 404, "NAME_UNKNOWN", says=("team/none",)),
    Row(
        "GET",
        "/v2/{repo}/blobs/{layer}",
        200,
        expect={
            "Content-Type": "application/octet-stream",
            "Content-Length": str(len(LAYER)),
            "Docker-Content-Digest": "{layer}",
            "ETag": '"{layer}"',
            "Accept-Ranges": "bytes",
            "Cache-Control": FOREVER,
            "Content-Encoding": None,
        },
        holds=LAYER,
    ),
    Row(
        "GET",
        "/v2/{repo}/blobs/{wide_spare}",
        200,
        expect={"Docker-Content-Digest": "{wide_spare}", "ETag": '"{wide_spare}"'},
        holds=SPARE,
    ),
    Row("GET", "/v2/{repo}/blobs/{absent}", 404, "BLOB_UNKNOWN", says=("{absent}",)),
    # Manifests are not blobs of the repository, and blobs are no manifests.
    Row("GET", "/v2/{repo}/blobs/{image}", 404, "BLOB_UNKNOWN"),
    Row("GET", "/v2/{repo}/manifests/{layer}", 404, "MANIFEST_UNKNOWN"),
    Row(
        "GET",
        "/v2/{repo}/manifests/latest",
        200,
        expect={
            "Content-Type": OCI_IMAGE,
            "Content-Length": str(len(IMAGE)),
            "Docker-Content-Digest": "{image}",
            "ETag": '"{image}"',
            "Cache-Control": "no-cache",
        },
        holds=IMAGE,
    ),
    Row("GET", "/v2/{repo}/manifests/{image}", 200, expect={"Cache-Control": FOREVER}, holds=IMAGE),
    Row("GET", "/v2/{repo}/manifests/docker", 200, expect={"Content-Type": DOCKER_IMAGE}),
    Row("GET", "/v2/{repo}/manifests/all", 200, expect={"Content-Type": OCI_INDEX}),
    Row(
        "GET",
        "/v2/{repo}/manifests/wide",
        200,
        expect={"Content-Type": OCI_INDEX, "Docker-Content-Digest": "{wide}", "ETag": '"{wide}"'},
        holds=WIDE,
    ),
    Row("GET", "/v2/{repo}/manifests/{wide}", 200, holds=WIDE),
    Row("GET", "/v2/{repo}/manifests/none", 404, "MANIFEST_UNKNOWN", says=("none",)),
    Row("GET", "/v2/{repo}/manifests/{absent}", 404, "MANIFEST_UNKNOWN", says=("{absent}",)),
    Row("GET", "/v2/team/none/manifests/latest", 404, "MANIFEST_UNKNOWN"),
    Row(
        "GET",
        "/v2/{repo}/referrers/{image}",
        200,
        expect={"Content-Type": OCI_INDEX, "OCI-Filters-Applied": None},
    ),
    Row(
        "GET",
        "/v2/{repo}/referrers/{image}?artifactType=application/x.none",
        200,
        expect={"Content-Type": OCI_INDEX, "OCI-Filters-Applied": "artifactType"},
        holds=f'{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[]}}'.encode(),
    ),
    Row("GET", "/v2/team/none/referrers/{absent}", 200, expect={"Content-Type": OCI_INDEX}),
    Row("GET", UPLOAD, 204, expect={**SESSION, "Content-Length": None}),
    Row(
        "GET",
        "/v2/{repo}/blobs/uploads/{nowhere}",
        404,
        "BLOB_UPLOAD_UNKNOWN",
        says=("{nowhere}", "begin a new"),
    ),
)

WRITES = (
    Row("POST", "/v2/{repo}/blobs/uploads/", 202, expect={"Range": "0-0"}),
    Row("POST", "/v2/{repo}/blobs/uploads", 202),
    Row(
        "POST",
        "/v2/{repo}/blobs/uploads/?digest={layer}",
        201,
        body=LAYER,
        expect={"Location": "/v2/{repo}/blobs/{layer}", "Docker-Content-Digest": "{layer}"},
    ),
    Row("PATCH", UPLOAD, 202, body=b"more", expect={**SESSION, "Range": "0-7"}),
    Row(
        "PUT",
        UPLOAD + "?digest=" + digest(b"fourmore!"),
        201,
        body=b"!",
        expect={"Location": "/v2/{repo}/blobs/" + digest(b"fourmore!")},
    ),
    Row("DELETE", UPLOAD, 404, "BLOB_UPLOAD_UNKNOWN"),
    Row(
        "PUT",
        "/v2/{repo}/manifests/new?tag=newer&tag=newest",
        201,
        body=NEW,
        send={"Content-Type": f"{OCI_IMAGE}; charset=utf-8"},
        expect={
            "Location": "/v2/{repo}/manifests/" + digest(NEW),
            "Docker-Content-Digest": digest(NEW),
            "OCI-Tag": "newer, newest",
            "OCI-Subject": None,
        },
    ),
    Row("DELETE", "/v2/{repo}/manifests/new", 202, expect={"Content-Length": "0"}),
    Row("DELETE", "/v2/{repo}/manifests/new", 404, "MANIFEST_UNKNOWN"),
    Row("DELETE", "/v2/{repo}/manifests/" + digest(NEW), 202),
    Row("GET", "/v2/{repo}/manifests/newest", 404, "MANIFEST_UNKNOWN"),
    Row("DELETE", "/v2/{repo}/blobs/" + digest(b"fourmore!"), 202),
    Row("DELETE", "/v2/{repo}/blobs/" + digest(b"fourmore!"), 404, "BLOB_UNKNOWN"),
)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PURGE")


@pytest.mark.parametrize("row", READS, ids=str)
async def test_reads(client: httpx.AsyncClient, world: World, row: Row) -> None:
    await check(client, row, **world.named())


@pytest.mark.parametrize("row", READS, ids=str)
async def test_head_mirrors_get(client: httpx.AsyncClient, world: World, row: Row) -> None:
    target = row.target.format(**world.named())
    got, head = await client.get(target), await client.head(target)
    assert head.status_code == got.status_code
    assert head.content == b""
    for answer in (got, head):
        assert_closed(answer.headers)
        del answer.headers["X-Request-Id"]
        if answer.status_code == 404:
            del answer.headers["Content-Length"]  # of another message: it names the id
    assert dict(head.headers) == dict(got.headers)


async def test_writes_in_turn(client: httpx.AsyncClient, world: World) -> None:
    upload = await begin(client, REPOSITORY, b"four")
    for row in WRITES:
        await check(client, row, **{**world.named(), "upload": upload})
    cancelled = await begin(client, REPOSITORY)
    await check(
        client, Row("DELETE", UPLOAD, 204, expect={"Content-Length": None}), repo=REPOSITORY, upload=cancelled
    )


def test_no_route_is_left_out(world: World) -> None:
    asked = set()
    for row in (*READS, *WRITES, Row("DELETE", UPLOAD, 204)):
        found = routes.match(row.target.format(**world.named()).partition("?")[0])
        assert found is not None
        asked.add((found[0].pattern.pattern, row.method))
    asked |= {(pattern, "HEAD") for pattern, method in asked if method == "GET"}
    assert asked == {(route.pattern.pattern, method) for route in routes.ROUTES for method in route.methods}


PLACES = (
    ("/v2/", "GET, HEAD"),
    ("/v2/_catalog", "GET, HEAD"),
    ("/v2/{repo}/tags/list", "GET, HEAD"),
    ("/v2/{repo}/referrers/{image}", "GET, HEAD"),
    ("/v2/{repo}/blobs/uploads/", "POST"),
    (UPLOAD, "GET, HEAD, PATCH, PUT, DELETE"),
    ("/v2/{repo}/blobs/{layer}", "GET, HEAD, DELETE"),
    ("/v2/{repo}/manifests/latest", "GET, HEAD, PUT, DELETE"),
)


REFUSED = [
    Row(method, path, 405, "UNSUPPORTED", expect={"Allow": allow}, says=(method,))
    for path, allow in PLACES
    for method in METHODS
    if method not in allow.split(", ")
]


@pytest.mark.parametrize("row", REFUSED, ids=str)
async def test_other_methods(client: httpx.AsyncClient, world: World, row: Row) -> None:
    await check(client, row, **world.named())


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1/",
        "/v1/search?q=x",
        "/V2/",
        "/v2//",
        "/v3/",
        "/v2/team/app",
        "/v2/tags/list",
        "/v2/manifests/latest",
        "/v2/team/app/tags",
        "/v2/team/app/tags/list/",
        "/v2/team/app/tags/none",
        "/v2/team/app/blobs/",
        "/v2/team/app/manifests/",
        "/v2/team/app/referrers/",
        "/v2/team/app/blobs/uploads//x",
        "/favicon.ico",
        "/metrics",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
async def test_unknown_paths(client: httpx.AsyncClient, method: str, path: str) -> None:
    await check(client, Row(method, path, 404, "UNSUPPORTED", says=("/v2/",)))


@pytest.mark.parametrize("accept", ["application/json", "text/html", "*/*;q=0", "application/x.none", ""])
async def test_accept_chooses_nothing(client: httpx.AsyncClient, world: World, accept: str) -> None:
    for target, media_type in (("docker", DOCKER_IMAGE), ("latest", OCI_IMAGE), ("all", OCI_INDEX)):
        row = Row(
            "GET",
            f"/v2/{REPOSITORY}/manifests/{target}",
            200,
            send={"Accept": accept},
            expect={"Content-Type": media_type},
        )
        await check(client, row)


async def test_nothing_is_compressed(client: httpx.AsyncClient, world: World) -> None:
    for path in (f"blobs/{digest(LAYER)}", "manifests/latest", "tags/list"):
        row = Row(
            "GET",
            f"/v2/{REPOSITORY}/{path}",
            200,
            send={"Accept-Encoding": "gzip, zstd"},
            expect={"Content-Encoding": None},
        )
        await check(client, row)
