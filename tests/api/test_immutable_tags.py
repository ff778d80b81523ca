"""Immutable tags over HTTP: what keeps its name, by every way that a client has."""

from collections.abc import AsyncIterator

import httpx
import pytest

from storage.store import Store
from tests.api.rows import Row, check
from tests.api.world import digest, push_image, push_manifest
from tests.inprocess import connect


@pytest.fixture
async def client(store: Store) -> AsyncIterator[httpx.AsyncClient]:
    async with connect(store, immutable_tags=("*:v*", "kept/*:*")) as client:
        yield client


REFUSED = {
    "another manifest": ("PUT", "/v2/{repo}/manifests/v1"),
    "another manifest, by ?tag=": ("PUT", "/v2/{repo}/manifests/free?tag=v1"),
    "another manifest, by digest": ("PUT", "/v2/{repo}/manifests/{other}?tag=free&tag=v1"),
    "a delete": ("DELETE", "/v2/{repo}/manifests/v1"),
    "a delete of its manifest": ("DELETE", "/v2/{repo}/manifests/{first}"),
}


@pytest.mark.parametrize(("method", "target"), REFUSED.values(), ids=REFUSED)
async def test_refused(client: httpx.AsyncClient, repository: str, method: str, target: str) -> None:
    first = await push_image(client, repository, "v1", seed=1)
    other = await push_image(client, repository, "latest", seed=2)
    names = {"repo": repository, "first": digest(first), "other": digest(other)}
    says = (f"{repository}:v1 is immutable", "'*:v*'", digest(first))
    body = other if method == "PUT" else b""
    await check(client, Row(method, target, 403, "DENIED", body=body, says=says), **names)
    await check(client, Row("GET", "/v2/{repo}/manifests/v1", 200, holds=first), **names)
    # Nothing of what was refused is there: not the other tags either.
    await check(client, Row("GET", "/v2/{repo}/manifests/free", 404, "MANIFEST_UNKNOWN"), **names)


async def test_allowed(client: httpx.AsyncClient, repository: str) -> None:
    first = await push_image(client, repository, "v1", seed=1)
    for tags in (("v1",), ("v1", "v2", "latest"), ("", "v1")):
        await push_manifest(client, repository, first, *tags)
    other = await push_image(client, repository, "latest", seed=2)
    for target in ("latest", digest(other)):
        await check(client, Row("DELETE", f"/v2/{repository}/manifests/{target}", 202))


async def test_a_condition_comes_first(client: httpx.AsyncClient, repository: str) -> None:
    """Who asked not to overwrite learns that it is there, not that it could not have been."""
    first = await push_image(client, repository, "v1", seed=1)
    other = await push_image(client, repository, "latest", seed=2)
    row = Row(
        "PUT",
        f"/v2/{repository}/manifests/v1",
        412,
        "DENIED",
        send={"If-None-Match": "*"},
        body=other,
        says=(digest(first),),
    )
    await check(client, row)


async def test_without_patterns_tags_move(store: Store, repository: str) -> None:
    async with connect(store) as client:
        first = await push_image(client, repository, "v1", seed=1)
        await push_image(client, repository, "v1", seed=2)
        await push_manifest(client, repository, first, "v1")
        await check(client, Row("DELETE", f"/v2/{repository}/manifests/v1", 202))
