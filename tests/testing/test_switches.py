"""Every switch: what a client sees of it, and that it sees something else without it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from registry.settings import Settings
from registry.testing.profiles import SWITCHES, parse
from registry.testing.switches.table import OBJECTS, switches_of
from tests.api.world import CONFIG, IMAGE, LAYER, REFERRER, SPARE, digest
from tests.builders import DOCKER_IMAGE, OCI_CONFIG, OCI_IMAGE, OCI_INDEX, descriptor, image
from tests.testing.profiled import profile_of, profiled

pytestmark = pytest.mark.anyio

NEW = image(descriptor(CONFIG, OCI_CONFIG), annotations={"not": "pushed yet"})


@dataclass(frozen=True, slots=True)
class Seen:
    """`headers` that are absent are None; a value that ends with * begins so. `holds` is JSON or bytes."""

    status: int
    headers: Mapping[str, str | None] = field(default_factory=dict)
    holds: object = None


@dataclass(frozen=True, slots=True)
class Case:
    switch: str
    value: object
    request: str  # METHOD TARGET
    normal: Seen | None  # None: what it does can be done once only
    switched: Seen
    send: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def __str__(self) -> str:
        return f"{self.switch}={self.value}: {self.request}"


UPLOADS = "POST /v2/team/other/blobs/uploads/"
SESSION = "/v2/team/app/blobs/uploads/{upload}"
BLOB = "/v2/team/app/blobs/{layer}"
PUT_NEW = f"PUT /v2/team/app/manifests/{digest(NEW)}"
CHUNK = {"Content-Range": "4-13", "Content-Length": "10"}
OCI = {"Content-Type": OCI_IMAGE}

CASES = [
    Case(
        "referrers",
        False,
        "GET /v2/team/app/referrers/{image}",
        Seen(200, {"content-type": OCI_INDEX}),
        Seen(404, holds=b"404 page not found\n"),
    ),
    Case(
        "referrers",
        False,
        f"PUT /v2/team/app/manifests/{digest(REFERRER)}",
        Seen(201, {"oci-subject": digest(IMAGE)}),
        Seen(201, {"oci-subject": None, "docker-content-digest": digest(REFERRER)}),
        OCI,
        REFERRER,
    ),
    Case(
        "referrers_filter",
        False,
        "GET /v2/team/app/referrers/{image}?artifactType=application/other",
        Seen(200, {"oci-filters-applied": "artifactType"}, ("manifests", 0)),
        Seen(200, {"oci-filters-applied": None}, ("manifests", 1)),
    ),
    Case(
        "single_post",
        False,
        f"{UPLOADS}?digest={digest(b'new')}",
        Seen(201, {"location": "/v2/team/other/blobs/*"}),
        Seen(202, {"location": "/v2/team/other/blobs/uploads/*", "range": "0-0"}),
        body=b"new",
    ),
    Case(
        "mount",
        False,
        UPLOADS + "?mount={layer}&from=team/app",
        Seen(201, {"location": "/v2/team/other/blobs/sha256:*"}),
        Seen(202, {"location": "/v2/team/other/blobs/uploads/*"}),
    ),
    Case(
        "anonymous_mount",
        False,
        UPLOADS + "?mount={layer}",
        Seen(201),
        Seen(202, {"location": "/v2/team/other/blobs/uploads/*"}),
    ),
    Case("anonymous_mount", False, UPLOADS + "?mount={layer}&from=team/app", Seen(201), Seen(201)),
    Case("chunks", False, "PATCH " + SESSION, Seen(202), Seen(400), CHUNK, b"0123456789"),
    Case("chunks", False, "PATCH " + SESSION, Seen(202), Seen(202), {}, b"0123456789"),
    Case("chunk_maximum", 9, "PATCH " + SESSION, Seen(202), Seen(416), CHUNK, b"0123456789"),
    Case("chunk_maximum", 10, "PATCH " + SESSION, None, Seen(202), CHUNK, b"0123456789"),
    Case("chunk_maximum", 9, "PATCH " + SESSION, Seen(202), Seen(202), {}, b"0123456789"),
    Case(
        "chunk_minimum",
        5,
        UPLOADS,
        Seen(202, {"oci-chunk-min-length": None}),
        Seen(202, {"oci-chunk-min-length": "5"}),
    ),
    Case("upload_cancel", False, "DELETE " + SESSION, Seen(204), Seen(405)),
    Case("sha512", False, "HEAD /v2/team/app/blobs/{wide_spare}", Seen(200), Seen(400)),
    Case("sha512", False, "GET /v2/team/app/manifests/{wide}", Seen(200), Seen(400)),
    Case(
        "sha512",
        False,
        f"{UPLOADS}?digest={digest(b'new', 'sha512')}",
        Seen(201),
        Seen(400),
        body=b"new",
    ),
    Case(
        "ranges",
        False,
        "GET " + BLOB,
        Seen(206, {"content-range": f"bytes 0-3/{len(LAYER)}"}, LAYER[:4]),
        Seen(200, {"content-range": None, "accept-ranges": None}, LAYER),
        {"Range": "bytes=0-3"},
    ),
    Case(
        "paging",
        False,
        "GET /v2/team/app/tags/list?n=1&last=docker",
        Seen(200, {"link": "</v2/*"}, ("tags", 1)),
        Seen(200, {"link": None}, ("tags", 4)),
    ),
    Case(
        "page_cap",
        2,
        "GET /v2/team/app/tags/list?n=3",
        Seen(200, {"link": "</v2/*"}, ("tags", 3)),
        Seen(200, {"link": "</v2/*"}, ("tags", 2)),
    ),
    Case("page_cap", 2, "GET /v2/team/app/tags/list", Seen(200), Seen(200, {}, ("tags", 2))),
    Case("page_cap", 2, "GET /v2/team/app/tags/list?n=1", Seen(200), Seen(200, {}, ("tags", 1))),
    Case("page_refused", 2, "GET /v2/team/app/tags/list?n=3", Seen(200), Seen(405)),
    Case("page_refused", 2, f"GET /v2/team/app/tags/list?n={'9' * 5000}", Seen(400), Seen(405)),
    Case("page_cap", 2, f"GET /v2/team/app/tags/list?n={'9' * 5000}", Seen(400), Seen(200, {}, ("tags", 2))),
    Case("page_refused", 2, "GET /v2/team/app/tags/list?n=2", Seen(200), Seen(200, {}, ("tags", 2))),
    Case(
        "link",
        False,
        "GET /v2/team/app/tags/list?n=1",
        Seen(200, {"link": "</v2/*"}),
        Seen(200, {"link": None}, ("tags", 1)),
    ),
    Case("catalog", False, "GET /v2/_catalog", Seen(200), Seen(404)),
    Case(
        "locations",
        "absolute",
        UPLOADS,
        Seen(202, {"location": "/v2/*"}),
        Seen(202, {"location": "http://registry.test/v2/team/other/blobs/uploads/*"}),
    ),
    Case(
        "redirects",
        True,
        "GET " + BLOB,
        Seen(200, {"location": None}, LAYER),
        Seen(307, {"location": "http://127.0.0.1/_content/*"}, b""),
    ),
    Case(
        "redirects",
        True,
        "GET /v2/team/app/blobs/{absent}",
        Seen(404, {}, ("errors", 1)),
        Seen(404, {}, ("errors", 1)),
    ),
    Case(
        "digest_header",
        False,
        "HEAD /v2/team/app/manifests/{image}",
        Seen(200, {"docker-content-digest": digest(IMAGE)}),
        Seen(200, {"docker-content-digest": None}),
    ),
    Case("tag_delete", 400, "DELETE /v2/team/app/manifests/latest", Seen(202), Seen(400)),
    Case("tag_delete", False, "DELETE /v2/team/app/manifests/{referrer}", None, Seen(202)),
    Case("manifest_delete", False, "DELETE /v2/team/app/manifests/{referrer}", Seen(202), Seen(405)),
    Case("manifest_delete", 404, "DELETE /v2/team/app/manifests/{referrer}", Seen(202), Seen(404)),
    Case("blob_delete", 403, "DELETE /v2/team/app/blobs/{spare}", Seen(202), Seen(403)),
    Case(
        "manifest_cap", len(NEW), f"PUT /v2/team/app/manifests/{digest(NEW)}", Seen(201), Seen(201), OCI, NEW
    ),
    Case(
        "manifest_cap",
        len(NEW) - 1,
        PUT_NEW,
        Seen(201),
        Seen(413),
        OCI,
        NEW,
    ),
    Case(
        "media_types", "docker", f"PUT /v2/team/app/manifests/{digest(NEW)}", Seen(201), Seen(400), OCI, NEW
    ),
    Case(
        "accept",
        "strict",
        "GET /v2/team/app/manifests/{image}",
        Seen(200, {"content-type": OCI_IMAGE}),
        Seen(404),
        {"Accept": f"{DOCKER_IMAGE}, */*"},
    ),
    Case(
        "accept",
        "strict",
        "HEAD /v2/team/app/manifests/{image}",
        Seen(200),
        Seen(200),
        {"Accept": f"{DOCKER_IMAGE},{OCI_IMAGE};q=0.5"},
    ),
    Case("accept", "strict", "GET /v2/team/app/manifests/{docker}", Seen(200), Seen(200)),
    Case(
        "tag_parameters",
        False,
        f"PUT /v2/team/app/manifests/{digest(NEW)}?tag=a&tag=b",
        Seen(201, {"oci-tag": "a, b"}),
        Seen(201, {"oci-tag": None}),
        OCI,
        NEW,
    ),
]
ELSEWHERE = {"challenge", "chunk_status", "pull_limit"}  # have a test of their own below


def hold(response: httpx.Response, seen: Seen) -> None:
    assert response.status_code == seen.status, response.text[:300]
    for name, value in seen.headers.items():
        found = response.headers.get(name)
        if value is not None and value.endswith("*"):
            assert found is not None
            assert found.startswith(value[:-1]), found
        else:
            assert found == value, name
    match seen.holds:
        case (str(key), int(count)):
            assert len(json.loads(response.content)[key]) == count, response.text
        case bytes(content):
            assert response.content == content


async def send(client: httpx.AsyncClient, case: Case, names: Mapping[str, str]) -> httpx.Response:
    method, target = case.request.format(**names).split(" ")
    return await client.request(method, target, headers=dict(case.send), content=case.body)


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_a_switch_is_seen(case: Case, tmp_path: Path) -> None:
    async with profiled(tmp_path, profile_of(**{case.switch: case.value})) as place:
        hold(await send(place.client, case, place.world.named()), case.switched)
        if case.normal:
            hold(await send(place.plain, case, place.world.named()), case.normal)


def test_every_switch_has_an_object_and_a_test() -> None:
    assert set(OBJECTS) == set(SWITCHES)
    different = {case.switch for case in CASES if case.normal not in (None, case.switched)}
    assert different | ELSEWHERE == set(SWITCHES)


@pytest.mark.parametrize("name", SWITCHES)
async def test_the_normal_value_changes_nothing(name: str) -> None:
    written: dict[str, Any] = {"tag_delete": True, "manifest_delete": True, "blob_delete": True}
    normal = written.get(name, SWITCHES[name].normal)
    if normal is None:
        assert name == "pull_limit"
        return
    assert switches_of(profile_of(**{name: normal})) == []


async def test_only_the_last_chunk_may_be_short(tmp_path: Path) -> None:
    async with profiled(tmp_path, profile_of(chunk_minimum=4)) as place:

        async def push(*chunks: bytes) -> int:
            location = (await place.client.post("/v2/a/blobs/uploads/")).headers["location"]
            start = 0
            for chunk in chunks:
                span = {"Content-Range": f"{start}-{start + len(chunk) - 1}"}
                answer = await place.client.patch(location, content=chunk, headers=span)
                start += len(chunk)
            return answer.status_code

        assert await push(b"0123", b"45") == 202
        assert await push(b"01", b"2345") == 400
        assert await push(b"01234567") == 202


async def test_a_chunk_that_is_taken_is_answered_as_the_profile_says(tmp_path: Path) -> None:
    async with profiled(tmp_path, profile_of(chunk_status=201)) as place:

        async def push(client: httpx.AsyncClient) -> list[tuple[int, str | None]]:
            location = (await client.post("/v2/a/blobs/uploads/")).headers["location"]
            sent = (("0123", "0-3"), ("45", "4-5"), ("67", "9-10"), ("67", ""))
            answers = [
                await client.patch(location, content=data, headers={"Content-Range": span} if span else {})
                for data, span in sent
            ]
            return [(each.status_code, each.headers.get("range")) for each in answers]

        assert await push(place.client) == [(201, "0-3"), (201, "0-5"), (416, "0-5"), (202, "0-7")]
        assert await push(place.plain) == [(202, "0-3"), (202, "0-5"), (416, "0-5"), (202, "0-7")]


async def test_a_redirect_leads_to_the_bytes_without_a_login_and_for_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with profiled(tmp_path, profile_of(redirects=True)) as place:
        target = f"/v2/team/app/blobs/{digest(LAYER)}"
        led = await place.client.get(target, headers={"Host": "localhost:5000"})
        assert led.headers["location"].startswith("http://127.0.0.1:5000/_content/")
        link = led.headers["location"]
        found = await place.client.get(link)
        assert (found.status_code, found.content) == (200, LAYER)
        assert not {"docker-content-digest", "etag"} & set(found.headers)
        part = await place.client.get(link, headers={"Range": "bytes=2-5"})
        assert (part.status_code, part.content) == (206, LAYER[2:6])
        twice = await place.client.get(link, headers={"Authorization": "Bearer something"})
        assert (twice.status_code, twice.text) == (400, "Only one auth mechanism allowed\n")
        assert (await place.client.get(link + "x")).status_code == 403
        assert (await place.client.head(target)).status_code == 200
        monkeypatch.setattr("registry.testing.switches.content.time.monotonic", lambda: 1e12)
        assert (await place.client.get(link)).status_code == 403


@pytest.mark.parametrize(
    ("host", "other"),
    [
        ("127.0.0.1:5000", "localhost:5000"),
        ("[::1]:5000", "localhost:5000"),
        ("localhost", "127.0.0.1"),
        ("registry.test:99999", "127.0.0.1:99999"),
    ],
)
async def test_a_redirect_leads_to_another_host_whatever_the_client_calls_ours(
    tmp_path: Path, host: str, other: str
) -> None:
    async with profiled(tmp_path, profile_of(redirects=True)) as place:
        led = await place.client.get(f"/v2/team/app/blobs/{digest(LAYER)}", headers={"Host": host})
        assert led.status_code == 307
        assert led.headers["location"].startswith(f"http://{other}/_content/")


async def test_a_redirect_is_for_who_may_read(tmp_path: Path) -> None:
    async with profiled(tmp_path, profile_of(redirects=True), anonymous="none") as place:
        assert (await place.client.get(f"/v2/team/app/blobs/{digest(LAYER)}")).status_code == 401


async def test_basic_is_all_that_there_is(tmp_path: Path) -> None:
    async with profiled(tmp_path, profile_of(challenge="basic"), anonymous="none") as place:
        refused = await place.client.get("/v2/")
        asked = refused.headers["www-authenticate"]
        assert (refused.status_code, asked) == (401, 'Basic realm="http://registry.test/",service="registry"')
        assert (await place.client.get("/token")).status_code == 404


async def test_pulls_are_counted_and_heads_are_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with profiled(tmp_path, profile_of(pull_limit="2/1h")) as place:
        target = "/v2/team/app/manifests/latest"
        seen = [
            await place.client.request(method, target) for method in ("HEAD", "GET", "GET", "HEAD", "GET")
        ]
        assert [each.status_code for each in seen] == [200, 200, 200, 200, 429]
        left = [each.headers["ratelimit-remaining"] for each in seen]
        assert left == [f"{count};w=3600" for count in (2, 1, 0, 0, 0)]
        assert {each.headers["ratelimit-limit"] for each in seen} == {"2;w=3600"}
        assert 0 < int(seen[-1].headers["retry-after"]) <= 3600
        assert (await place.client.get(f"/v2/team/app/blobs/{digest(SPARE)}")).status_code == 200


async def test_a_profile_brings_settings_along(tmp_path: Path) -> None:
    text = '[settings]\nimmutable_tags = ["*:la*"]\nrate = [{requests = "1/h", actions = ["delete"]}]\n'
    profile = parse("mine", text)
    assert Settings("/", **profile.settings).immutable_tags == ("*:la*",)
    async with profiled(tmp_path, profile) as place:
        content = await place.client.put("/v2/team/app/manifests/latest", content=NEW, headers=OCI)
        assert (content.status_code, content.json()["errors"][0]["code"]) == (403, "DENIED")
        targets = [f"/v2/team/app/blobs/{digest(SPARE)}", f"/v2/team/app/blobs/{digest(CONFIG)}"]
        assert [(await place.client.delete(each)).status_code for each in targets] == [202, 429]


async def test_a_chunked_manifest_is_measured_too(tmp_path: Path) -> None:
    async def pieces() -> Any:
        for place in range(0, len(NEW), 10):
            yield NEW[place : place + 10]

    for cap, status in ((len(NEW), 201), (len(NEW) - 1, 413)):
        async with profiled(tmp_path / str(cap), profile_of(manifest_cap=cap)) as place:
            target = f"/v2/team/app/manifests/{digest(NEW)}"
            answer = await place.client.put(target, content=pieces(), headers=OCI)
            assert answer.status_code == status
