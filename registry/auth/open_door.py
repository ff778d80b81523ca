"""A registry that is open to everyone asks nobody who they are; wrong credentials are no reason to refuse."""

from collections.abc import Sequence

from registry.access import ANONYMOUS, Actor, Authenticator, Shown
from registry.auth.rules import Rules
from registry.errors import TooManyRequests, Unauthenticated


class OpenDoor:
    """The authenticators in turn; who is wrong is anonymous, as long as that is enough for everything."""

    def __init__(self, rules: Rules, authenticators: Sequence[Authenticator]) -> None:
        self._rules, self._authenticators = rules, authenticators

    async def identify(self, shown: Shown) -> Actor | None:
        if self._rules.unclaimed:  # there is nobody whose name a credential could prove
            return ANONYMOUS
        try:
            for authenticator in self._authenticators:
                if (actor := await authenticator.identify(shown)) is not None:
                    return actor
        except (Unauthenticated, TooManyRequests):
            if not self._rules.open:
                raise
        return ANONYMOUS if self._rules.open else None
