"""Answers from the cache that are given again at once: while they are right, to whom they may be given."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from storage.digest import Digest
from tests.auth.hands import Hand
from tests.cache.places import UP, Place, caching, landed, new_name, push, states
from tests.cache.test_default import Rules
from tests.upstream.proxy import Fault, Rule

CLIENT = ("192.0.2.7", 40_000)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Hand:
    """The time of those answers."""
    hand = Hand(time.monotonic())
    monkeypatch.setattr("registry.api.prompt.time", SimpleNamespace(monotonic=hand))
    return hand


@pytest.fixture
async def place(tmp_path: Path, upstream: str) -> AsyncIterator[Place]:
    async with caching(tmp_path, upstream) as place:
        yield place


async def ask(place: Place, target: str) -> bytes:
    answer = await place.client.get(target, headers={"Accept": "*/*"})
    return answer.content


def again(place: Place, target: str) -> bytes | None:
    return place.gate.prompt.find(b"GET", target.encode(), [(b"host", b"registry.test")], CLIENT)


async def test_a_tag_is_given_again_while_it_is_fresh(place: Place, now: Hand) -> None:
    image = await push(place.origin, new_name())
    target = await landed(place, f"/v2/{UP}/{image.name}/manifests/v1")
    now.now += 58
    found = again(place, target)
    assert found is not None
    assert found.endswith(image.manifest)
    assert b"cache-status: oci-registry; hit\r\n" in found
    assert states(place) == ["miss", "hit", "hit"]
    now.now += 3
    assert again(place, target) is None
    # And from then on for another while, once it was asked for.
    await ask(place, target)
    assert again(place, target) is None
    place.clock.now += 400
    now.now = time.monotonic()
    for _ in range(2):
        await ask(place, target)
    assert again(place, target)


@pytest.mark.parametrize("kind", ["manifests", "blobs"])
async def test_a_digest_is_given_again_for_ever(place: Place, now: Hand, kind: str) -> None:
    image = await push(place.origin, new_name())
    content = {"manifests": image.manifest, "blobs": image.config}[kind]
    target = f"/v2/{UP}/{image.name}/{kind}/{Digest.of(content)}"
    async with asyncio.timeout(10):
        while not again(place, await landed(place, target)):  # something else of it changed meanwhile
            pass
    now.now += 10**6
    found = again(place, target)
    assert found is not None
    assert found.endswith(content)


async def test_what_is_stale_or_a_list_is_not_given_again(place: Place, now: Hand) -> None:
    image = await push(place.origin, new_name())
    target = f"/v2/{UP}/{image.name}/manifests/v1"
    await ask(place, target)
    assert again(place, target) is None  # it says of itself that it was fetched
    place.clock.now += 61
    place.proxy.rules.append(Rule(Fault(delay=0.2)))
    await ask(place, target)
    assert states(place) == ["miss", "stale"]
    assert again(place, target) is None
    for rest in ("tags/list", f"referrers/{Digest.of(image.manifest)}"):
        assert again(place, await landed(place, f"/v2/{UP}/{image.name}/{rest}")) is None


async def test_a_plain_name_needs_both_rights(tmp_path: Path, upstream: str, now: Hand) -> None:
    rules = Rules()
    async with caching(tmp_path, upstream, policies=(rules,), default=True) as place:
        theirs, ours = await push(place.origin, new_name()), new_name()
        target = f"/v2/{theirs.name}/manifests/v1"
        rules.may = {f"pull {theirs.name}", f"pull {UP}/{theirs.name}"}
        for _ in range(2):
            await ask(place, target)
        assert again(place, target)
        rules.may = {f"pull {theirs.name}"}
        assert again(place, target) is None
        # What was pushed is no answer for who might get the upstream's.
        rules.may = {f"push {ours}", f"move {ours}", f"pull {ours}"}
        pushed = await push(place.client, ours)
        for _ in range(2):
            assert await ask(place, f"/v2/{ours}/manifests/v1") == pushed.manifest
        assert again(place, f"/v2/{ours}/manifests/v1") is None
