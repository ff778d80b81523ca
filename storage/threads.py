"""Where blocking calls run: bounded pools, one hop for one whole step."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

_THREADS = 16
_READERS = 16
_MOST = 8  # a container's share of the cores may be smaller than it looks
_CORES = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, _MOST)


class Pool(ThreadPoolExecutor):
    """`submit` raises MemoryError, or the call is made: never both.

    The standard one queues a call before it starts a thread for it. If none can be started, it raises, and a
    thread that runs already makes the call all the same: on descriptors that its caller has closed since, and
    that are another file's or a connection's by then (seen under a limit on memory).
    """

    def submit(
        self,
        fn: Callable[Parameters, Result],
        /,
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Future[Result]:
        outcome: Future[Result] = Future()

        def step() -> None:
            if not outcome.set_running_or_notify_cancel():
                return
            try:
                outcome.set_result(fn(*args, **kwargs))
            except BaseException as error:
                outcome.set_exception(error)

        try:
            super().submit(step)
        except (RuntimeError, MemoryError) as error:
            if outcome.cancel():
                raise MemoryError("no thread can be started") from error
        return outcome


class Threads:
    def __init__(self) -> None:
        self._pool = Pool(_THREADS, thread_name_prefix="storage")
        # Of their own: pushes that wait for a slow fsync must not hold up pulls.
        self._readers = Pool(_READERS, thread_name_prefix="reader")
        # As many as can compute at once: sixteen that hash let the event loop wait for a core (measured).
        self._movers = Pool(_CORES, thread_name_prefix="mover")
        self._senders = Pool(_CORES, thread_name_prefix="sender")

    @property
    def readers(self) -> Executor:
        return self._readers

    async def run(
        self, function: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Result:
        """Run in a thread. Never returns before the function has, even when cancelled."""
        return await _run(self._pool, lambda: function(*args, **kwargs))

    async def move(
        self, function: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Result:
        """The same for what hashes and writes a body's bytes."""
        return await _run(self._movers, lambda: function(*args, **kwargs))

    async def send(
        self, function: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Result:
        """The same for what hands bytes of memory to the kernel."""
        return await _run(self._senders, lambda: function(*args, **kwargs))

    async def read(
        self, function: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Result:
        """The same for what only reads."""
        return await _run(self._readers, lambda: function(*args, **kwargs))

    def close(self) -> None:
        for pool in (self._pool, self._readers, self._movers, self._senders):
            pool.shutdown()


async def _run(pool: Executor | None, act: Callable[[], Result]) -> Result:
    return await settle(asyncio.get_running_loop().run_in_executor(pool, act))


async def in_thread(
    function: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
) -> Result:
    """As `asyncio.to_thread`, but never returns before the function has, even when cancelled.

    Not `settle(asyncio.to_thread(...))`: that makes a task of it, and a loop that closes cancels all tasks.
    Where the caller closed its connection then, under the query, the process ended by SIGSEGV.
    """
    return await _run(None, lambda: function(*args, **kwargs))


async def settle(work: Awaitable[Result]) -> Result:
    """Await `work` to its end, even when cancelled. A coroutine has to do so itself: a loop may cancel it.

    A caller that closed its descriptor while a call was still under way would let the bytes land in, or
    come from, whatever file gets the same number next.
    """
    future = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError:
                continue
        if not future.cancelled():
            future.exception()  # nobody is left to hear it
        raise
