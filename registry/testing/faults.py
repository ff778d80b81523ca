"""Faults that happen when they are asked for: which requests are hit, and what becomes of them.

A `Fault` says whom it hits; its `effect`, of `registry/testing/effects.py`, is what happens. Whether it hits
hangs on the requests that came before and on nothing else, so that a test can be repeated.
"""

import hashlib
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from registry.patterns import matches
from registry.testing.effects import Effect
from registry.testing.targets import Target

logger = logging.getLogger("registry")

_LONGEST_LOG = 10_000


@dataclass(frozen=True, slots=True)
class Fault:
    """`effect`, for the requests that fit all that is given.

    `nth` is the number of the request, among those that fit, that is hit; without it all are. `times` is how
    many are hit at most, from `nth` on: one, where that is given. With `per_path`, each path counts for
    itself. `at_least`: the request's body has so many bytes; a stream, which does not tell, counts as long.
    `probability` is for how many of those it happens; `seed` chooses which.
    """

    effect: Effect
    method: str | tuple[str, ...] = ()
    route: str | tuple[str, ...] = ()
    repository: str | tuple[str, ...] = ()
    nth: int = 0
    times: int = 0
    per_path: bool = False
    at_least: int = 0
    probability: float = 1.0
    seed: int = 0

    def fits(self, target: Target) -> bool:
        if not self.effect.fits(target):
            return False
        if self.method and target.method not in _several(self.method):
            return False
        if self.route and target.route not in _several(self.route):
            return False
        if target.length is not None and target.length < self.at_least:
            return False
        return not self.repository or matches(_several(self.repository), target.repository)

    def happens(self, number: int, drawn: int = 0) -> bool:
        """To the request with this number, from one on, among those that fit.

        `drawn` is its number among those of all paths, by which `seed` chooses: by that of its own path, all
        first requests would be hit, or none.
        """
        times = self.times or (1 if self.nth else 0)
        first = self.nth or 1
        if number < first or (times and number >= first + times):
            return False
        return self.probability >= 1 or _fraction(self.seed, drawn or number) < self.probability


def _several(given: str | tuple[str, ...]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else given


def _fraction(seed: int, number: int) -> float:
    """From nought to below one: by the number alone, so that no order of other requests changes it."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{number}".encode()).digest()[:8]) / 2**64


@dataclass(frozen=True, slots=True)
class Fired:
    """A fault that happened. `at` is of `time.monotonic`."""

    fault: Fault
    method: str
    path: str
    at: float


@dataclass
class Faults:
    """Those that are in force, and what has become of them. They may be changed from any thread."""

    faults: tuple[Fault, ...]
    fired: list[Fired] = field(default_factory=list)

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self.fired = []
        self._turn = threading.Lock()  # a request that comes in between would count for the new ones
        self.replace(faults)

    def replace(self, faults: Iterable[Fault]) -> None:
        """These instead; they count from the start."""
        given = tuple(faults)
        with self._turn:
            self._counts: Counter[tuple[int, str]] = Counter()
            self.faults = given

    def add(self, *faults: Fault) -> None:
        """These too; the others go on counting."""
        with self._turn:
            self.faults = (*self.faults, *faults)

    def clear(self) -> None:
        self.replace(())

    def hitting(self, target: Target) -> list[Effect]:
        """What happens to this request, the outermost first. It is counted and written down."""
        with self._turn:
            hit = [fault for place, fault in enumerate(self.faults) if self._happens(place, fault, target)]
        for fault in hit:
            self._note(fault, target)
        return [fault.effect for fault in hit]

    def _happens(self, place: int, fault: Fault, target: Target) -> bool:
        if not fault.fits(target):
            return False
        own, all_paths = (place, target.path if fault.per_path else ""), (place, "")
        self._counts.update({own, all_paths})
        return fault.happens(self._counts[own], self._counts[all_paths])

    def _note(self, fault: Fault, target: Target) -> None:
        logger.info("fault: %s %s: %s", target.method, target.path, fault.effect)
        self.fired.append(Fired(fault, target.method, target.path, time.monotonic()))
        del self.fired[:-_LONGEST_LOG]
