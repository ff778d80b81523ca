"""Access control before what is fetched: challenges, tokens and rules name it `REGISTRY/NAME`."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bcrypt
import httpx
import pytest

from registry.app import build
from registry.kinds import Kind
from registry.settings import SCHEMA, Settings
from tests.cache.places import UP, new_name, push
from tests.inprocess import BASE, opened
from tests.upstream.proxy import Proxy, proxying

PORT = "up.example:5000"
ENTRIES = [
    {"repositories": [f"{UP}/team/*", f"{PORT}/*"], "users": ["alice"], "actions": ["pull"]},
    {"repositories": ["team/*"], "users": ["bob"], "actions": ["pull", "push"]},
]
LOGINS = {"alice": ("alice", "a"), "bob": ("bob", "b")}


@dataclass(frozen=True, slots=True)
class House:
    client: httpx.AsyncClient
    origin: httpx.AsyncClient
    proxy: Proxy

    async def pull(self, who: str, name: str, namespace: str = "", *, scope: str = "") -> int:
        """As containerd does: the challenge's scope is asked for, if none is given."""
        target, query = f"/v2/{name}/manifests/v1", {"ns": namespace} if namespace else {}
        refused = await self.client.get(target, params=query)
        assert refused.status_code == 401
        asked = scope or refused.headers["WWW-Authenticate"].partition('scope="')[2].partition('"')[0]
        token = await self.client.get("/token", params={"scope": asked}, auth=LOGINS[who])
        bearer = {"Authorization": f"Bearer {token.json()['token']}"}
        return (await self.client.get(target, params=query, headers=bearer)).status_code


def checked(key: str, value: object) -> object:
    kind: Kind = SCHEMA[key].kind
    return kind.check(value)


@pytest.fixture
async def house(tmp_path: Path, upstream: str) -> AsyncIterator[House]:
    users = tmp_path / "users"
    hashed = {
        name: bcrypt.hashpw(word.encode(), bcrypt.gensalt(4)).decode() for name, word in LOGINS.values()
    }
    users.write_text("".join(f"{name}:{text}\n" for name, text in hashed.items()))
    users.chmod(0o600)
    async with proxying(upstream) as proxy:
        with opened(tmp_path) as store:
            settings: dict[str, Any] = {
                "upstream": checked(
                    "upstream",
                    [
                        {"name": UP, "url": proxy.url, "default": True},
                        {"name": PORT, "url": proxy.url},
                    ],
                ),
                "access": checked("access", ENTRIES),
            }
            app = build(
                store, Settings(root=store.layout.root, htpasswd=str(users), anonymous="none", **settings)
            )
            async with (
                app.lifespan_context(app),
                httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE) as client,
                httpx.AsyncClient(base_url=f"http://{upstream}") as origin,
            ):
                yield House(client, origin, proxy)


async def test_rules_and_tokens_name_the_registry(house: House) -> None:
    image = await push(house.origin, new_name())
    for name, namespace in ((image.name, UP), (f"{UP}/{image.name}", ""), (image.name, PORT)):
        assert await house.pull("alice", name, namespace) == 200
        assert await house.pull("bob", name, namespace) == 403
    assert await house.pull("alice", image.name) == 403
    # A token that docker asks for by the path that it sees.
    path = f"{UP}/{image.name}"
    assert await house.pull("alice", path, scope=f"repository:{path}:pull") == 200
    assert await house.pull("alice", image.name, UP, scope=f"repository:{image.name}:pull") == 401


async def test_nobody_learns_what_is_there_without_the_right(house: House) -> None:
    image = await push(house.origin, new_name())
    assert await house.pull("bob", image.name) == 404  # what bob may pull is what was pushed
    assert house.proxy.seen == []
    assert await house.pull("alice", image.name, UP) == 200
    assert await house.pull("bob", image.name) == 404
