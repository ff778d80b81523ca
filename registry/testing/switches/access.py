"""How a client says who it is, and how often it may come."""

import math
import time
from collections.abc import Callable

from registry.networks import network_of
from registry.rates import Rate
from registry.testing.exchange import Ask, Head, Reply, error
from registry.testing.switches.listings import not_found
from registry.testing.switches.switch import Switch


class BasicOnly(Switch):
    """Name and password with every request, and no tokens: for a registry that has accounts."""

    async def refuse(self, ask: Ask) -> Reply | None:
        return not_found() if ask.target.route == "token" else None

    def alter(self, ask: Ask, head: Head) -> Reply | None:
        if head.status == 401:
            head.set("www-authenticate", f'Basic realm="{ask.origin}/",service="registry"')
        return None


class PullLimit(Switch):
    """Counts each GET of a manifest for the address that it comes from; HEAD is free, and says what is left.

    The time begins with the first pull, and so it ends at once for all of them.
    """

    def __init__(self, rate: Rate, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._clock = rate, clock
        self._pulls: dict[str, tuple[int, float]] = {}

    async def refuse(self, ask: Ask) -> Reply | None:
        if ask.target.route != "manifest" or ask.target.method != "GET":
            return None
        pulls, end = self._of(ask)
        if pulls >= self._rate.number:
            wait = str(max(1, math.ceil(end - self._clock())))
            text = "the client has pulled as often as it may for now"
            reply = error(429, "TOOMANYREQUESTS", text, Retry_After=wait)
            return Reply(reply.status, {**reply.headers, **self._said(ask)}, reply.body)
        self._pulls[_client(ask)] = (pulls + 1, end)
        return None

    def alter(self, ask: Ask, head: Head) -> Reply | None:
        if ask.target.route == "manifest" and ask.target.method in ("GET", "HEAD"):
            for name, value in self._said(ask).items():
                head.set(name, value)
        return None

    def _of(self, ask: Ask) -> tuple[int, float]:
        now = self._clock()
        pulls, end = self._pulls.get(_client(ask), (0, 0.0))
        return (pulls, end) if now < end else (0, now + self._rate.period)

    def _said(self, ask: Ask) -> dict[str, str]:
        window = f";w={self._rate.period}"
        left = max(0, self._rate.number - self._of(ask)[0])
        return {
            "ratelimit-limit": f"{self._rate.number}{window}",
            "ratelimit-remaining": f"{left}{window}",
            "docker-ratelimit-source": _client(ask),
        }


def _client(ask: Ask) -> str:
    client = ask.scope.get("client")
    return network_of(client[0]) if client else ""
