"""What can be done to an operation at one of its file-system calls."""

import itertools
import os
from collections.abc import Callable, Sequence
from typing import NoReturn
from unittest.mock import patch

from storage.files import Probe
from tests.crash.children import die

FRACTIONS = (0.0, 0.5, 1.0)
"""How much of a write's bytes are gone when it is torn: the first one, half of them, all but the last."""


class Switch:
    """A probe that does nothing until a plan is put into it: opening the store is no part of a case."""

    def __init__(self) -> None:
        self.plan: Probe | None = None

    def set(self, plan: Probe) -> None:
        self.plan = plan

    def clear(self) -> None:
        self.plan = None

    def __call__(self, side: str, name: str, target: str) -> None:
        if self.plan:
            self.plan(side, name, target)


def record(events: list[str], root: str) -> Probe:
    """Note every event, in order: each call is two of them, one on each side."""

    def probe(side: str, name: str, target: str) -> None:
        events.append(f"{side} {name} {target.removeprefix(root)}")

    return probe


def at(event: int, act: Callable[[], None]) -> Probe:
    """Act at that event."""
    count = itertools.count()

    def probe(_side: str, _name: str, _target: str) -> None:
        if next(count) == event:
            act()

    return probe


def fail(code: int) -> Callable[[], None]:
    def act() -> NoReturn:
        raise OSError(code, os.strerror(code))

    return act


def tear(fraction: float) -> Callable[[], None]:
    """At the event before a write: let only a part of its bytes through, then die."""

    def torn(descriptor: int, buffers: Sequence[memoryview]) -> None:
        data = b"".join(buffers)
        os.write(descriptor, data[: max(1, min(len(data) - 1, int(len(data) * fraction)))])
        die()

    def act() -> None:
        patch.object(os, "writev", torn).start()

    return act


def remove(path: str) -> Callable[[], None]:
    """Another process takes the file away."""

    def act() -> None:
        if os.path.exists(path):
            os.unlink(path)

    return act
