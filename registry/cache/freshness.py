"""How old what is kept of an upstream may be: decisions, and what is remembered for them in one worker."""

import time
from collections import OrderedDict
from collections.abc import Callable
from enum import Enum

from registry.upstream.settings import Upstream

STALE = '110 oci-registry "Response is Stale"'
FAILED = '111 oci-registry "Revalidation Failed"'

_MOST = 10_000
_PAUSE = 10.0  # seconds for which nobody waits any more for an upstream that was late or failed


class Age(Enum):
    """Of a tag: FRESH is served; STALE is served, and asked for beside that; OLD is asked for first."""

    FRESH = "fresh"
    STALE = "stale"
    OLD = "old"


def judge(age: int | None, upstream: Upstream) -> Age:
    """`age` in seconds; None: it was never asked for. One in the future is no age."""
    if age is None or age < 0:
        return Age.OLD
    if age < upstream.ttl:
        return Age.FRESH
    return Age.STALE if age < upstream.ttl + upstream.stale else Age.OLD


class Missing:
    """What upstreams lately said that they do not have; the oldest of too many is forgotten."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, most: int = _MOST) -> None:
        self._clock, self._most = clock, most
        self._until: OrderedDict[tuple[str, str], float] = OrderedDict()

    def add(self, repository: str, reference: object, seconds: float) -> None:
        key = (repository, str(reference))
        self._until[key] = self._clock() + seconds
        self._until.move_to_end(key)
        if len(self._until) > self._most:
            self._until.popitem(last=False)

    def has(self, repository: str, reference: object) -> bool:
        return self._clock() < self._until.get((repository, str(reference)), 0.0)

    def drop(self, repository: str, reference: object) -> None:
        self._until.pop((repository, str(reference)), None)


class Patience:
    """With upstreams that were late, or failed: where something older is here, nobody waits for them now."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: dict[str, float] = {}

    def lose(self, upstream: str) -> None:
        self._until[upstream] = self._clock() + _PAUSE

    def regain(self, upstream: str) -> None:
        self._until.pop(upstream, None)

    def is_lost(self, upstream: str) -> bool:
        return self._clock() < self._until.get(upstream, 0.0)
