"""What holds for every request: ids, headers, log lines, failures, and paths that try to be another's."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp

from registry.api import wire
from registry.api.access_log import AccessLog
from registry.api.gate import Gate
from registry.app import build
from registry.registry import Registry
from registry.settings import Settings
from storage.contracts import Names
from storage.store import Store
from tests.api.rows import Row, assert_closed, assert_error, assert_error_body, check
from tests.api.world import IMAGE, LAYER, REPOSITORY, World, digest, push_blob
from tests.builders import image
from tests.inprocess import ask, connect, connect_app

SHA = "sha256:" + "0" * 64


@pytest.fixture(scope="module")
def app(store: Store) -> ASGIApp:
    return build(store, Settings(root=store.layout.root))


def log_line(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    line: dict[str, Any] = json.loads(caplog.messages[-1])
    return line


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.INFO, "registry.access"):
        yield caplog


# -- ids and lines ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status", "more"),
    [
        ("GET", "/v2/", 200, {"bytes": 2}),
        ("GET", f"/v2/{REPOSITORY}/manifests/latest", 200, {"bytes": len(IMAGE)}),
        ("GET", f"/v2/{REPOSITORY}/blobs/{digest(LAYER)}", 200, {"bytes": len(LAYER)}),
        ("HEAD", f"/v2/{REPOSITORY}/blobs/{digest(LAYER)}", 200, {"bytes": 0}),
        ("GET", f"/v2/{REPOSITORY}/tags/list?n=1", 200, {"target": f"/v2/{REPOSITORY}/tags/list?n=1"}),
        ("GET", "/v2/none/tags/list", 404, {"code": "NAME_UNKNOWN", "error": "repository none is not here"}),
        ("POST", "/v2/", 405, {"code": "UNSUPPORTED"}),
        ("GET", "/none", 404, {"code": "UNSUPPORTED"}),
    ],
)
async def test_a_line_for_each_request(
    client: httpx.AsyncClient,
    world: World,
    log: pytest.LogCaptureFixture,
    method: str,
    path: str,
    status: int,
    more: dict[str, object],
) -> None:
    response = await client.request(method, path, headers={"User-Agent": "a test/1"})
    line = log_line(log)
    assert line["id"] == response.headers["X-Request-Id"]
    assert (line["method"], line["status"], line["agent"]) == (method, status, "a test/1")
    assert line["target"] == path
    assert line["remote"]
    assert 0 <= line["seconds"] < 60
    assert line.items() >= more.items()
    if status < 400:
        assert not {"code", "error"} & set(line)


async def test_ids_differ(client: httpx.AsyncClient) -> None:
    ids = {(await client.get("/v2/")).headers["X-Request-Id"] for _ in range(20)}
    assert len(ids) == 20


async def test_an_id_is_never_taken_from_the_client(client: httpx.AsyncClient) -> None:
    response = await client.get("/v2/", headers={"X-Request-Id": "mine"})
    assert response.headers["X-Request-Id"] != "mine"


async def test_the_log_can_be_switched_off(store: Store, log: pytest.LogCaptureFixture) -> None:
    async with connect(store, access_log=False) as client:
        assert_closed((await client.get("/v2/")).headers)
    assert not log.messages


@pytest.mark.parametrize(
    ("path", "agent"),
    [
        (b"/v2/a%0a%0d{/tags/list", b"x"),
        (b"/v2/a%1b[31m/tags/list", b"x"),
        (b"/v2/a\nforged/tags/list", b"x"),
        (b"/v2/\x1b[2J", b"\x1b]0;title\x07"),
        (b"/v2/", b'", "status": 200, "forged": "'),
        (b"/v2/", "é\u2028".encode()),
        (b"/v2/\xff\xfe", b"\xff\xfe\x80\x9b"),
    ],
)
async def test_lines_cannot_be_forged(
    app: ASGIApp, log: pytest.LogCaptureFixture, path: bytes, agent: bytes
) -> None:
    await ask(app, "GET", path, query=b"\x1b[1m&n=%0a", headers=[(b"user-agent", agent)])
    text = log.messages[-1]
    assert text.isascii()
    assert text.isprintable()
    line = log_line(log)
    assert line["agent"] == agent.decode("latin-1")
    assert "forged" not in line


async def test_credentials_are_not_logged(client: httpx.AsyncClient, log: pytest.LogCaptureFixture) -> None:
    await client.get("/v2/none/tags/list", headers={"Authorization": "Basic c2VjcmV0", "Cookie": "c2VjcmV0"})
    assert "c2VjcmV0" not in log.text


# -- failures ---------------------------------------------------------------------------------------------


class Broken:
    note_pulls = None  # looked up when a registry is made

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"secret of the inside: {name}")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"/v2/a/manifests/{SHA}"),
        ("HEAD", f"/v2/a/blobs/{SHA}"),
        ("GET", "/v2/_catalog"),
        ("PUT", "/v2/a/manifests/x"),
        ("DELETE", "/v2/a/manifests/x"),
        ("POST", "/v2/a/blobs/uploads/"),
    ],
)
async def test_an_unexpected_failure_tells_its_id_and_no_more(
    store: Store, log: pytest.LogCaptureFixture, method: str, path: str
) -> None:
    broken: Any = Broken()
    names = Names(broken, broken, broken, broken, broken, broken, store.names.generation)
    gate = Gate(Registry(names, store.blobs, store.uploads), log=AccessLog())
    async with connect_app(gate) as client:
        response = await client.request(method, path, content=image() if method == "PUT" else b"")
    request_id = response.headers["X-Request-Id"]
    assert response.status_code == 500
    assert_closed(response.headers)
    if method != "HEAD":
        assert_error(response, 500, "UNKNOWN", request_id)
        assert response.json()["errors"][0]["detail"] == {"id": request_id}
        assert "secret" not in response.text
        assert "Traceback" not in response.text
    line = log_line(log)
    assert (line["id"], line["status"], line["code"]) == (request_id, 500, "UNKNOWN")
    traced = [record for record in log.records if record.exc_info]
    assert [request_id in record.getMessage() for record in traced] == [True]


# -- what every request may try ---------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "identity, gzip", "br", "deflate", "zstd", "x" * 500])
@pytest.mark.parametrize(("method", "path"), [("PUT", "manifests/x"), ("POST", "blobs/uploads/")])
async def test_bodies_are_never_decompressed(
    client: httpx.AsyncClient, repository: str, method: str, path: str, encoding: str
) -> None:
    """T34."""
    row = Row(method, f"/v2/{repository}/{path}", 415, "UNSUPPORTED", {"Content-Encoding": encoding}, b"x")
    await check(client, row)
    await check(client, Row("GET", f"/v2/{repository}/tags/list", 404, "NAME_UNKNOWN"))


async def test_no_encoding_hides_behind_another(app: ASGIApp, repository: str) -> None:
    both = [(b"content-encoding", b"identity"), (b"content-encoding", b"gzip")]
    answer = await ask(app, "PUT", f"/v2/{repository}/manifests/x".encode(), headers=both)
    assert_error_body(answer.body, "UNSUPPORTED")
    assert answer.status == 415


async def test_identity_is_no_encoding(client: httpx.AsyncClient, repository: str) -> None:
    target = f"/v2/{repository}/blobs/uploads/?digest={digest(b'x')}"
    for encoding in ("identity", "Identity"):
        await check(client, Row("POST", target, 201, send={"Content-Encoding": encoding}, body=b"x"))


ORIGINS = [
    ("http://registry.test", 202),
    ("https://registry.test", 202),
    ("https://evil.example", 403),
    ("https://registry.test.evil.example", 403),
    ("https://evil.example/registry.test", 403),
    ("http://registry.test:81", 403),
    ("registry.test", 403),
    ("null", 403),
    ("", 403),
]


@pytest.mark.parametrize(("origin", "status"), ORIGINS)
async def test_pages_of_other_sites_write_nothing(
    client: httpx.AsyncClient, world: World, repository: str, origin: str, status: int
) -> None:
    """A browser sends a request of any page with its user's reach; it says whose page it is."""
    row = Row("POST", f"/v2/{repository}/blobs/uploads/", status, "DENIED", send={"Origin": origin})
    await check(client, row)
    await check(client, Row("GET", f"/v2/{REPOSITORY}/manifests/latest", 200, send={"Origin": origin}))


HOSTS = ("evil.example", "evil.example:99", "@evil.example", "a b", "[::1", "", "x/../..")


@pytest.mark.parametrize("host", HOSTS)
async def test_no_answer_repeats_the_host(app: ASGIApp, world: World, host: str) -> None:
    """T19: every Location and Link is relative, whoever the client says we are."""
    forwarded = (
        (b"x-forwarded-host", b"evil.example"),
        (b"x-forwarded-proto", b"gopher"),
        (b"x-forwarded-prefix", b"/evil.example"),
        (b"forwarded", b"host=evil.example"),
        (b"x-original-url", b"/evil.example"),
    )
    for method, path in (
        ("POST", b"/v2/team/app/blobs/uploads/"),
        ("GET", b"/v2/team/app/blobs/uploads/" + world.upload.encode()),
        ("GET", b"/v2/team/app/tags/list"),
        ("GET", b"/v2/_catalog"),
        ("GET", b"/v2"),
        ("GET", b"/v2/team/app/tags/none"),
    ):
        answer = await ask(app, method, path, query=b"n=1", headers=[(b"host", host.encode()), *forwarded])
        assert "evil" not in str(answer)
        assert "gopher" not in str(answer)
        assert answer.headers.get("location", "/v2/").startswith("/v2/")
        assert answer.headers.get("link", "</v2/").startswith("</v2/")


# -- response splitting -----------------------------------------------------------------------------------


async def test_headers_come_from_checked_values(
    app: ASGIApp, client: httpx.AsyncClient, repository: str
) -> None:
    """T30."""
    await push_blob(client, repository, b"{}")
    for query in (b"last=%0d%0aX-Evil:%20y&n=1", b"artifactType=%0d%0aX-Evil:%20y", b"n=1%0d%0aX-Evil:y"):
        for path in ("tags/list", f"referrers/{SHA}", "manifests/x"):
            answer = await ask(app, "GET", f"/v2/{repository}/{path}".encode(), query=query)
            assert "x-evil" not in answer.headers
            assert not any("\n" in value or "\r" in value for value in answer.headers.values())
    answer = await ask(app, "PUT", f"/v2/{repository}/manifests/x".encode(), query=b"tag=a%0d%0aX-Evil:%20y")
    assert answer.status == 400
    assert "x-evil" not in answer.headers


def test_links_escape_what_they_carry() -> None:
    assert wire.next_link("/v2/a/tags/list", last='a>; rel="x"\r\n', n="1") == (
        '</v2/a/tags/list?last=a%3E%3B+rel%3D%22x%22%0D%0A&n=1>; rel="next"'
    )


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz"])
async def test_health(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(path)
    assert (response.status_code, response.json()) == (200, {"status": "ok"})
    assert_closed(response.headers)
    again = await client.get(path)
    assert again.headers["X-Request-Id"] != response.headers["X-Request-Id"]
    await check(client, Row("POST", path, 404, "UNSUPPORTED"))
