"""The composition root: what the settings switch on, and the service as a whole."""

import asyncio
import dataclasses
import logging
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Message

from registry.app import build, create_app, guards, open_settings, policies
from registry.auth.issuer_settings import Issuer
from registry.consistency import access_rules_of
from registry.guards.immutable_tags import ImmutableTags
from registry.policies.access_rules import AccessRules
from registry.policies.no_delete import NoDelete
from registry.policies.read_only import ReadOnly
from registry.settings import Settings
from storage.digest import Digest
from storage.errors import StorageError, StoreFull
from storage.store import Store
from storage.uploads import Idleness
from tests.api.world import push_manifest
from tests.builders import index
from tests.inprocess import ask, connect_app

IMAGE = index()


def settings(store: Store, **changed: object) -> Settings:
    return Settings(root=store.layout.root, **changed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "rules"),
    [
        ({}, [AccessRules]),
        ({"delete": False}, [AccessRules, NoDelete]),
        ({"read_only": True}, [ReadOnly, AccessRules]),
        ({"read_only": True, "delete": False}, [ReadOnly, AccessRules, NoDelete]),
    ],
)
def test_policies(changed: dict[str, object], rules: list[type]) -> None:
    given = dataclasses.replace(Settings(root="/"), **changed)  # type: ignore[arg-type]
    chosen = policies(given, access_rules_of(given))
    assert [type(policy) for policy in chosen] == rules


TOKEN_SERVER = Issuer(
    "own", "https://tokens.test", "registry.test", access=True, realm="https://tokens.test/auth", service="s"
)


@pytest.mark.parametrize(
    ("issuers", "said"),
    [
        ((), 'Bearer realm="http://registry.test/token",service="oci-registry"'),
        ((TOKEN_SERVER,), 'Bearer realm="https://tokens.test/auth",service="s"'),
    ],
)
async def test_where_clients_are_sent_for_a_token(
    store: Store, issuers: tuple[Issuer, ...], said: str
) -> None:
    service = build(store, settings(store, anonymous="none", issuers=issuers))
    async with connect_app(service) as client:
        assert (await client.get("/v2/")).headers["WWW-Authenticate"] == said


@pytest.mark.parametrize(("patterns", "rules"), [((), []), (("*:v*",), [ImmutableTags])])
def test_guards(patterns: tuple[str, ...], rules: list[type]) -> None:
    chosen = guards(Settings(root="/", immutable_tags=patterns))
    assert [type(guard) for guard in chosen] == rules


@pytest.mark.parametrize("ephemeral", [True, False])
def test_only_an_ephemeral_store_goes_without_fsync(tmp_path: Path, ephemeral: bool) -> None:
    store = open_settings(Settings(root=str(tmp_path / "root"), ephemeral=ephemeral))
    try:
        synced: list[str] = []
        store.files._probe = lambda moment, name, target: synced.append(name)
        store.files.fsync_folder(store.layout.uploads)
        assert ("fsync" in synced) is not ephemeral
    finally:
        store.close()


async def test_the_service(store: Store) -> None:
    async with connect_app(build(store, settings(store))) as client:
        assert (await client.get("/v2/")).status_code == 200
        for path in ("/healthz", "/livez", "/readyz"):
            for method in ("GET", "HEAD"):
                answer = await client.request(method, path)
                assert (answer.status_code, answer.headers["X-Content-Type-Options"]) == (200, "nosniff")


async def test_a_degraded_store_is_alive_and_not_ready(store: Store) -> None:
    store.files.latch("the disk is bad")
    async with connect_app(build(store, settings(store))) as client:
        assert (await client.get("/healthz")).status_code == 200
        answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["status"] == "unready"
    assert "fsck --repair" in answer.json()["why"]


@pytest.mark.parametrize("path", [b"/%0a", b"/v2/a%0a/tags/list", b"", b"*", b"//", b"/healthz/"])
async def test_every_path_is_answered_by_the_api(store: Store, path: bytes) -> None:
    """With its headers and in its words; never by a redirect, which would repeat the Host."""
    answer = await ask(build(store, settings(store)), "GET", path)
    assert answer.status in (400, 404)
    assert answer.headers["content-type"] == "application/json"
    assert "x-request-id" in answer.headers
    assert "location" not in answer.headers


def test_a_worker_can_be_told_its_settings(tmp_path: Path) -> None:
    told = pickle.loads(pickle.dumps(Settings(root=str(tmp_path / "root"), sparse=True)))
    assert create_app(told).routes
    assert os.path.exists(tmp_path / "root" / "format")


# -- the lifespan -----------------------------------------------------------------------------------------


class Lifespan:
    """Starts and stops an app as a server does."""

    def __init__(self, app: object) -> None:
        self._app: object = app
        self._to_app: asyncio.Queue[Message] = asyncio.Queue()
        self._from_app: asyncio.Queue[Message] = asyncio.Queue()

    async def __aenter__(self) -> "Lifespan":
        scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
        self._task = asyncio.create_task(
            self._app(scope, self._to_app.get, self._from_app.put)  # type: ignore[operator]
        )
        await self._tell("startup")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._tell("shutdown")
        await self._task

    async def _tell(self, what: str) -> None:
        await self._to_app.put({"type": f"lifespan.{what}"})
        assert (await self._from_app.get())["type"] == f"lifespan.{what}.complete"


async def until_gone(path: str) -> None:
    for _ in range(500):
        if not os.path.exists(path):
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{path} is still there")


async def test_fetches_that_nobody_goes_on_with_end_while_it_serves(store: Store) -> None:
    digest = Digest.of(b"data")
    path = store.layout.fetch("@up.example/app", digest)
    async with store.fetches.open("@up.example/app", digest):
        pass
    os.utime(path, (0, 0))
    async with Lifespan(build(store, settings(store, upload_expiry=3600))):
        await until_gone(path)


async def test_idle_uploads_end_while_it_serves(store: Store) -> None:
    idle, busy = [await store.uploads.create() for _ in range(2)]
    async with store.uploads.open(busy), Lifespan(build(store, settings(store, upload_expiry=1))):
        await until_gone(store.layout.upload(idle))
        assert os.path.exists(store.layout.upload(busy))


@pytest.mark.parametrize(("rate", "reads"), [(0, False), (1000, True)])
async def test_the_scrub_is_off_unless_it_has_a_rate(
    store: Store, caplog: pytest.LogCaptureFixture, rate: int, reads: bool
) -> None:
    await store.blobs.put(Digest.of(b"data"), b"data")
    with caplog.at_level(logging.INFO, "registry"):
        async with Lifespan(build(store, settings(store, scrub_rate=rate))):
            for _ in range(500 if reads else 25):
                await asyncio.sleep(0.02)
                if "blobs read" in caplog.text:
                    break
    assert ("all 1 blobs read" in caplog.text) is reads
    assert os.path.exists(store.layout.scrub) is reads


async def test_a_failed_expiry_is_not_the_last(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expire, failures = store.uploads.expire, [StorageError("the disk is away"), RuntimeError("a mistake")]

    async def failing(idle: float, known: Idleness) -> list[str]:
        if failures:
            raise failures.pop()
        return await expire(idle, known)

    monkeypatch.setattr(store.uploads, "expire", failing)
    upload = await store.uploads.create()
    with caplog.at_level(logging.WARNING, "registry"):
        async with Lifespan(build(store, settings(store, upload_expiry=1))):
            await until_gone(store.layout.upload(upload))
    assert not failures
    assert "could not be expired" in caplog.text


async def test_a_read_only_service_cleans_nothing_up(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.app._BALLAST", 0.01)
    upload = await store.uploads.create()
    os.utime(store.layout.upload(upload), (0, 0))
    async with Lifespan(build(store, settings(store, read_only=True, upload_expiry=1))):
        await asyncio.sleep(0.5)
    assert os.path.exists(store.layout.upload(upload))
    assert not os.path.exists(store.layout.ballast)


async def test_a_read_only_service_lets_fetches_expire(store: Store) -> None:
    """Of upstreams' images, which come there, too."""
    path = store.layout.fetch("@up.example/a", Digest.of(b"a"))
    with open(path, "wb"):
        os.utime(path, (0, 0))
    async with Lifespan(build(store, settings(store, read_only=True, upload_expiry=1))):
        await until_gone(path)


async def test_ballast_is_laid_again_while_it_serves(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.app._BALLAST", 0.01)
    async with Lifespan(build(store, settings(store))):
        for _ in range(2):
            for _ in range(500):
                if store.ballast.give_up():
                    break
                await asyncio.sleep(0.02)
            else:
                raise AssertionError("there is no ballast")


async def test_a_store_that_dies_with_its_process_has_no_ballast(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.app._BALLAST", 0.01)
    async with Lifespan(build(store, settings(store, ephemeral=True))):
        await asyncio.sleep(0.3)
        assert not os.path.exists(store.layout.ballast)


async def pulled(store: Store) -> int:
    sql = "SELECT count(*) FROM manifests WHERE pulled IS NOT NULL"
    return await store.database.read(lambda connection: connection.execute(sql).fetchone()[0])


async def test_pulls_are_noted_every_minute_and_at_the_end(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = build(store, settings(store))
    async with connect_app(app) as client:
        await push_manifest(client, "a", IMAGE, "t")
        async with Lifespan(app):
            await client.get("/v2/a/manifests/t")
            assert await pulled(store) == 0
        assert await pulled(store) == 1
        await push_manifest(client, "b", IMAGE, "t")
        monkeypatch.setattr("registry.app._PULLS", 0.01)
        async with Lifespan(app):
            await client.get("/v2/b/manifests/t")
            while await pulled(store) < 2:
                await asyncio.sleep(0.01)


async def test_a_read_only_service_notes_pulls(store: Store) -> None:
    """Or what was pulled all the time would be unused by the rules that apply afterwards."""
    async with connect_app(build(store, settings(store))) as client:
        await push_manifest(client, "a", IMAGE, "t")
    app = build(store, settings(store, read_only=True))
    async with connect_app(app) as client, Lifespan(app):
        assert (await client.get("/v2/a/manifests/t")).status_code == 200
    assert await pulled(store) == 1


async def test_pulls_that_cannot_be_noted_fail_nobody(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write = store.database.write
    failures = [StoreFull("the disk is full")]

    async def failing(*arguments: Any, **how: Any) -> object:
        if failures and not how.get("durable", True):
            raise failures.pop()
        return await write(*arguments, **how)

    monkeypatch.setattr(store.database, "write", failing)
    monkeypatch.setattr("registry.app._PULLS", 0.01)
    app = build(store, settings(store, gc=False))
    async with connect_app(app) as client:
        await push_manifest(client, "a", IMAGE, "t")
        with caplog.at_level(logging.WARNING, "registry"):
            async with Lifespan(app):
                assert (await client.get("/v2/a/manifests/t")).status_code == 200
                while await pulled(store) < 1:
                    await asyncio.sleep(0.01)
    assert not failures
    assert "pulls could not be noted" in caplog.text
