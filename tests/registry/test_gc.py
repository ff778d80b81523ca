"""Collections on a timer: when a pass is made, and that nothing ends the next one."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from registry import gc
from registry.app import build
from registry.gc import collect_in_turn, rules_of
from registry.retention import Applied
from registry.settings import Settings
from storage.collect import collect, collected
from storage.errors import IndexFailed, StoreDegraded
from storage.garbage import DAY, HOUR, Report, Rules, keep_a_month
from storage.locks import held
from storage.store import Store, open_store
from tests.storage.hands import Hands
from tests.storage.pushing import push_blob

RULES = Rules()
INTERVAL = HOUR // 4


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def store(tmp_path: Path, hands: Hands) -> Iterator[Store]:
    with closing(open_store(str(tmp_path / "root"), durable=False, machine=hands.machine)) as store:
        yield store


@dataclass(slots=True)
class Passes:
    """Those that were made, by whether they walked; `failing` are raised first, one in each."""

    walked: list[bool] = field(default_factory=list)
    failing: list[Exception] = field(default_factory=list)
    looks: int = 0

    async def collect(
        self,
        store: Store,
        rules: Rules,
        *,
        first: Callable[[], Awaitable[object]],
        walk: bool,
        pause: float,
    ) -> Report:
        assert pause > 0
        if self.failing:
            raise self.failing.pop()
        report = await collect(store, rules, first=first, walk=walk)
        self.walked.append(walk)
        return report

    async def look(self, store: Store) -> int | None:
        self.looks += 1
        return await collected(store)

    async def reach(self, number: int) -> None:
        """Wait until so many were made."""
        await until(lambda: len(self.walked) >= number)

    async def some_looks(self) -> int:
        """How many passes there are after the timer has looked a few times more."""
        wanted = self.looks + 3
        await until(lambda: self.looks >= wanted)
        return len(self.walked)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.002)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Passes:
    """Looks follow each other in milliseconds, while the store's time is the hands'."""
    passes = Passes()
    monkeypatch.setattr(gc, "_SOON", 0.0)
    monkeypatch.setattr(gc, "_LOOKS", INTERVAL * 500)
    monkeypatch.setattr(gc, "_LOOKS_AFTER_FAILURE", INTERVAL * 500)
    monkeypatch.setattr(gc, "collect", passes.collect)
    monkeypatch.setattr(gc, "collected", passes.look)
    return passes


async def retain_all() -> Applied:
    return Applied()


@asynccontextmanager
async def collecting(
    store: Store, rules: Rules = RULES, retention: Callable[[], Awaitable[Applied]] = retain_all
) -> AsyncIterator[None]:
    task = asyncio.create_task(collect_in_turn(store, rules, retention))
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.wait_for(task, 10)
    assert task.cancelled()


async def test_a_pass_is_made_whenever_it_is_due(store: Store, hands: Hands, passes: Passes) -> None:
    async with collecting(store):
        assert await passes.some_looks() == 1, "there was none before"
        for number in (1, 2, 3):
            hands.wait(INTERVAL - 1)
            assert await passes.some_looks() == number
            hands.wait(1)
            assert await passes.some_looks() == number + 1


async def test_a_restart_makes_no_pass_early(store: Store, hands: Hands, passes: Passes) -> None:
    await collect(store, RULES)
    async with collecting(store):
        assert await passes.some_looks() == 0
        hands.wait(INTERVAL)
        assert await passes.some_looks() == 1


async def test_a_pass_of_another_process_counts(
    tmp_path: Path, store: Store, hands: Hands, passes: Passes
) -> None:
    async with collecting(store):
        assert await passes.some_looks() == 1
        hands.wait(INTERVAL - 1)
        with closing(open_store(str(tmp_path / "root"), machine=hands.machine)) as other:
            await collect(other, RULES)
        hands.wait(INTERVAL - 1)
        assert await passes.some_looks() == 1
        hands.wait(1)
        assert await passes.some_looks() == 2


async def test_workers_share_the_passes(
    tmp_path: Path, store: Store, hands: Hands, passes: Passes, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever comes first makes it."""
    with closing(open_store(str(tmp_path / "root"), durable=False, machine=hands.machine)) as other:
        await collect(store, RULES)
        async with collecting(store), collecting(other):
            for number in range(1, 4):
                hands.wait(INTERVAL)
                await passes.reach(number)
                # Twice only where one found it due just before the other's ended.
                assert await passes.some_looks() <= 2 * number
    assert not caplog.records


async def test_who_finds_another_at_it_says_nothing(
    store: Store, passes: Passes, caplog: pytest.LogCaptureFixture
) -> None:
    async with collecting(store):
        with held(store.layout.gc_lock, "a test"):
            assert await passes.some_looks() == 0
        assert await passes.some_looks() == 1
    assert not caplog.records


@pytest.mark.parametrize(
    "error",
    [
        IndexFailed("the index is damaged"),
        StoreDegraded("an fsync failed"),
        OSError(5, "Input/output error"),
        ValueError("a mistake of ours"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_stops_a_pass_is_logged_and_the_next_one_is_made(
    store: Store, passes: Passes, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    passes.failing.append(error)
    async with collecting(store):
        assert await passes.some_looks() == 1
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "deletes nothing" in record.getMessage()
    # Of our own mistakes the place is told, of a bad disk its message.
    assert bool(record.exc_info) is isinstance(error, ValueError)
    assert record.exc_info or str(error) in record.getMessage()


async def test_strays_are_looked_for_once_a_day(store: Store, hands: Hands, passes: Passes) -> None:
    hands.wait(DAY - hands.wall % DAY)  # a day begins
    async with collecting(store):
        for number in range(1, 2 * DAY // INTERVAL + 1):
            assert await passes.some_looks() == number
            hands.wait(INTERVAL)
    a_day = [True] + [False] * (DAY // INTERVAL - 1)
    assert passes.walked == a_day * 2


async def test_the_log_tells_of_what_went_alone(
    store: Store, hands: Hands, passes: Passes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "registry")
    await push_blob(store, "a", bytes(300_000))
    async with collecting(store):
        for number in range(1, 8):
            assert await passes.some_looks() == number
            hands.wait(INTERVAL)
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert record.getMessage().startswith(
        "garbage collection: 0 manifests and 1 blobs went, 300000 bytes freed in 0."
    )


async def test_a_stop_ends_a_pass_that_is_under_way(
    store: Store, monkeypatch: pytest.MonkeyPatch, passes: Passes
) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def for_ever(*_: object, **__: object) -> Report:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError("nobody sets that event")

    monkeypatch.setattr(gc, "collect", for_ever)
    async with collecting(store):
        await asyncio.wait_for(begun.wait(), 10)
    assert ended.is_set()


@pytest.mark.parametrize("on", [True, False])
async def test_the_settings_switch_it_and_say_its_grace(
    store: Store, monkeypatch: pytest.MonkeyPatch, on: bool
) -> None:
    begun: list[tuple[Store, int]] = []

    async def collect_in_turn(store: Store, rules: Rules, _: object) -> None:
        begun.append((store, rules.grace))

    monkeypatch.setattr("registry.app.collect_in_turn", collect_in_turn)
    app = build(store, Settings(root=store.layout.root, gc=on, gc_grace=77))
    async with app.lifespan_context(app):
        await asyncio.sleep(0.05)
    assert begun == ([(store, 77)] if on else [])


def test_uploads_hold_up_for_a_day_at_least() -> None:
    assert rules_of(grace=HOUR, untagged=keep_a_month) == RULES
    assert rules_of(grace=10, untagged=keep_a_month) == Rules(grace=10, patience=DAY)
    assert rules_of(grace=2 * DAY, untagged=keep_a_month) == Rules(grace=2 * DAY, patience=2 * DAY)
