"""`rate`: so many requests in a time for each identity, or each address of who has none."""

import heapq
import math
import time
from collections.abc import Callable

from registry.access import Actor, Operation
from registry.errors import TooManyRequests
from registry.networks import network_of
from registry.rates import Rate

_MOST = 16_384  # clients remembered for a rate
_ROUNDING = 1e-6  # seconds by which sums of floating-point numbers may be off


class RequestRate:
    """A bucket of tokens for each client, kept as the time at which it will be full again.

    In this process's memory: each worker counts by itself.
    """

    def __init__(self, rate: Rate, *, clock: Callable[[], float] = time.monotonic, most: int = _MOST) -> None:
        self._rate, self._clock, self._most = rate, clock, most
        self._interval = rate.period / rate.number
        self._depth = rate.burst * self._interval  # seconds that an empty bucket takes to fill
        self._full: dict[str, float] = {}

    def ask(self, actor: Actor, operation: Operation) -> None:
        if not self._rate.covers(actor, operation.action):
            return
        now = self._clock()
        if (wait := self._full_after(_client(actor), now) - now - self._depth) > _ROUNDING:
            raise TooManyRequests(
                f"more than {self._rate.number} requests in {self._rate.period} s",
                retry_after=math.ceil(wait),
            )

    def count(self, actor: Actor, operation: Operation) -> None:
        if not self._rate.covers(actor, operation.action):
            return
        client, now = _client(actor), self._clock()
        self._full[client] = self._full_after(client, now)
        if len(self._full) > self._most:
            self._forget(now)

    def _full_after(self, client: str, now: float) -> float:
        """When the bucket is full again if a token is taken now."""
        return max(self._full.get(client, now), now) + self._interval

    def _forget(self, now: float) -> None:
        """Of a full bucket nothing is lost; where that is not enough, the fullest go."""
        self._full = {client: full for client, full in self._full.items() if full > now}
        if len(self._full) > self._most // 2:
            self._full = dict(heapq.nlargest(self._most // 2, self._full.items(), key=lambda item: item[1]))


def _client(actor: Actor) -> str:
    # No name has the space that is before an address.
    return actor.name or " " + network_of(actor.address)
