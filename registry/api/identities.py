"""Who a request is from: the authenticators asked in turn, and what they said lately."""

import hashlib
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace

from registry.access import ANONYMOUS, Actor, Authenticator, Shown
from registry.errors import Unauthenticated

_LASTING = 1.0  # seconds: so long may a credential that was taken back still be good for
_MOST = 4096  # credentials remembered

Headers = Iterable[tuple[bytes, bytes]]


class Identities:
    """Without authenticators everyone is anonymous, whatever is shown."""

    def __init__(self, authenticators: Sequence[Authenticator] = ()) -> None:
        self._authenticators = authenticators
        self._key = os.urandom(32)
        self._known: dict[bytes, tuple[float, Actor]] = {}

    def known(self, shown: Shown) -> Actor | None:
        """The actor, if no authenticator has to be asked."""
        if not self._authenticators or not (shown.authorization or shown.certificate):
            return replace(ANONYMOUS, address=shown.address)
        until, actor = self._known.get(self._digest(shown), (0.0, ANONYMOUS))
        return replace(actor, address=shown.address) if time.monotonic() < until else None

    async def identify(self, shown: Shown) -> Actor:
        """Raises Unauthenticated, TooManyRequests."""
        if (actor := self.known(shown)) is not None:
            return actor
        for authenticator in self._authenticators:
            if (actor := await authenticator.identify(shown)) is not None:
                self._remember(shown, actor)
                return replace(actor, address=shown.address)
        raise Unauthenticated("these credentials are of no kind that this registry reads")

    def _remember(self, shown: Shown, actor: Actor) -> None:
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[self._digest(shown)] = time.monotonic() + _LASTING, actor

    def _digest(self, shown: Shown) -> bytes:
        """Under a key of this process, so that no memory of it holds a password."""
        text = b"%b\0%b" % (shown.authorization, shown.certificate.encode())
        return hashlib.blake2b(text, digest_size=32, key=self._key).digest()


def authorization_of(headers: Headers) -> bytes:
    """Raises Unauthenticated for two of them: a proxy and we might believe different ones."""
    found = [value for name, value in headers if name == b"authorization"]
    if len(found) > 1:
        raise Unauthenticated("the request has more than one Authorization header")
    return found[0] if found else b""
