"""Fetches as files: what the contract's tests can't see."""

import asyncio
import os
import threading
import time
from collections.abc import Callable

import pytest

from storage.digest import Digest
from storage.errors import StoreDegraded, StoreFull
from storage.room import Room
from storage.store import Store
from tests.builders import blob
from tests.storage.conftest import Opener
from tests.storage.probes import Recorder

DATA = blob(3000)
DIGEST = Digest.of(DATA)


def path_of(store: Store) -> str:
    return store.layout.fetch("a", DIGEST)


def left_in(store: Store) -> list[str]:
    return sorted(
        name.removeprefix(os.path.basename(path_of(store))) for name in os.listdir(store.layout.fetches)
    )


async def test_a_blob_is_the_fetch_s_own_file(store: Store) -> None:
    async with store.fetches.open("a", DIGEST) as fetch:
        await fetch.announce(len(DATA))
        await fetch.append(DATA)
        begun = os.stat(path_of(store))
        await fetch.install()
        landed = os.stat(store.layout.blob(DIGEST))
        assert (landed.st_ino, landed.st_mode & 0o777) == (begun.st_ino, 0o400)
        assert left_in(store) == ["", ".size"]
        await fetch.remove()
    assert left_in(store) == []


async def test_it_is_durable_before_it_has_a_name(opener: Opener) -> None:
    probe = Recorder()
    store = opener(probe=probe)
    async with store.fetches.open("a", DIGEST) as fetch:
        await fetch.append(DATA)
        probe.calls.clear()
        await fetch.install()
    assert probe.names == ["chmod", "fsync", "link", "rename", "fsync"]


@pytest.mark.parametrize(
    ("text", "size"), [("3000\n", 3000), ("3000", None), ("", None), ("-1\n", None), ("9" * 30 + "\n", None)]
)
async def test_an_announcement_that_is_half_written_says_nothing(
    store: Store, text: str, size: int | None
) -> None:
    async with store.fetches.open("a", DIGEST) as fetch:
        with open(f"{path_of(store)}.size", "w") as file:
            file.write(text)
        assert fetch.announced() == size
        await fetch.announce(4000)
        assert fetch.announced() == 4000


@pytest.mark.parametrize("suffix", ["", ".size"])
async def test_no_link_is_followed(store: Store, tmp_path: os.PathLike[str], suffix: str) -> None:
    outside = os.path.join(tmp_path, "outside")
    with open(outside, "w") as file:
        file.write("7\n")
    os.symlink(outside, path_of(store) + suffix)
    with pytest.raises(OSError, match="symbolic links"):
        async with store.fetches.open("a", DIGEST) as fetch:
            fetch.announced()
    await store.fetches.expire(0)
    with open(outside) as file:
        assert file.read() == "7\n"


async def test_room_is_looked_for_before_each_piece(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    async with store.fetches.open("a", DIGEST) as fetch:
        await fetch.append(DATA[:1000])
        monkeypatch.setattr("storage.room.look", lambda _: Room(0, 2**40))
        with pytest.raises(StoreFull):
            await fetch.append(DATA[1000:])
        with pytest.raises(StoreFull):
            async with store.fetches.open("b", DIGEST):
                pytest.fail("it was made")
        monkeypatch.undo()
        assert await fetch.append(DATA[1000:]) == 3000
        fetch.verify()


async def test_a_write_that_fails_half_way_counts_as_far_as_it_came(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with store.fetches.open("a", DIGEST) as fetch:

        def half(descriptor: int, parts: list[bytes]) -> None:
            os.write(descriptor, parts[0][:100])
            raise StoreFull("full")

        with monkeypatch.context() as patch:
            patch.setattr(store.files, "append", half)
            with pytest.raises(StoreFull):
                await fetch.append(DATA)
        assert fetch.look().size == 100
        await fetch.append(DATA[100:])
        fetch.verify()


async def test_a_cancelled_fetch_stays_open_until_its_write_has_ended(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, written = store.files.append, []
    entered = threading.Event()

    def slow(descriptor: int, parts: list[bytes]) -> None:
        entered.set()
        time.sleep(0.05)
        append(descriptor, parts)
        written.append(os.fstat(descriptor).st_ino)

    monkeypatch.setattr(store.files, "append", slow)

    async def fetch() -> None:
        async with store.fetches.open("a", DIGEST) as file:
            assert file.lock()
            await file.append(DATA)

    task = asyncio.create_task(fetch())
    assert await asyncio.to_thread(entered.wait, 10)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert written == [os.stat(path_of(store)).st_ino]
    assert os.path.getsize(path_of(store)) == len(DATA)


async def test_a_degraded_store_opens_none(store: Store) -> None:
    store.files.latch("an fsync failed")
    try:
        with pytest.raises(StoreDegraded):
            async with store.fetches.open("a", DIGEST):
                pytest.fail("it was opened")
    finally:
        store.files.unlatch()
    assert left_in(store) == []


def _make(*suffixes: str) -> Callable[[str], None]:
    def make(path: str) -> None:
        for suffix in suffixes:
            with open(path + suffix, "w") as file:
                file.write("7\n")

    return make


@pytest.mark.parametrize("hours", [-2, 2], ids=["long ago", "yet to come"])
@pytest.mark.parametrize(
    ("make", "ended"),
    [
        (_make("", ".size", ".new"), 1),
        (_make(""), 1),
        (_make(".size", ".new"), 0),
        (_make(".size"), 0),
        (_make(".new"), 0),
    ],
    ids=["all", "bytes", "no bytes", "size", "second name"],
)
async def test_leftovers_of_crashes_go_when_they_are_old(
    store: Store, make: Callable[[str], None], ended: int, hours: int
) -> None:
    make(path_of(store))
    assert await store.fetches.expire(3600) == []
    made = left_in(store)
    assert made
    for suffix in made:
        os.utime(path_of(store) + suffix, (time.time() + hours * 3600,) * 2)
    assert len(await store.fetches.expire(3600)) == ended
    assert left_in(store) == []


async def test_what_is_no_fetch_does_not_stop_the_others_expiry(store: Store) -> None:
    os.mkdir(os.path.join(store.layout.fetches, "a folder"))
    async with store.fetches.open("a", DIGEST):
        pass
    assert await store.fetches.expire(0) == [os.path.basename(path_of(store))]
