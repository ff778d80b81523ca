"""Calls that come later, and those that are taken back."""

import asyncio

from registry.server.timers import Timer


def test_the_last_start_counts() -> None:
    called: list[str] = []

    async def main() -> None:
        timer = Timer(asyncio.get_running_loop())
        timer.start(0.01, called.append, "first")
        timer.start(0.02, called.append, "second")
        assert timer.runs
        await asyncio.sleep(0.1)
        assert not timer.runs

    asyncio.run(main())
    assert called == ["second"]


def test_a_timer_that_is_stopped_calls_nobody() -> None:
    called: list[str] = []

    async def main() -> None:
        timer = Timer(asyncio.get_running_loop())
        timer.start(0.01, called.append, "late")
        timer.stop()
        assert not timer.runs
        await asyncio.sleep(0.05)

    asyncio.run(main())
    assert called == []
