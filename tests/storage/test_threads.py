"""Calls in threads: whoever waits for one, cancelled or not, goes on only after it has ended."""

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from storage.threads import Threads, in_thread, settle


@pytest.fixture
def threads() -> Iterator[Threads]:
    threads = Threads()
    yield threads
    threads.close()


async def test_arguments_and_results(threads: Threads) -> None:
    def function(one: int, *, two: str) -> str:
        return f"{one}{two}{threading.current_thread().name}"

    assert (await threads.run(function, 1, two="b")).startswith("1bstorage")


async def test_what_it_raises_is_raised(threads: Threads) -> None:
    with pytest.raises(ZeroDivisionError):
        await threads.run(lambda: 1 // 0)


@pytest.mark.parametrize("cancellations", [1, 3])
async def test_a_cancelled_call_never_returns_before_its_function(
    threads: Threads, cancellations: int
) -> None:
    entered, go = threading.Event(), threading.Event()
    events: list[str] = []

    def function() -> None:
        entered.set()
        go.wait(10)
        events.append("function")

    async def caller() -> None:
        try:
            await threads.run(function)
        finally:
            events.append("caller")

    task = asyncio.create_task(caller())
    await asyncio.to_thread(entered.wait, 10)
    for _ in range(cancellations):
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=0.02)
        assert not done
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert events == ["function", "caller"]


async def test_a_cancelled_call_is_cancelled_whatever_its_function_raised(threads: Threads) -> None:
    entered, go = threading.Event(), threading.Event()

    def function() -> None:
        entered.set()
        go.wait(10)
        raise ZeroDivisionError

    task = asyncio.create_task(threads.run(function))
    await asyncio.to_thread(entered.wait, 10)
    task.cancel()
    await asyncio.sleep(0)
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_coroutines_settle_too() -> None:
    go = asyncio.Event()
    events: list[str] = []

    async def work() -> None:
        await go.wait()
        events.append("work")

    task = asyncio.create_task(settle(work()))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0.01)
    assert not task.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert events == ["work"]


def test_a_loop_that_closes_waits_for_a_thread() -> None:
    """Its end cancels all tasks at once, also those that a task waits for."""
    entered, events = threading.Event(), list[str]()

    def work() -> None:
        entered.set()
        time.sleep(0.1)
        events.append("work")

    async def wait() -> None:
        try:
            await in_thread(work)
        finally:
            events.append("whoever waits")

    async def leave() -> asyncio.Task[None]:
        task = asyncio.create_task(wait())
        await asyncio.to_thread(entered.wait, 10)
        return task

    assert asyncio.run(leave()).cancelled()
    assert events == ["work", "whoever waits"]


async def test_many_calls_share_a_bounded_pool(threads: Threads) -> None:
    names = await asyncio.gather(*(threads.run(lambda: threading.current_thread().name) for _ in range(500)))
    assert len(set(names)) <= 16


async def test_work_that_was_cancelled_itself() -> None:
    entered = asyncio.Event()

    async def work() -> None:
        entered.set()
        await asyncio.Event().wait()

    inner = asyncio.create_task(work())
    task = asyncio.create_task(settle(inner))
    await entered.wait()
    task.cancel()
    await asyncio.sleep(0.01)
    inner.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_changes_that_hang_do_not_hold_up_reads(threads: Threads) -> None:
    go = threading.Event()
    changes = [asyncio.create_task(threads.run(go.wait, 10)) for _ in range(50)]
    assert (await asyncio.wait_for(threads.read(threading.current_thread), 5)).name.startswith("reader")
    go.set()
    assert await asyncio.gather(*changes) == [True] * 50


async def test_closing_waits_for_what_is_under_way() -> None:
    threads, ended = Threads(), threading.Event()
    entered = threading.Event()

    def function() -> None:
        entered.set()
        threading.Event().wait(0.05)
        ended.set()

    task = asyncio.create_task(threads.run(function))
    await asyncio.to_thread(entered.wait, 10)
    threads.close()
    assert ended.is_set()
    await task


# -- no further thread ------------------------------------------------------------------------------------


def fail_to_start(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


async def test_what_was_refused_is_never_done(threads: Threads, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller has closed by then what the call would act on."""
    entered, go, done = threading.Event(), threading.Event(), list[str]()

    def hold() -> None:
        entered.set()
        go.wait(10)

    holding = asyncio.create_task(threads.read(hold))
    await asyncio.to_thread(entered.wait, 10)
    with monkeypatch.context() as broken:
        broken.setattr(threading.Thread, "start", fail_to_start)
        with pytest.raises(MemoryError, match="no thread can be started"):
            await threads.read(done.append, "refused")
    go.set()
    await holding
    for _ in range(3):
        await threads.read(done.append, "later")
    assert done == ["later"] * 3


async def test_what_a_thread_has_taken_already_is_awaited(
    threads: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that runs may take the call from the queue before the next one fails to start."""
    taken = threading.Event()

    def adjust(pool: ThreadPoolExecutor) -> None:
        taken.wait(10)
        raise RuntimeError("can't start new thread")

    def call() -> str:
        taken.set()
        return "second"

    assert await threads.read(lambda: "first") == "first"
    monkeypatch.setattr(ThreadPoolExecutor, "_adjust_thread_count", adjust)
    assert await threads.read(call) == "second"
