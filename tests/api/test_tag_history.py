"""Whom the history of a tag names: the actor of the request, whatever it was."""

import httpx
import pytest

from registry.access import Actor, Shown
from registry.api.access_log import AccessLog
from registry.api.gate import Gate
from registry.registry import Registry
from storage.store import Store
from tests.api.world import digest, push_image, push_manifest
from tests.inprocess import connect_app


class Believes:
    """Whoever the header says."""

    async def identify(self, shown: Shown) -> Actor | None:
        return Actor(shown.authorization.decode())


@pytest.mark.parametrize("who", ["ann", ""])
async def test_the_actor_is_noted(store: Store, repository: str, who: str) -> None:
    registry = Registry(store.names, store.blobs, store.uploads)
    async with connect_app(Gate(registry, authenticators=[Believes()], log=AccessLog())) as client:
        raw = await push_image(client, repository, "old")  # as nobody known
        client.headers = httpx.Headers({"authorization": who} if who else {})
        await push_manifest(client, repository, raw, "put", "and")
        for target in ("and", digest(raw)):
            assert (await client.delete(f"/v2/{repository}/manifests/{target}")).status_code == 202
    moves = await store.names.listings.moves(repository, limit=100)
    assert sorted((move.tag, bool(move.new), move.who) for move in moves) == [
        *(("and", False, who), ("and", True, who)),
        *(("old", False, who), ("old", True, "")),
        *(("put", False, who), ("put", True, who)),
    ]
