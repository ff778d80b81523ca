"""A small world to ask about: one repository with a blob and a manifest of each sort."""

from dataclasses import dataclass, field

import httpx

from storage.digest import Digest
from tests.builders import (
    DOCKER_IMAGE,
    OCI_CONFIG,
    OCI_IMAGE,
    blob,
    descriptor,
    image,
    index,
)

REPOSITORY = "team/app"
CONFIG, LAYER, SPARE = b'{"os":"linux"}', blob(2048, 1), blob(700, 2)
IMAGE = image(descriptor(CONFIG, OCI_CONFIG), [descriptor(LAYER)], annotations={"a": "b"})
DOCKER = image(descriptor(CONFIG, OCI_CONFIG), [descriptor(LAYER)], media_type=DOCKER_IMAGE)
INDEX = index([descriptor(IMAGE, OCI_IMAGE)])
REFERRER = image(
    descriptor(CONFIG, OCI_CONFIG), subject=descriptor(IMAGE, OCI_IMAGE), artifact_type="application/x.sbom"
)
WIDE = index([descriptor(IMAGE, OCI_IMAGE)], annotations={"hashed": "with sha512"})


def digest(data: bytes, algorithm: str = "sha256") -> str:
    return str(Digest.of(data, algorithm))


@dataclass(frozen=True, slots=True)
class World:
    """`upload` is an open session of four bytes."""

    upload: str
    names: dict[str, str] = field(
        default_factory=lambda: {
            "repo": REPOSITORY,
            "config": digest(CONFIG),
            "layer": digest(LAYER),
            "spare": digest(SPARE),
            "wide_spare": digest(SPARE, "sha512"),
            "image": digest(IMAGE),
            "docker": digest(DOCKER),
            "index": digest(INDEX),
            "referrer": digest(REFERRER),
            "wide": digest(WIDE, "sha512"),
            "absent": digest(b"absent"),
            "nowhere": "00000000-0000-4000-8000-000000000000",
        }
    )

    def named(self) -> dict[str, str]:
        return {**self.names, "upload": self.upload}


async def fill(client: httpx.AsyncClient) -> World:
    for data in (CONFIG, LAYER, SPARE):
        await push_blob(client, REPOSITORY, data)
    await push_blob(client, REPOSITORY, SPARE, "sha512")
    await push_manifest(client, REPOSITORY, IMAGE, "latest")
    await push_manifest(client, REPOSITORY, DOCKER, "docker")
    await push_manifest(client, REPOSITORY, INDEX, "all")
    await push_manifest(client, REPOSITORY, REFERRER)
    await push_manifest(client, REPOSITORY, WIDE, digest(WIDE, "sha512"), "wide")
    return World(await begin(client, REPOSITORY, b"four"))


async def begin(client: httpx.AsyncClient, repository: str, data: bytes = b"") -> str:
    """An upload session that has `data` already; its id."""
    response = await client.post(f"/v2/{repository}/blobs/uploads/")
    assert response.status_code == 202, response.text
    location = response.headers["Location"]
    if data:
        response = await client.patch(location, content=data)
        assert response.status_code == 202, response.text
    return str(location.rpartition("/")[2])


async def push_blob(
    client: httpx.AsyncClient, repository: str, data: bytes, algorithm: str = "sha256"
) -> str:
    named = digest(data, algorithm)
    response = await client.post(f"/v2/{repository}/blobs/uploads/", params={"digest": named}, content=data)
    assert response.status_code == 201, response.text
    return named


async def push_manifest(
    client: httpx.AsyncClient, repository: str, raw: bytes, reference: str = "", *tags: str
) -> httpx.Response:
    """By its digest if there is no reference."""
    response = await put_manifest(client, repository, raw, reference, *tags)
    assert response.status_code == 201, response.text
    return response


async def put_manifest(
    client: httpx.AsyncClient,
    repository: str,
    raw: bytes,
    reference: str = "",
    *tags: str,
    headers: dict[str, str] | None = None,
) -> httpx.Response:
    return await client.put(
        f"/v2/{repository}/manifests/{reference or digest(raw)}",
        params={"tag": list(tags)},
        content=raw,
        headers=headers,
    )


async def push_image(client: httpx.AsyncClient, repository: str, tag: str, seed: int = 0) -> bytes:
    """An image of its own for each seed, with one config and one layer; its manifest."""
    config, layer = f'{{"seed":{seed}}}'.encode(), blob(64, seed)
    for data in (config, layer):
        await push_blob(client, repository, data)
    raw = image(descriptor(config, OCI_CONFIG), [descriptor(layer)])
    await push_manifest(client, repository, raw, tag)
    return raw
