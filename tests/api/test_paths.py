"""Paths that try to be another's: nothing of them is served, stored or opened."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp

from registry.app import build
from registry.settings import Settings
from storage.store import Store
from tests.api.corpus import DIGESTS, NAMES, ROUTE_WORDS, TAGS, UPLOADS
from tests.api.rows import CODES, Row, assert_closed, assert_error_body, check
from tests.api.world import LAYER, World, begin, digest, push_image
from tests.inprocess import ask


@pytest.fixture(scope="module")
def app(store: Store) -> ASGIApp:
    return build(store, Settings(root=store.layout.root))


CORPUS = [
    *((method, f"/v2/{name}/tags/list", {404, 400}) for name in NAMES for method in ("GET", "PUT")),
    *(("POST", f"/v2/{name}/blobs/uploads/", {404, 400}) for name in NAMES),
    *(("PUT", f"/v2/{name}/manifests/x", {404, 400}) for name in NAMES),
    *(("GET", f"/v2/a/manifests/{tag}", {404, 400}) for tag in TAGS),
    *(("PUT", f"/v2/a/manifests/{tag}", {400}) for tag in TAGS),
    *(("DELETE", f"/v2/a/manifests/{tag}", {404, 400}) for tag in TAGS),
    *((method, f"/v2/a/blobs/{name}", {400, 404}) for name in DIGESTS for method in ("GET", "DELETE")),
    *((method, f"/v2/a/manifests/{name}", {400, 404}) for name in DIGESTS for method in ("GET", "PUT")),
    *(("GET", f"/v2/a/blobs/uploads/{upload}", {400, 404}) for upload in UPLOADS),
    *(("PATCH", f"/v2/a/blobs/uploads/{upload}", {400, 404}) for upload in UPLOADS),
    *(("DELETE", f"/v2/a/blobs/uploads/{upload}", {400, 404}) for upload in UPLOADS),
]

_watching: list[str] | None = None


def _note_opened(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching is not None and event == "open" and isinstance(arguments[0], str):
        _watching.append(arguments[0])


sys.addaudithook(_note_opened)


@contextmanager
def watching() -> Iterator[list[str]]:
    """The paths of all files opened meanwhile, by any thread."""
    global _watching  # an audit hook can never be taken away
    _watching = []
    try:
        yield _watching
    finally:
        _watching = None


def tree(root: str) -> set[str]:
    return {os.path.join(folder, name) for folder, _, names in os.walk(root) for name in names}


async def test_paths_lead_nowhere(app: ASGIApp, store: Store, world: World) -> None:
    """T1, T2: no path of the corpus is served, stored or opened, whoever decodes it."""
    root = store.layout.root
    before = tree(os.path.dirname(root))
    with watching() as paths:
        for method, path, statuses in CORPUS:
            answer = await ask(app, method, path.encode())
            shown = f"{method} {path[:100]}: {answer.status} {answer.body[:300]!r}"
            if method in ("PUT", "PATCH") and answer.status == 405:
                continue
            assert answer.status in statuses, shown
            body = json.loads(answer.body)
            assert_error_body(answer.body, body["errors"][0]["code"])
            assert body["errors"][0]["code"] in CODES
            assert_closed(httpx.Headers(dict(answer.headers)))
            assert not {"location", "set-cookie"} & set(answer.headers), shown
            assert len(answer.body) < 4000, shown
    assert tree(os.path.dirname(root)) == before
    assert [path for path in paths if not path.startswith(root) and not path.endswith((".py", ".pyc"))] == []


@pytest.mark.parametrize("name", [name for name in NAMES if "//" not in name and name.strip("/") == name])
async def test_bad_names_have_their_code(app: ASGIApp, name: str) -> None:
    answer = await ask(app, "GET", f"/v2/{name}/tags/list".encode())
    assert answer.status == 400
    assert_error_body(answer.body, "NAME_INVALID")


@pytest.mark.parametrize("tag", [tag for tag in TAGS if "%" not in tag and tag.isascii()])
async def test_bad_tags_have_their_code(app: ASGIApp, tag: str) -> None:
    for method, status, code in (("PUT", 400, "MANIFEST_INVALID"), ("GET", 404, "MANIFEST_UNKNOWN")):
        answer = await ask(app, method, f"/v2/a/manifests/{tag}".encode())
        assert answer.status == status
        assert_error_body(answer.body, code)


# What the path rules refuse before: escapes of what is no printable ASCII, or of a slash; or a slash itself.
_REFUSED_BEFORE = ("%0", "%2", "%d", "٠", "/")


@pytest.mark.parametrize(
    "text", [text for text in DIGESTS if not any(part in text for part in _REFUSED_BEFORE)]
)
async def test_bad_digests_have_their_code(app: ASGIApp, text: str) -> None:
    for method, path in (("GET", "blobs"), ("DELETE", "blobs"), ("GET", "manifests"), ("PUT", "manifests")):
        answer = await ask(app, method, f"/v2/a/{path}/{text}".encode())
        assert (answer.status, method) == (400, method)
        assert_error_body(answer.body, "DIGEST_INVALID")


async def test_a_path_is_decoded_once(client: httpx.AsyncClient, app: ASGIApp, world: World) -> None:
    """Docker sends the colon of a digest escaped."""
    escaped = f"/v2/%74eam/app/blobs/{digest(LAYER).replace(':', '%3A')}".encode()
    assert (await ask(app, "GET", escaped)).body == LAYER
    twice = escaped.replace(b"%3A", b"%253A")
    assert (await ask(app, "GET", twice)).status == 400


async def test_names_of_route_words_are_names(client: httpx.AsyncClient) -> None:
    """T3, T4: each can be pushed to, listed and deleted, and none is another."""
    pushed = {
        name: await push_image(client, name, "latest", number) for number, name in enumerate(ROUTE_WORDS)
    }
    for name, raw in pushed.items():
        await check(client, Row("GET", f"/v2/{name}/manifests/latest", 200, holds=raw))
        await check(
            client,
            Row(
                "GET",
                f"/v2/{name}/tags/list",
                200,
                holds=json.dumps({"name": name, "tags": ["latest"]}).encode(),
            ),
        )
        await check(client, Row("GET", f"/v2/{name}/referrers/{digest(raw)}", 200))
        layer = json.loads(raw)["layers"][0]["digest"]
        await check(client, Row("HEAD", f"/v2/{name}/blobs/{layer}", 200))
        upload = await begin(client, name, b"x")
        await check(client, Row("GET", f"/v2/{name}/blobs/uploads/{upload}", 204))
        await check(client, Row("DELETE", f"/v2/{name}/blobs/uploads/{upload}", 204))
    catalog = (await client.get("/v2/_catalog")).json()["repositories"]
    assert set(ROUTE_WORDS) <= set(catalog)
    for gone in ROUTE_WORDS[::2]:
        await check(client, Row("DELETE", f"/v2/{gone}/manifests/{digest(pushed[gone])}", 202))
    for number, (name, raw) in enumerate(pushed.items()):
        status = 404 if number % 2 == 0 else 200
        await check(
            client,
            Row(
                "GET",
                f"/v2/{name}/manifests/{digest(raw)}",
                status,
                "MANIFEST_UNKNOWN" if status == 404 else "",
            ),
        )


async def test_the_longest_name_and_tag(client: httpx.AsyncClient) -> None:
    name, tag = "a" * 127 + "/" + "b" * 127, "t" * 128
    raw = await push_image(client, name, tag)
    await check(client, Row("GET", f"/v2/{name}/manifests/{tag}", 200, holds=raw))
