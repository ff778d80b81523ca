"""One fetch for all who want a blob: in one worker and in two, whatever the upstream does.

Two `Fetches` over one root are two workers: their locks are as much each other's as those of two processes,
which tests/live/test_shared_fetch.py has.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from functools import partial

import pytest

from registry.cache.fetches import Fetches
from registry.cache.progress import WITHHELD
from registry.cache.wanted import Wanted
from registry.upstream.errors import (
    UpstreamBusy,
    UpstreamDenied,
    UpstreamError,
    UpstreamFailed,
    UpstreamForged,
    UpstreamMissing,
)
from storage.digest import Digest
from storage.errors import BlobMissing, StoreDegraded, StoreFull
from storage.fetches import Fetch
from storage.files import temporary_root
from storage.layout import ANNOUNCED
from storage.store import Store, open_store
from tests.builders import blob
from tests.cache.scripted import REPOSITORY, UPSTREAM, Answer, Claims, Script, whole

CONTENT = blob(300_000)
DIGEST = Digest.of(CONTENT)
BROKEN = UpstreamFailed(UPSTREAM, "it broke off")
CUT = Answer(end=100_000, raises=BROKEN)
OPEN = len(CONTENT) - WITHHELD  # bytes that anyone gets before all are verified


@pytest.fixture(scope="module")
def opened() -> Iterator[Store]:
    with temporary_root() as folder:
        store = open_store(os.path.join(folder, "root"), durable=False)
        yield store
        store.close()


@pytest.fixture
def store(opened: Store) -> Iterator[Store]:
    yield opened
    for folder in (opened.layout.fetches, os.path.dirname(opened.layout.blob(DIGEST))):
        for name in os.listdir(folder):
            os.unlink(os.path.join(folder, name))


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing pauses for long; a time that runs out is longer than a busy machine ever stands still."""
    for name, value in {
        "intake._PAUSES": (0.0, 0.0, 0.01),
        "intake._PROMPT": 10.0,
        "intake.PATIENCE": 10.0,
        "fetch.PATIENCE": 10.0,
        "fetch._POLL": 0.001,
    }.items():
        monkeypatch.setattr(f"registry.cache.{name}", value)


@pytest.fixture
def soon_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.cache.intake._SILENCE", 0.1)


def workers(store: Store, count: int = 2, *, at_once: int = 16) -> list[Fetches]:
    return [Fetches(store.fetches, store.blobs, at_once=at_once) for _ in range(count)]


async def pull(fetches: Fetches, wanted: Wanted, start: int = 0) -> bytes:
    async with fetches.open(wanted) as file:
        return await whole(file, start)


async def until(met: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not met():
            await asyncio.sleep(0.001)


def written(store: Store) -> int:
    """Bytes that have come of CONTENT, and are in its file."""
    with suppress(FileNotFoundError):
        return os.path.getsize(store.layout.fetch(REPOSITORY, DIGEST))
    return 0


def queues(fetches: Fetches, wanted: Wanted) -> bool:
    """Whether its turn was asked for: who asks later comes later."""
    fetch = fetches._under_way.get(wanted.key)
    return fetch is not None and fetch._turn._asked is not None


def left_in(store: Store) -> list[str]:
    return sorted(os.listdir(store.layout.fetches))


async def closed(*fetches: Fetches) -> None:
    for each in fetches:
        await each.close()


# -- shared --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 4])
async def test_many_clients_are_one_request(store: Store, count: int) -> None:
    script, claims = Script(CONTENT), Claims(store)
    several = workers(store, count)
    wanted = claims.wanted(script)
    pulled = await asyncio.gather(*(pull(fetches, wanted) for fetches in several * 10))
    assert set(pulled) == {CONTENT}
    assert (script.asked, script.brought) == ([0], len(CONTENT))
    await until(lambda: left_in(store) == [])
    assert claims.claimed == [DIGEST]
    assert await store.blobs.read(DIGEST) == CONTENT
    await closed(*several)


@pytest.mark.parametrize("length", [0, 1, WITHHELD - 1, WITHHELD, WITHHELD + 1])
async def test_any_size(store: Store, length: int) -> None:
    content = blob(length)
    script, claims = Script(content), Claims(store)
    several = workers(store)
    wanted = claims.wanted(script)
    assert set(await asyncio.gather(*(pull(fetches, wanted) for fetches in several * 3))) == {content}
    assert script.asked == [0]
    await until(lambda: left_in(store) == [])
    await closed(*several)
    os.unlink(store.layout.blob(wanted.digest))


async def test_a_size_that_the_upstream_does_not_tell_is_known_at_the_end(store: Store) -> None:
    script, claims = Script(CONTENT, [Answer(said=None)]), Claims(store)
    several = workers(store)
    pulls = [pull(fetches, claims.wanted(script)) for fetches in several * 3]
    assert set(await asyncio.gather(*pulls)) == {CONTENT}
    assert script.asked == [0]
    await closed(*several)


async def test_bytes_go_on_as_they_come(store: Store) -> None:
    gate = asyncio.Event()
    script, claims = Script(CONTENT, [Answer(gate=gate)], piece=100_000), Claims(store)
    several = workers(store)
    async with AsyncExitStack() as stack:
        for fetches in several:
            file = await stack.enter_async_context(fetches.open(claims.wanted(script)))
            assert (file.size, await file.ready(0, 1000)) == (len(CONTENT), 1000)
            assert await file.read([(99_990, 10), (0, 5)]) == [CONTENT[99_990:100_000], CONTENT[:5]]
            assert await file.ready(99_990, 50_000) == 10
            assert file.descriptor is not None
            assert os.pread(file.descriptor, 10, 99_990) == CONTENT[99_990:100_000]
            waiting = asyncio.create_task(file.ready(100_000, 1))
            await asyncio.sleep(0.02)
            assert not waiting.done()
            waiting.cancel()
        gate.set()
        assert await whole(file, 150_000) == CONTENT[150_000:]
    await closed(*several)


async def test_the_last_bytes_wait_for_the_digest(store: Store) -> None:
    """All of them are in the file, and the upstream has not said yet that this is the end."""
    script, claims = Script(CONTENT, [Answer(hangs=True)]), Claims(store)
    several = workers(store)
    for fetches in several:
        async with fetches.open(claims.wanted(script)) as file:
            assert await file.ready(0, len(CONTENT)) <= OPEN
            await until(lambda: script.brought == len(CONTENT))
            assert await file.read([(OPEN - 1, 1)]) == [CONTENT[OPEN - 1 : OPEN]]
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(file.ready(OPEN, 1), 0.02)
    await closed(*several)


async def test_a_client_that_leaves_ends_nothing(store: Store) -> None:
    gate = asyncio.Event()
    script, claims = Script(CONTENT, [Answer(gate=gate)]), Claims(store)
    (fetches,) = workers(store, 1)
    leaving = asyncio.create_task(pull(fetches, claims.wanted(script)))
    await until(lambda: script.brought > 0)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    gate.set()
    await until(lambda: claims.claimed == [DIGEST])
    assert script.asked == [0]
    await fetches.close()


async def test_who_comes_late_has_what_is_there_at_once(store: Store) -> None:
    gate = asyncio.Event()
    script, claims = Script(CONTENT, [Answer(gate=gate)], piece=100_000), Claims(store)
    several = workers(store)
    async with several[0].open(claims.wanted(script)) as first:
        await first.ready(99_999, 1)
        for fetches in several:
            async with fetches.open(claims.wanted(script)) as file:
                assert await file.ready(99_999, 1) == 1
        gate.set()
    await closed(*several)


async def test_nothing_is_asked_for_until_there_is_room(store: Store) -> None:
    """The worker that fetches waits; who follows it has the bytes as they come."""
    room, asked = asyncio.Event(), list[str]()

    async def await_room(repository: str) -> None:
        asked.append(repository)
        await room.wait()

    script, claims = Script(CONTENT), Claims(store)
    several = [Fetches(store.fetches, store.blobs, await_room=await_room) for _ in range(2)]
    wanted = claims.wanted(script)
    pulls = [asyncio.create_task(pull(fetches, wanted)) for fetches in several]
    await until(lambda: bool(asked))
    await asyncio.sleep(0.02)
    assert script.asked == []
    room.set()
    assert set(await asyncio.gather(*pulls)) == {CONTENT}
    assert (asked, script.asked) == ([wanted.repository], [0])
    await closed(*several)


async def test_what_another_has_claimed_meanwhile_is_not_asked_for(store: Store) -> None:
    script, claims = Script(CONTENT), Claims(store)
    await store.blobs.put(DIGEST, CONTENT)
    claims.claimed.append(DIGEST)
    (fetches,) = workers(store, 1)
    assert await pull(fetches, claims.wanted(script)) == CONTENT
    assert script.asked == []
    await fetches.close()
    assert left_in(store) == []


async def test_each_repository_is_given_it_by_itself(store: Store) -> None:
    script, claims = Script(CONTENT), Claims(store)
    (fetches,) = workers(store, 1)
    wanted = claims.wanted(script)
    other = replace(wanted, repository="@up.example/else")
    assert [*await asyncio.gather(pull(fetches, wanted), pull(fetches, other))] == [CONTENT, CONTENT]
    assert script.asked == [0, 0]
    await until(lambda: len(claims.claimed) == 2)
    await fetches.close()


# -- upstreams that fail -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("soon_silent")
@pytest.mark.parametrize(
    "answers",
    [
        [CUT, Answer()],
        [Answer(end=100_000, hangs=True), Answer()],
        [CUT, Answer(refuses=BROKEN), CUT, Answer()],
        [CUT, Answer(refuses=UpstreamBusy(UPSTREAM, "wait", 0.01)), Answer()],
        [Answer(end=len(CONTENT), raises=BROKEN), Answer()],
    ],
)
async def test_what_broke_off_is_gone_on_with(store: Store, answers: list[Answer]) -> None:
    script, claims = Script(CONTENT, answers), Claims(store)
    several = workers(store)
    pulls = [pull(fetches, claims.wanted(script)) for fetches in several * 3]
    assert set(await asyncio.gather(*pulls)) == {CONTENT}
    assert script.brought == len(CONTENT)
    assert len(script.asked) == len(answers)
    await closed(*several)


async def test_each_byte_that_comes_gives_new_patience(store: Store) -> None:
    answers = [Answer(end=end, raises=BROKEN) for end in range(20_000, len(CONTENT), 20_000)]
    script, claims = Script(CONTENT, [*answers, Answer()]), Claims(store)
    (fetches,) = workers(store, 1)
    assert await pull(fetches, claims.wanted(script)) == CONTENT
    assert script.asked == [0, *range(20_000, len(CONTENT), 20_000)]
    await fetches.close()


@pytest.mark.usefixtures("soon_silent")
async def test_a_slow_disk_is_not_the_upstream_s_silence(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, claims = Script(CONTENT, piece=100_000), Claims(store)
    (fetches,) = workers(store, 1)
    append = store.files.append

    def slow(descriptor: int, chunks: list[bytes]) -> None:
        time.sleep(0.12)
        append(descriptor, chunks)

    monkeypatch.setattr(store.files, "append", slow)
    assert await pull(fetches, claims.wanted(script)) == CONTENT
    assert script.asked == [0]
    await fetches.close()


async def test_a_first_try_may_fail(store: Store) -> None:
    script, claims = Script(CONTENT, [Answer(refuses=BROKEN), Answer()]), Claims(store)
    (fetches,) = workers(store, 1)
    assert await pull(fetches, claims.wanted(script)) == CONTENT
    await fetches.close()


@pytest.mark.parametrize(
    ("fact", "tries"),
    [
        (UpstreamMissing(UPSTREAM, "none"), 1),
        (UpstreamDenied(UPSTREAM, "no"), 1),
        (UpstreamBusy(UPSTREAM, "wait", 60.0), 1),
        (UpstreamBusy(UPSTREAM, "wait", 0.01), 1),
        (UpstreamFailed(UPSTREAM, "it is left alone", 20.0), 1),
        (BROKEN, 2),
    ],
)
async def test_a_refusal_is_told_to_all_and_leaves_nothing(
    store: Store, fact: UpstreamError, tries: int
) -> None:
    script, claims = Script(CONTENT, [Answer(refuses=fact)]), Claims(store)
    several = workers(store)
    pulls = [pull(fetches, claims.wanted(script)) for fetches in several * 5]
    assert await asyncio.gather(*pulls, return_exceptions=True) == [fact] * 10
    assert len(script.asked) in (tries, 2 * tries), "each worker asks once"
    assert left_in(store) == []
    await closed(*several)


OTHER = blob(len(CONTENT), 7)
FORGED = {
    "wrong bytes": Answer(content=OTHER),
    "wrong bytes at the end": Answer(content=CONTENT[:-1] + b"\0"),
    "shorter than said": Answer(end=200_000),
    "longer than said": Answer(said=250_000),
}


@pytest.mark.parametrize("answer", FORGED.values(), ids=FORGED)
async def test_a_forged_blob_is_never_whole(store: Store, answer: Answer) -> None:
    script, claims = Script(CONTENT, [answer]), Claims(store)
    several = workers(store)
    got: list[bytearray] = []

    async def take(fetches: Fetches) -> None:
        mine = bytearray()
        got.append(mine)
        async with fetches.open(claims.wanted(script)) as file:
            async for chunk in file.chunks(0, file.size):
                mine.extend(chunk)

    ends = await asyncio.gather(*(take(fetches) for fetches in several * 3), return_exceptions=True)
    assert all(isinstance(end, UpstreamError) for end in ends), ends
    assert any(isinstance(end, UpstreamForged) for end in ends)
    assert all(len(each) <= OPEN for each in got)
    assert (claims.claimed, left_in(store), store.blobs.size(DIGEST)) == ([], [], None)
    healed = claims.wanted(Script(CONTENT))
    assert await pull(several[0], healed) == CONTENT
    await closed(*several)


async def test_more_than_was_said_is_not_taken(store: Store) -> None:
    script, claims = Script(CONTENT, [Answer(said=100_000)]), Claims(store)
    (fetches,) = workers(store, 1)
    with pytest.raises(UpstreamForged, match="more than 100000 bytes"):
        await pull(fetches, claims.wanted(script))
    assert script.brought == 110_000
    await fetches.close()


async def test_what_was_given_up_is_kept_for_the_next_who_asks(store: Store) -> None:
    claims = Claims(store)
    failing = Script(CONTENT, [CUT, Answer(refuses=BROKEN)])
    several = workers(store)
    ends = await asyncio.gather(
        *(pull(fetches, claims.wanted(failing)) for fetches in several), return_exceptions=True
    )
    assert all(isinstance(end, UpstreamFailed) for end in ends), ends
    script = Script(CONTENT)
    pulls = [pull(fetches, claims.wanted(script)) for fetches in several]
    assert set(await asyncio.gather(*pulls)) == {CONTENT}
    assert script.asked == [100_000]
    await closed(*several)


# -- workers that end ----------------------------------------------------------------------------------------


async def test_a_stop_keeps_the_file_and_the_next_start_goes_on(store: Store) -> None:
    script, claims = Script(CONTENT, [Answer(end=100_000, hangs=True), Answer()]), Claims(store)
    first, second = workers(store)
    pulling = asyncio.create_task(pull(first, claims.wanted(script)))
    await until(lambda: written(store) == 100_000)
    await first.close()
    with pytest.raises(UpstreamFailed, match="stopping"):
        await pulling
    assert len(left_in(store)) == 2
    assert await pull(second, claims.wanted(script)) == CONTENT
    assert script.asked == [0, 100_000]
    await second.close()


async def test_who_follows_takes_over(store: Store) -> None:
    script, claims = Script(CONTENT, [Answer(end=100_000, hangs=True), Answer()]), Claims(store)
    first, *others = workers(store, 3)
    pulling = asyncio.create_task(pull(first, claims.wanted(script)))
    await until(lambda: written(store) == 100_000)
    following = [asyncio.create_task(pull(each, claims.wanted(script))) for each in others * 3]
    await asyncio.sleep(0.02)
    await first.close()
    assert set(await asyncio.gather(*following)) == {CONTENT}
    assert (script.asked, script.brought) == ([0, 100_000], len(CONTENT))
    with pytest.raises(UpstreamFailed):
        await pulling
    await closed(*others)


async def test_a_worker_that_stands_still_is_not_waited_for_for_ever(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, claims = Script(CONTENT), Claims(store)
    (fetches,) = workers(store, 1)
    async with store.fetches.open(REPOSITORY, DIGEST) as held:
        assert held.lock()
        with monkeypatch.context() as patch:
            patch.setattr("registry.cache.fetch.PATIENCE", 0.1)
            with pytest.raises(UpstreamFailed, match="no byte has come"):
                await pull(fetches, claims.wanted(script))
    assert await pull(fetches, claims.wanted(script)) == CONTENT
    await fetches.close()


@pytest.mark.parametrize(
    ("content", "claimed", "asked"),
    [(CONTENT, False, []), (CONTENT, True, []), (OTHER, False, [0]), (CONTENT[:1000], False, [0])],
    ids=["whole", "claimed", "wrong bytes", "too short"],
)
async def test_a_sealed_file_that_a_crash_has_left(
    store: Store, content: bytes, claimed: bool, asked: list[int]
) -> None:
    """A power cut may keep the mode and lose the bytes: nobody gets any before they are hashed again."""
    script, claims = Script(CONTENT), Claims(store)
    path = store.layout.fetch(REPOSITORY, DIGEST)
    with open(path, "wb") as file:
        file.write(content)
    os.chmod(path, 0o400)
    if claimed:
        claims.claimed.append(DIGEST)
        await store.blobs.put(DIGEST, CONTENT)
    several = workers(store)
    pulls = [pull(fetches, claims.wanted(script)) for fetches in several * 3]
    assert set(await asyncio.gather(*pulls)) == {CONTENT}
    assert script.asked == asked
    await until(lambda: left_in(store) == [])
    await closed(*several)


@pytest.mark.parametrize("content", [OTHER, CONTENT + b"x"], ids=["wrong bytes", "too long"])
async def test_a_file_of_all_bytes_that_nobody_had_verified(store: Store, content: bytes) -> None:
    script, claims = Script(CONTENT), Claims(store)
    with open(store.layout.fetch(REPOSITORY, DIGEST), "wb") as file:
        file.write(content)
    with open(file.name + ANNOUNCED, "w", encoding="ascii") as announced:
        announced.write(f"{len(CONTENT)}\n")
    (fetches,) = workers(store, 1)
    assert await pull(fetches, claims.wanted(script)) == CONTENT
    assert script.asked == [0]
    await fetches.close()


async def test_a_fetch_that_ends_just_before_it_is_locked_is_begun_anew(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, claims = Script(CONTENT), Claims(store)
    (fetches,) = workers(store, 1)
    lock = Fetch.lock
    ended: list[str] = []

    def late(self: Fetch) -> bool:
        if not ended:
            ended.append(store.layout.fetch(REPOSITORY, DIGEST))
            os.unlink(ended[0])
        return lock(self)

    monkeypatch.setattr(Fetch, "lock", late)
    assert await pull(fetches, claims.wanted(script)) == CONTENT
    await until(lambda: claims.claimed == [DIGEST])
    await fetches.close()


# -- the store and the index ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("failures", "whole_at_last"), [(2, True), (9, False)])
async def test_a_file_that_is_taken_away_before_its_claim(
    store: Store, failures: int, whole_at_last: bool, caplog: pytest.LogCaptureFixture
) -> None:
    script, claims = Script(CONTENT), Claims(store)
    wanted, tries = claims.wanted(script), []

    async def landed() -> None:
        tries.append(store.blobs.size(DIGEST))
        os.unlink(store.layout.blob(DIGEST))
        if len(tries) <= failures:
            raise BlobMissing(DIGEST)

    (fetches,) = workers(store, 1)
    assert await pull(fetches, replace(wanted, landed=landed)) == CONTENT, "all was verified"
    await until(lambda: len(tries) == 3)
    assert tries == [len(CONTENT)] * 3
    await fetches.close()
    assert ("keeps vanishing" in caplog.text) != whole_at_last
    assert (left_in(store) == []) == whole_at_last


async def test_a_full_disk_ends_it_and_is_left_room(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    script, claims = Script(CONTENT), Claims(store)
    several = workers(store)
    left = iter([None] * 12)

    def require_room(_: str) -> None:
        if next(left, "full"):
            raise StoreFull("the disk is full")

    monkeypatch.setattr("storage.fetches.require_room", require_room)
    ends = await asyncio.gather(
        *(pull(fetches, claims.wanted(script)) for fetches in several * 2), return_exceptions=True
    )
    assert any(isinstance(end, StoreFull) for end in ends)
    assert all(isinstance(end, StoreFull | UpstreamFailed) for end in ends), ends
    assert left_in(store) == []
    monkeypatch.undo()
    assert await pull(several[0], claims.wanted(script)) == CONTENT
    await closed(*several)


async def test_a_degraded_store_fetches_nothing(store: Store) -> None:
    script, claims = Script(CONTENT), Claims(store)
    (fetches,) = workers(store, 1)
    store.files.latch("an fsync failed")
    try:
        with pytest.raises(StoreDegraded):
            await pull(fetches, claims.wanted(script))
    finally:
        store.files.unlatch()
    assert script.asked == []
    assert await pull(fetches, claims.wanted(script)) == CONTENT
    await fetches.close()


# -- how many ------------------------------------------------------------------------------------------------


async def test_so_many_at_once_and_the_others_in_turn(store: Store) -> None:
    gates = [asyncio.Event() for _ in range(5)]
    scripts = [Script(blob(150_000, seed), [Answer(gate=gate)]) for seed, gate in enumerate(gates)]
    claims = Claims(store)
    (fetches,) = workers(store, 1, at_once=2)

    async def running(expected: list[int]) -> None:
        await until(lambda: [n for n, script in enumerate(scripts) if script.asked] == expected)

    pulls: list[asyncio.Task[bytes]] = []
    for wanted in map(claims.wanted, scripts):
        pulls.append(asyncio.create_task(pull(fetches, wanted)))
        await until(partial(queues, fetches, wanted))
    await running([0, 1])
    left = pulls.pop(3)  # whoever waits in vain leaves, and is not fetched for
    left.cancel()
    await asyncio.gather(left, return_exceptions=True)
    gates[1].set()
    await running([0, 1, 2])
    gates[0].set()
    await running([0, 1, 2, 4])
    for gate in gates:
        gate.set()
    assert [*await asyncio.gather(*pulls)] == [scripts[n].content for n in (0, 1, 2, 4)]
    await until(lambda: left_in(store) == [])
    await fetches.close()
    for number in (0, 1, 2, 4):
        os.unlink(store.layout.blob(Digest.of(scripts[number].content)))


async def test_a_slow_upstream_holds_up_no_other(store: Store) -> None:
    gate = asyncio.Event()
    slow, quick = Script(CONTENT, [Answer(gate=gate)]), Script(blob(150_000, 1))
    claims = Claims(store)
    (fetches,) = workers(store, 1, at_once=1)
    waiting = asyncio.create_task(pull(fetches, claims.wanted(slow)))
    await until(lambda: slow.brought > 0)
    other = replace(claims.wanted(quick), upstream="quick.example", repository="@quick.example/team/app")
    assert await pull(fetches, other) == quick.content
    assert not waiting.done()
    gate.set()
    assert await waiting == CONTENT
    await fetches.close()
    os.unlink(store.layout.blob(Digest.of(quick.content)))


async def test_who_comes_while_a_wait_for_a_turn_is_given_up(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, removing = asyncio.Event(), asyncio.Event()
    busy, wanted = Script(blob(150_000, 1), [Answer(gate=gate)]), Script(CONTENT)
    claims = Claims(store)
    (fetches,) = workers(store, 1, at_once=1)
    first = asyncio.create_task(pull(fetches, claims.wanted(busy)))
    await until(lambda: busy.brought > 0)
    remove = Fetch.remove

    async def slowly(self: Fetch) -> None:
        removing.set()
        await asyncio.sleep(0.02)
        await remove(self)

    monkeypatch.setattr(Fetch, "remove", slowly)
    leaving = asyncio.create_task(pull(fetches, claims.wanted(wanted)))
    await until(lambda: queues(fetches, claims.wanted(wanted)))
    leaving.cancel()
    await removing.wait()
    late = asyncio.create_task(pull(fetches, claims.wanted(wanted)))
    await asyncio.sleep(0.03)
    gate.set()
    assert [await first, await late] == [busy.content, CONTENT]
    assert wanted.asked == [0]
    await until(lambda: left_in(store) == [])
    await fetches.close()
    os.unlink(store.layout.blob(Digest.of(busy.content)))


async def test_who_follows_after_all_leaves_its_turn_to_the_next(store: Store) -> None:
    gates = [asyncio.Event() for _ in range(3)]
    busy, shared, last = (Script(blob(150_000, seed), [Answer(gate=gate)]) for seed, gate in enumerate(gates))
    claims = Claims(store)
    ours, theirs = workers(store, at_once=1)
    pulls = [asyncio.create_task(pull(ours, claims.wanted(busy)))]
    await until(lambda: busy.brought > 0)
    pulls.append(asyncio.create_task(pull(ours, claims.wanted(shared))))
    await until(lambda: queues(ours, claims.wanted(shared)))
    pulls.append(asyncio.create_task(pull(theirs, claims.wanted(shared))))
    await until(lambda: shared.brought > 0)
    pulls.append(asyncio.create_task(pull(ours, claims.wanted(last))))
    gates[0].set()
    await until(lambda: last.brought > 0)
    for gate in gates:
        gate.set()
    scripts = [busy, shared, shared, last]
    assert [*await asyncio.gather(*pulls)] == [script.content for script in scripts]
    assert shared.asked == [0]
    await closed(ours, theirs)
    for script in (busy, shared, last):
        os.unlink(store.layout.blob(Digest.of(script.content)))


async def test_readers_keep_their_bytes_whatever_becomes_of_the_fetch(store: Store) -> None:
    """Descriptors of their own: the fetch closes its file, and numbers are used again."""
    script, claims = Script(CONTENT), Claims(store)
    (fetches,) = workers(store, 1)
    async with fetches.open(claims.wanted(script)) as file:
        await file.ready(len(CONTENT) - 1, 1)
        await fetches.close()
        assert await whole(file) == CONTENT
        with pytest.raises(EOFError):
            await file.ready(len(CONTENT), 1)
