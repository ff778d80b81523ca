"""The registry as a whole: its catalog, its reader's limits, its listeners, the end of idle uploads."""

import asyncio
import logging
import os
import threading
import time
import uuid

import pytest

from registry import registry as module
from registry.changes import Change
from registry.errors import ManifestInvalid
from registry.manifests import Manifest, read_manifest
from registry.names import RepositoryName
from registry.registry import Registry
from registry.uploads import Uploads
from storage import uploads as uploads_module
from storage.database import Connection
from storage.digest import Digest
from storage.errors import UploadMissing
from storage.store import Store
from storage.uploads import UploadStore
from tests.builders import image, index
from tests.registry.listening import NAME, Hears, push

HOUR = 3600


async def test_the_catalog_is_sorted_and_paged(registry: Registry) -> None:
    for name in ("b", "a/c", "a", "a-b"):
        await push(registry, b"x", RepositoryName(name))
    assert await registry.catalog(after="", limit=10) == ["a", "a-b", "a/c", "b"]
    assert await registry.catalog(after="a", limit=2) == ["a-b", "a/c"]


# -- idle uploads -----------------------------------------------------------------------------------------


async def test_idle_sessions_end(registry: Registry, store: Store) -> None:
    uploads = Uploads(registry, NAME, "")
    idle, busy = [await uploads.begin() for _ in range(2)]
    assert await registry.expire_uploads(HOUR) == 0
    async with store.uploads.open(busy):
        assert await registry.expire_uploads(0) == 1
    with pytest.raises(UploadMissing):
        await uploads.offset(idle)
    assert await uploads.offset(busy) == 0
    assert await registry.expire_uploads(0) == 1
    assert os.listdir(store.layout.uploads) == []


async def test_rows_without_files_and_files_without_rows_end(registry: Registry, store: Store) -> None:
    """What a crash between the two leaves behind."""
    without_file, whole = [await Uploads(registry, NAME, "").begin() for _ in range(2)]
    os.unlink(store.layout.upload(without_file))
    await store.uploads.create()

    def clock_has_jumped_back(connection: Connection) -> None:
        connection.execute("UPDATE uploads SET started = started + ?", (1000 * HOUR,))

    await store.database.write(clock_has_jumped_back)
    assert await registry.expire_uploads(HOUR) == 1
    assert await store.names.sessions.ids() == [whole]
    assert await registry.expire_uploads(0) == 2
    assert os.listdir(store.layout.uploads) == []
    assert await store.names.sessions.ids() == []


async def test_a_restart_forgets_no_idleness(
    registry: Registry, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await Uploads(registry, NAME, "").begin()
    now, watched = [0.0], HOUR // 2 + 1
    monkeypatch.setattr(uploads_module, "monotonic", lambda: now[0])
    ended = []
    for _ in range(2):
        fresh = UploadStore(store.layout, store.files, store.threads, store.blobs)  # as after a start
        served = Registry(store.names, store.blobs, fresh)
        ended.append(await served.expire_uploads(HOUR))
        now[0] += watched
        ended.append(await served.expire_uploads(HOUR))
    assert ended == [0, 0, 0, 1]


async def test_nothing_to_end(registry: Registry) -> None:
    assert await registry.expire_uploads(0) == 0
    with pytest.raises(UploadMissing):
        await Uploads(registry, NAME, "").offset(str(uuid.uuid4()))


# -- listeners --------------------------------------------------------------------------------------------


class Fails:
    def notify(self, change: Change) -> None:
        raise RuntimeError("the webhook is down")


async def test_a_failing_listener_fails_nobody_else(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    hears = Hears()
    registry = Registry(store.names, store.blobs, store.uploads, listeners=[Fails(), hears])
    with caplog.at_level(logging.ERROR, "registry"):
        await push(registry, b"x")
    assert len(hears.heard) == 1
    assert "the webhook is down" in caplog.text


# -- reading manifests ------------------------------------------------------------------------------------


async def test_large_manifests_are_read_two_at_a_time(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each may take many times its size in memory, and none may hold the event loop up."""
    lock = threading.Lock()
    now, most, threads = 0, 0, set()
    two = threading.Barrier(2, timeout=10)  # none goes on alone, however late the other one's thread is

    def slow(raw: bytes, content_type: str | None, digest: Digest) -> Manifest:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
            threads.add(threading.current_thread())
        two.wait()
        time.sleep(0.02)
        with lock:
            now -= 1
        return read_manifest(raw, content_type, digest)

    monkeypatch.setattr(module, "read_manifest", slow)
    raws = [index(annotations={"filler": "x" * 100_000, "n": str(number)}) for number in range(8)]
    await asyncio.gather(*(registry.parse(raw, None, Digest.of(raw)) for raw in raws))
    assert most == 2
    assert threading.current_thread() not in threads


async def test_a_manifest_that_is_none(registry: Registry) -> None:
    for raw in (b"{", b"[" * 100_000):
        with pytest.raises(ManifestInvalid):
            await registry.parse(raw, None, Digest.of(raw))
    raw = image()
    assert (await registry.parse(raw, None, Digest.of(raw))).raw == raw
