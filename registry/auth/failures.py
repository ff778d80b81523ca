"""How often something has gone wrong lately, for a bounded number of whom it went wrong for."""

import math
import time
from collections import deque
from collections.abc import Callable, Hashable

_SPAN = 60.0  # seconds
_MOST = 16_384  # keys; some 4 MB


class Failures:
    """`limit` of them in a minute are too many. When the table is full, the key longest unheard of goes."""

    def __init__(self, limit: int, *, most: int = _MOST, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit, self._most, self._clock = limit, most, clock
        self._times: dict[Hashable, deque[float]] = {}

    def __len__(self) -> int:
        return len(self._times)

    def add(self, key: Hashable) -> None:
        times = self._times.pop(key, None) or deque(maxlen=self._limit)
        while len(self._times) >= self._most:
            del self._times[next(iter(self._times))]
        times.append(self._clock())
        self._times[key] = times

    def count(self, key: Hashable) -> int:
        """How many there were in the last minute, up to the limit."""
        since = self._clock() - _SPAN
        return sum(time > since for time in self._times.get(key, ()))

    def wait(self, key: Hashable) -> int:
        """Whole seconds until it may be tried again; 0 for at once."""
        times = self._times.get(key)
        if not times or len(times) < self._limit:
            return 0
        return max(0, math.ceil(times[0] + _SPAN - self._clock()))
