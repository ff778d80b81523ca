"""A call that comes later, unless it is taken back."""

import asyncio
from collections.abc import Callable
from typing import Any


class Timer:
    """At most one call is awaited at a time. In between it knows nothing of who started it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._handle: asyncio.TimerHandle | None = None

    @property
    def runs(self) -> bool:
        return self._handle is not None

    def start(self, seconds: float, call: Callable[..., object], *arguments: Any) -> None:
        self.stop()
        self._handle = self._loop.call_later(seconds, self._fire, call, *arguments)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _fire(self, call: Callable[..., object], *arguments: Any) -> None:
        self._handle = None
        call(*arguments)
