"""Quotas and rates over HTTP: what is refused before it is read, what leaves nothing, what goes on."""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx
import pytest
from starlette.types import Message

from registry.app import build
from registry.quotas import Quota
from registry.rates import Rate
from registry.settings import Settings
from storage.store import Store
from tests.api.rows import Row, check
from tests.api.world import begin, digest, push_blob, push_image, push_manifest, put_manifest
from tests.inprocess import ask, connect

KIB = 1024
LAYER = b"l" * KIB


@asynccontextmanager
async def limited(store: Store, *quotas: Quota) -> AsyncIterator[httpx.AsyncClient]:
    async with connect(store, quota=quotas) as client:
        yield client


async def stream(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


WAYS = {
    "a blob in one request": ("POST", "/v2/{repo}/blobs/uploads/?digest={new}"),
    "the closing PUT with all of it": ("PUT", "{upload}?digest={new}"),
    "a chunk": ("PATCH", "{upload}"),
}


class Endless:
    """A body without an end, which counts what was taken of it."""

    taken = 0

    def __iter__(self) -> "Endless":
        return self

    def __next__(self) -> Message:
        self.taken += KIB
        return {"type": "http.request", "body": LAYER, "more_body": True}


@pytest.mark.parametrize(("method", "target"), WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("announced", [True, False], ids=["announced", "streamed"])
async def test_a_blob_that_does_not_fit(
    store: Store, repository: str, method: str, target: str, announced: bool
) -> None:
    body = b"n" * (3 * KIB)
    async with limited(store, Quota((repository,), bytes=3 * KIB)) as client:
        await push_blob(client, repository, LAYER)
        upload = f"/v2/{repository}/blobs/uploads/{await begin(client, repository)}"
        path = target.format(repo=repository, new=digest(body), upload=upload)
        sent = body if announced else stream(*[body[:KIB]] * 3)
        answer = await client.request(method, path, content=sent)
        assert answer.status_code == 403
        (error,) = answer.json()["errors"]
        assert error["code"] == "DENIED"
        assert f"the quota of {repository} together is 3,072 bytes, 1,024 are in use" in error["message"]
        assert (await client.head(f"/v2/{repository}/blobs/{digest(body)}")).status_code == 404
        # What fits goes on in the same session.
        rest = b"r" * KIB
        if (await client.get(upload)).headers["Range"] == "0-0":
            answer = await client.put(f"{upload}?digest={digest(rest)}", content=rest)
            assert answer.status_code == 201


@pytest.mark.parametrize(("method", "target"), WAYS.values(), ids=WAYS)
async def test_what_is_announced_is_not_read(store: Store, repository: str, method: str, target: str) -> None:
    settings = Settings(root=store.layout.root, quota=(Quota((repository,), each=True, bytes=10),))
    async with limited(store) as client:
        upload = f"/v2/{repository}/blobs/uploads/{await begin(client, repository)}"
    path, _, query = target.format(repo=repository, new=digest(LAYER), upload=upload).partition("?")
    body = Endless()
    length = (b"content-length", b"%d" % (100 * 2**30))
    answer = await ask(
        build(store, settings), method, path.encode(), query=query.encode(), headers=[length], body=body
    )
    assert (answer.status, answer.headers["connection"]) == (403, "close")
    assert (
        body.taken <= 2**20 + 2**24 + KIB
    )  # what is let go by of any refused body, so that the answer is seen
    assert store.uploads.size(upload.rpartition("/")[2]) == 0


async def test_the_same_again_is_never_refused(store: Store, repository: str) -> None:
    async with limited(store) as client:
        raw = await push_image(client, repository, "v1")
        await push_blob(client, repository, LAYER)
    async with limited(store, Quota((repository,), bytes=0, tags=0)) as client:
        await push_blob(client, repository, LAYER)
        upload = await begin(client, repository)
        again = f"/v2/{repository}/blobs/uploads/{upload}?digest={digest(LAYER)}"
        for content in (LAYER, stream(LAYER[:10], LAYER[10:])):
            answer = await client.put(again, content=content)
            assert answer.status_code == 201
            again = f"/v2/{repository}/blobs/uploads/{await begin(client, repository)}?digest={digest(LAYER)}"
        await push_manifest(client, repository, raw, "v1")
        answer = await put_manifest(client, repository, raw, "v2")
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (403, "DENIED")
        await check(client, Row("GET", f"/v2/{repository}/manifests/v1", 200, holds=raw))
        await check(client, Row("DELETE", f"/v2/{repository}/manifests/v1", 202))
        await check(client, Row("DELETE", f"/v2/{repository}/blobs/{digest(LAYER)}", 202))


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "streamed"])
async def test_a_listed_digest_opens_the_door_for_no_more_than_its_bytes(
    store: Store, repository: str, announced: bool
) -> None:
    async with limited(store, Quota((repository,), bytes=2 * KIB)) as client:
        await push_blob(client, repository, LAYER)
        path = f"/v2/{repository}/blobs/uploads/?digest={digest(LAYER)}"
        body = LAYER * 3
        answer = await client.post(path, content=body if announced else stream(*[LAYER] * 3))
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (403, "DENIED")


async def test_a_mount(store: Store, repository: str) -> None:
    other = f"{repository}/other"
    async with limited(store, Quota((other,), each=True, bytes=KIB)) as client:
        await push_blob(client, repository, LAYER)
        await push_blob(client, repository, LAYER + b"+")
        small, large = digest(LAYER), digest(LAYER + b"+")
        path = f"/v2/{other}/blobs/uploads/?from={repository}&mount="
        await check(client, Row("POST", path + large, 403, "DENIED", says=(f"quota of {other}",)))
        await check(client, Row("POST", path + small, 201))
        await check(client, Row("POST", path + small, 201))


async def test_a_manifest_and_its_tags(store: Store, repository: str) -> None:
    async with limited(store, Quota((repository,), each=True, tags=2)) as client:
        raw = await push_image(client, repository, "v1")
        answer = await put_manifest(client, repository, raw, "v2", "v3")
        assert answer.status_code == 403
        assert "is 2 tags, 1 are in use, and this needs 2 more" in answer.text
        assert (await client.get(f"/v2/{repository}/tags/list")).json()["tags"] == ["v1"]
        await push_manifest(client, repository, raw, "v2", "v1")


async def test_sessions_of_a_repository(store: Store, repository: str) -> None:
    """A thousand without a word in the settings; each that ends makes room."""
    path = f"/v2/{repository}/blobs/uploads/"
    before = set(os.listdir(store.layout.uploads))
    async with limited(store) as client:
        opened = [await begin(client, repository) for _ in range(1000)]
        row = Row(
            "POST", path, 429, "TOOMANYREQUESTS", says=("1,000 open uploads",), expect={"Retry-After": "5"}
        )
        await check(client, row)
        assert len(os.listdir(store.layout.uploads)) == len(before | set(opened))
        await check(client, Row("DELETE", path + opened[0], 204))
        await check(client, Row("POST", path, 202))
        await check(client, Row("POST", path + f"?digest={digest(b'x')}", 429, "TOOMANYREQUESTS", body=b"x"))
        for upload in opened[1:]:
            await client.delete(path + upload)


async def test_what_is_denied_counts_and_what_is_led_to_a_login_does_not(
    store: Store, repository: str
) -> None:
    rate = (Rate(1, 3600, 2),)
    target = f"/v2/{repository}/manifests/v1"
    async with connect(store, rate=rate, delete=False) as client:
        assert [(await client.delete(target)).status_code for _ in range(4)] == [405, 405, 429, 429]
    async with connect(store, rate=rate, anonymous="none") as client:
        asked = [await client.get(path) for path in ("/v2/", target) * 3]
        assert {answer.status_code for answer in asked} == {401}


RATES: dict[str, tuple[Sequence[Rate], list[int]]] = {
    "none": ([], [200] * 6),
    "all": ([Rate(1, 3600, 4)], [200, 200, 200, 200, 429, 429]),
    "the strictest": ([Rate(1, 3600, 4), Rate(1, 3600, 2)], [200, 200, 429, 429, 429, 429]),
    "other actions": ([Rate(1, 3600, 1, actions=("push", "list"))], [200] * 6),
    "others": ([Rate(1, 3600, 1, who="known")], [200] * 6),
}


@pytest.mark.parametrize(("rates", "expected"), RATES.values(), ids=RATES)
async def test_rates(store: Store, repository: str, rates: Sequence[Rate], expected: list[int]) -> None:
    async with limited(store) as client:
        await push_image(client, repository, "v1")
    async with connect(store, rate=tuple(rates)) as client:
        answers = [await client.get(f"/v2/{repository}/manifests/v1") for _ in expected]
    assert [answer.status_code for answer in answers] == expected
    for answer in answers:
        assert (answer.status_code == 429) is ("Retry-After" in answer.headers)
