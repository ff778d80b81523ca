"""What the cache did, by upstream: counted in memory, and noted in the index again and again."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from registry.upstream.errors import UpstreamError
from storage.figures import Counts, State

# Of clients' requests: answered from what is here; from the upstream; by what is older than it should be;
# by what was missing lately; not at all, since the upstream is of no use.
HIT: Final = "hit"
MISS: Final = "miss"
STALE: Final = "stale"
NEGATIVE: Final = "negative"
ERROR: Final = "error"
OUTCOMES: Final = (HIT, MISS, STALE, NEGATIVE, ERROR)
# Bytes: of bodies to clients, of manifests and blobs from the upstream.
SERVED: Final = "served"
FETCHED: Final = "fetched"
# Of requests to the upstream: all, and those that failed.
ASKED: Final = "asked"
FAILED: Final = "failed"

logger = logging.getLogger("registry")

_NOTES = 10.0  # seconds between two: one commit without a sync, if anything was counted
_LONGEST = 300  # characters of what an upstream's failure says

Note = Callable[[Counts, Mapping[str, State], int], Awaitable[None]]


class Figures:
    """Of one process. `note` adds to what all processes counted."""

    def __init__(self, note: Note, clock: Callable[[], float] = time.time) -> None:
        self._note, self._clock = note, clock
        self._counts = Counter[tuple[str, str]]()
        self._states: dict[str, State] = {}

    def count(self, upstream: str, what: str, number: int = 1) -> None:
        self._counts[upstream, what] += number

    def of(self, upstream: str) -> "UpstreamFigures":
        """What an upstream's client tells."""
        return UpstreamFigures(self, upstream)

    def answered(self, upstream: str) -> None:
        self._see(upstream, State(answered=self._now()))

    def failed(self, upstream: str, error: UpstreamError, rest: float) -> None:
        now = self._now()
        resting = now + round(rest) if rest else None
        self._see(upstream, State(failed=now, why=error.why[:_LONGEST], resting=resting))

    async def flush(self) -> None:
        """Note what was counted. Raises StorageError; it is held for the next time then."""
        counts, states = self._counts, self._states
        if not counts and not states:
            return
        self._counts, self._states = Counter(), {}
        try:
            await self._note(counts, states, self._now())
        except Exception:  # not a cancellation: the writer has it, and will do it
            self._counts.update(counts)
            for upstream, state in states.items():
                self._states[upstream] = state.join(self._states.get(upstream, State()))
            raise

    def _see(self, upstream: str, state: State) -> None:
        self._states[upstream] = self._states.get(upstream, State()).join(state)

    def _now(self) -> int:
        return int(self._clock())


class UpstreamFigures:
    """Notes of one upstream (registry/upstream/notes.py)."""

    def __init__(self, figures: Figures, upstream: str) -> None:
        self._figures, self._upstream = figures, upstream

    def asked(self) -> None:
        self._figures.count(self._upstream, ASKED)

    def received(self, count: int) -> None:
        self._figures.count(self._upstream, FETCHED, count)

    def answered(self) -> None:
        self._figures.answered(self._upstream)

    def failed(self, error: UpstreamError, rest: float) -> None:
        self._figures.count(self._upstream, FAILED)
        self._figures.failed(self._upstream, error, rest)


async def note_in_turn(figures: Figures) -> None:
    """Until it is cancelled, and once more then."""
    try:
        while True:
            await asyncio.sleep(_NOTES)
            await _flush(figures)
    finally:
        await _flush(figures)


async def _flush(figures: Figures) -> None:
    try:
        await figures.flush()
    except Exception:
        logger.exception("figures of upstreams could not be noted")
