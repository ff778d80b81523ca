"""What a server counts of its upstreams, and the commands that go with it, on live servers."""

import json
import urllib.request
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from registry.__main__ import cli
from registry.api.access_log import Entry
from registry.api.cache_count import CacheCount
from registry.cache.figures import ERROR, HIT, MISS, SERVED, STALE
from registry.errors import RegistryError
from registry.upstream.errors import UpstreamBusy, UpstreamDenied, UpstreamFailed, UpstreamMissing
from storage.digest import Digest
from storage.errors import StoreFull
from tests.api.world import push_blob, push_manifest
from tests.builders import OCI_CONFIG, OCI_IMAGE, blob, descriptor, image, index
from tests.e2e.serving import serve

UP = "up.example"
LARGE = blob(300_000)


def run(*arguments: str) -> str:
    result = CliRunner().invoke(cli, arguments, prog_name="registry")
    assert result.exit_code == 0, result.output
    return result.stdout


async def push(host: str) -> bytes:
    """An image for one platform of two; returns the index."""
    async with httpx.AsyncClient(base_url=f"http://{host}") as client:
        children = []
        for architecture in ("amd64", "arm64"):
            config = json.dumps({"architecture": architecture}).encode()
            for content in (config, LARGE):
                await push_blob(client, "team/app", content)
            raw = image(descriptor(config, OCI_CONFIG), [descriptor(LARGE)])
            await push_manifest(client, "team/app", raw)
            platform = {"os": "linux", "architecture": architecture}
            children.append(descriptor(raw, OCI_IMAGE, platform=platform))
        await push_manifest(client, "team/app", index(children), "v1")
    return index(children)


async def test_pulls_are_counted_over_restarts(tmp_path: Path, upstream: str) -> None:
    whole = await push(upstream)
    place = tmp_path / "cache"
    place.mkdir()
    pulled: list[dict[str, Any]] = []
    for _ in range(2):
        with serve(place, "--mirror", f"{UP}=http://{upstream}", "--no-access-log") as server:
            url = f"http://{server.host}"
            arguments = ["--server", url, "--platform", "linux/arm64", "--json"]
            pulled += json.loads(run("pull", f"{UP}/team/app:v1", *arguments))
            for _ in range(3):
                target = f"{url}/v2/{UP}/team/app/manifests/{Digest.of(whole)}"
                with urllib.request.urlopen(target, timeout=10) as answer:
                    assert answer.read() == whole
    size = pulled[0]["bytes"]
    assert [each["bytes_there"] for each in pulled] == [0, size]
    assert {each["digest"] for each in pulled} == {str(Digest.of(whole))}
    (found,) = json.loads(run("cache", "status", "--root", str(server.root), "--json"))["upstreams"]
    assert (found["repositories"], found["tags"], found["manifests"]) == (1, 1, 2)
    assert found["bytes"] == size
    # Index, manifest, config, layer: first from the upstream, then from here; and the index three times each.
    assert found["requests"] == {"hit": 4 + 6, "miss": 4, "stale": 0, "negative": 0, "error": 0}
    assert found["bytes_served"] == 2 * size + 6 * len(whole)
    assert found["bytes_fetched"] == size
    assert (found["upstream_requests"], found["upstream_failures"]) == (4, 0)
    assert found["state"]["answered"]
    assert not found["state"]["failed"]


@pytest.mark.parametrize(
    ("upstream", "cache", "fact", "counted"),
    [
        ("", "", None, {}),
        (UP, "hit", None, {HIT: 1, SERVED: 7}),
        (UP, "stale", None, {STALE: 1, SERVED: 7}),
        (UP, "miss", UpstreamMissing(UP, "404"), {MISS: 1}),
        (UP, "miss", UpstreamFailed(UP, "500"), {ERROR: 1}),
        (UP, "miss", UpstreamBusy(UP, "429", 1), {ERROR: 1}),
        (UP, "miss", UpstreamDenied(UP, "401"), {ERROR: 1}),
        (UP, "miss", StoreFull("full"), {MISS: 1}),
        (UP, "hit", RegistryError("no"), {HIT: 1}),
    ],
)
def test_what_came_of_a_request(
    upstream: str, cache: str, fact: Exception | None, counted: dict[str, int]
) -> None:
    found: dict[str, int] = {}

    def count(name: str, what: str, number: int) -> None:
        assert name == upstream
        found[what] = number

    entry = Entry({"type": "http", "headers": [], "method": "GET"}, "id", None)
    entry.note_cache(upstream, cache)
    entry.sent, entry.fact = 7, fact
    witness = CacheCount(count)
    witness.begin(entry)
    witness.end(entry)
    assert found == counted
