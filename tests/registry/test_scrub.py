"""The scrub: what it takes away, where it goes on, who does it, and when it begins again."""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, suppress

import pytest

from registry import scrub as module
from registry.scrub import Round, scrub
from storage.bookmark import bookmark
from storage.digest import Digest
from storage.errors import StoreFull
from storage.store import Store
from tests.storage.pushing import push_blob

FAST = 10_000  # MB/s
Took = Callable[[int], object]


@asynccontextmanager
async def scrubbing(store: Store, rate: int = FAST) -> AsyncIterator[None]:
    task = asyncio.create_task(scrub(store, rate))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], object]) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not come to that")


def place(store: Store) -> Round:
    with open(store.layout.scrub, encoding="utf-8") as file:
        return Round.parse(file.read())


def spoil(store: Store, digest: Digest) -> None:
    path = store.layout.blob(digest)
    os.chmod(path, 0o600)
    with open(path, "wb") as file:
        file.write(b"other")
    os.chmod(path, 0o400)


@pytest.fixture(autouse=True)
def _logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "registry")


async def test_bad_bytes_are_taken_away_and_told(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    digests = [await push_blob(store, "a", b"blob %d" % number) for number in range(5)]
    bad, mute = digests[:2]
    spoil(store, bad)
    spoil(store, mute)
    os.mkdir(f"{store.layout.root}/blobs/sha256/00/stranger")
    async with scrubbing(store):
        await until(lambda: "all 5 blobs read" in caplog.text)
    assert f"scrub: {bad} has other bytes" in caplog.text
    assert "2 were bad" in caplog.text
    assert len(os.listdir(store.layout.quarantine)) == 2
    assert [await store.names.links.holders(digest, limit=1) for digest in digests] == [[], [], *[["a"]] * 3]


async def test_the_next_round_begins_a_day_after_the_last(
    store: Store, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    await push_blob(store, "a", b"data")
    before = time.time()
    async with scrubbing(store):
        await until(lambda: "all 1 blobs read" in caplog.text)
        await until(lambda: place(store).begin > before)
        assert place(store) == Round(place(store).begin)
        assert 24 * 3600 - 60 < place(store).due <= 24 * 3600
        await asyncio.sleep(0.1)
    assert caplog.text.count("blobs read") == 1
    caplog.clear()
    async with scrubbing(store):  # a restart does not begin earlier
        await asyncio.sleep(0.1)
    assert caplog.text == ""
    monkeypatch.setattr(module, "_ROUND", 0)
    async with scrubbing(store):
        await until(lambda: caplog.text.count("blobs read") > 2)


async def test_a_restart_goes_on_where_it_was(
    store: Store, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = sorted([await push_blob(store, "a", b"blob %d" % number) for number in range(6)])
    examine, seen = store.blobs.examine, list[Digest]()

    async def hanging(digest: Digest, took: Took) -> bool:
        seen.append(digest)
        if len(seen) == 4:
            await asyncio.sleep(60)
        return await examine(digest, took)  # type: ignore[arg-type]

    monkeypatch.setattr(store.blobs, "examine", hanging)
    async with scrubbing(store):
        await until(lambda: len(seen) == 4)
    assert place(store).blobs == 3
    async with scrubbing(store):
        await until(lambda: "all 6 blobs read" in caplog.text)
    assert seen == [*digests[:4], *digests[3:]]


async def test_the_place_is_kept_now_and_then(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a server that is killed would begin again and again."""
    for number in range(3):
        await push_blob(store, "a", b"blob %d" % number)
    monkeypatch.setattr(module, "_KEEP", 0.0)
    examine, places = store.blobs.examine, list[int]()

    async def looking(digest: Digest, took: Took) -> bool:
        places.append(place(store).blobs)
        return await examine(digest, took)  # type: ignore[arg-type]

    monkeypatch.setattr(store.blobs, "examine", looking)
    async with scrubbing(store):
        await until(lambda: len(places) == 3)
    assert places == [0, 1, 2]


async def test_one_does_it_and_another_takes_over(
    store: Store, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_RETRY", 0.02)
    await push_blob(store, "a", b"data")
    with ExitStack() as stack:
        assert stack.enter_context(bookmark(store.files, store.layout.scrub))
        async with scrubbing(store):
            await asyncio.sleep(0.2)
            assert caplog.text == ""
            stack.close()
            await until(lambda: "all 1 blobs read" in caplog.text)


@pytest.mark.parametrize(
    "error", [PermissionError(13, "no"), StoreFull("no room"), RuntimeError("a mistake")]
)
async def test_a_failure_is_told_and_not_the_last_try(
    store: Store, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(module, "_RETRY", 0.01)
    await push_blob(store, "a", b"data")
    examine, failures = store.blobs.examine, [error]

    async def failing(digest: Digest, took: Took) -> bool:
        if failures:
            raise failures.pop()
        return await examine(digest, took)  # type: ignore[arg-type]

    monkeypatch.setattr(store.blobs, "examine", failing)
    async with scrubbing(store):
        await until(lambda: "all 1 blobs read" in caplog.text)
    assert "the scrub was interrupted" in caplog.text


async def test_a_bad_blob_that_the_disk_holds_fast_does_not_hold_it_up(
    store: Store, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = await push_blob(store, "a", b"data")
    spoil(store, digest)

    def failing(digest: Digest) -> None:
        raise OSError(5, "no rename")

    monkeypatch.setattr(store.blobs, "quarantine", failing)
    async with scrubbing(store):
        await until(lambda: "all 1 blobs read" in caplog.text)
    assert "1 were bad" in caplog.text
    assert await store.names.links.holders(digest, limit=1) == []


async def test_a_disk_that_is_away_costs_no_blob(
    store: Store, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_RETRY", 0.01)
    digests = [await push_blob(store, "a", b"blob %d" % number) for number in range(12)]
    examine, away = store.blobs.examine, True

    async def failing(digest: Digest, took: Took) -> bool:
        if away:
            raise OSError(5, "away")
        return await examine(digest, took)  # type: ignore[arg-type]

    monkeypatch.setattr(store.blobs, "examine", failing)
    async with scrubbing(store):
        await until(lambda: caplog.text.count("look at the disk") > 1)
        away = False
        await until(lambda: "all 12 blobs read" in caplog.text)
    assert "0 were bad" in caplog.text
    assert [await store.names.links.holders(digest, limit=1) for digest in digests] == [["a"]] * 12


async def test_a_shard_that_the_disk_does_not_give_is_told(
    store: Store, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    await push_blob(store, "a", b"data")
    real = os.scandir

    def scandir(path: str) -> object:
        if path.endswith("blobs/sha256/00"):
            raise OSError(5, "away")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    async with scrubbing(store):
        await until(lambda: "all 1 blobs read" in caplog.text)
    assert "the disk does not give blobs/sha256/00" in caplog.text


async def test_it_keeps_to_its_rate(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    await push_blob(store, "a", bytes(3 * 10**6))
    started = time.monotonic()
    async with scrubbing(store, rate=5):
        await until(lambda: "all 1 blobs read" in caplog.text)
    assert 0.5 < time.monotonic() - started < 10


@pytest.mark.parametrize("text", ["", "x", "1 2 3", "1 2 3 x blobs", "\0", "1 2 3 4\n5"])
def test_what_nobody_has_written_begins_a_round(text: str) -> None:
    now = Round.parse(text)
    assert now == Round(now.begin)
    assert now.due == 0


@pytest.mark.parametrize("now", [Round(7), Round(7, 1, 2, 3, "blobs/sha256/00/00"), Round(7, after="a b")])
def test_a_round_reads_as_it_was_written(now: Round) -> None:
    assert Round.parse(str(now)) == now


def test_a_clock_that_was_set_back_holds_it_up_for_one_round_at_most() -> None:
    assert Round(int(time.time()) + 10 * 365 * 24 * 3600).due == 24 * 3600
