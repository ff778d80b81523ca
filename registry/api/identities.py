"""Who a request is from: the authenticators asked in turn, and what they said lately."""

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from registry.access import ANONYMOUS, Actor, Authenticator, Operation, Shown
from registry.errors import Unauthenticated

_LASTING = 0.5  # seconds: so long may a credential that was taken back still be good for
_MOST = 4096  # credentials remembered
_MOST_ALLOWED = 64  # operations of each

Headers = Iterable[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """Who somebody is for a moment, and of what they may do meanwhile: whether they may push there, too."""

    actor: Actor
    until: float
    pushes: dict[Operation, bool] = field(default_factory=dict)

    def remember(self, allowed: Operation, pushes: bool) -> None:
        if len(self.pushes) >= _MOST_ALLOWED:
            self.pushes.clear()
        self.pushes[allowed] = pushes


class Identities:
    """Without authenticators everyone is anonymous, whatever is shown."""

    def __init__(
        self, authenticators: Sequence[Authenticator] = (), *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._authenticators, self._clock = authenticators, clock
        self._key = os.urandom(32)
        self._known: dict[tuple[bytes, str], Standing] = {}

    def known(self, shown: Shown) -> Standing | None:
        """Who it is, if no authenticator has to be asked."""
        found = self._known.get(self._key_of(shown))
        if found is not None and self._clock() < found.until:
            return found
        if self._authenticators and (shown.authorization or shown.certificate):
            return None
        return self._remember(shown, ANONYMOUS)

    async def identify(self, shown: Shown) -> Actor:
        """Raises Unauthenticated, TooManyRequests."""
        if (standing := self.known(shown)) is not None:
            return standing.actor
        for authenticator in self._authenticators:
            if (actor := await authenticator.identify(shown)) is not None:
                return self._remember(shown, actor).actor
        raise Unauthenticated("these credentials are of no kind that this registry reads")

    def _remember(self, shown: Shown, actor: Actor) -> Standing:
        now, key = self._clock(), self._key_of(shown)
        self._known.pop(key, None)
        # The oldest come first, and all last as long.
        while self._known and (len(self._known) >= _MOST or next(iter(self._known.values())).until <= now):
            del self._known[next(iter(self._known))]
        standing = self._known[key] = Standing(replace(actor, address=shown.address), now + _LASTING)
        return standing

    def _key_of(self, shown: Shown) -> tuple[bytes, str]:
        """Under a key of this process, so that no memory of it holds a password."""
        if not (shown.authorization or shown.certificate):
            return b"", shown.address
        text = b"%b\0%b" % (shown.authorization, shown.certificate.encode())
        return hashlib.blake2b(text, digest_size=16, key=self._key).digest(), shown.address


def authorization_of(headers: Headers) -> bytes:
    """Raises Unauthenticated for two of them: a proxy and we might believe different ones."""
    found = [value for name, value in headers if name == b"authorization"]
    if len(found) > 1:
        raise Unauthenticated("the request has more than one Authorization header")
    return found[0] if found else b""
