"""A pull through the cache, by each way that clients ask for it."""

from pathlib import Path

import httpx
import pytest

from storage.digest import Digest
from tests.cache.places import UP, caching, new_name, push
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
        asked = len(place.proxy.seen)
        place.proxy.rules.append(Rule(Fault(503)))
        assert await pull(place.client, path, query) == expected
        assert await pull(place.client, path, query, str(Digest.of(image.manifest))) == expected
        assert len(place.proxy.seen) == asked
        assert [
            f'"cache": "{state}"' in line
            for state, line in zip(["miss"] * 3 + ["hit"] * 6, place.lines, strict=True)
        ]
