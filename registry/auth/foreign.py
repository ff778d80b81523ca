"""Identities that others vouch for: tokens of another token server, and those that CI gives its jobs."""

import time
from collections.abc import Callable, Sequence

from registry.access import Actor, Shown
from registry.auth.basic import read
from registry.auth.claims import actor_of, check_claims
from registry.auth.issuer_settings import Issuer
from registry.auth.jwks import KeySource, source_of
from registry.auth.jwt import Parts, algorithm_of, refused, take_apart
from registry.auth.public_keys import KeysUnavailable, PublicKey
from registry.errors import Unauthenticated


class Foreign:
    """The Authenticator of tokens that others have signed: as Bearer, or as the password of any user.

    A password is how `docker login` and all that reads its file can send one.
    """

    def __init__(
        self,
        issuers: Sequence[Issuer],
        source: Callable[[Issuer], KeySource] = source_of,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._issuers = {issuer.issuer: (issuer, source(issuer)) for issuer in issuers}
        self._clock = clock

    async def identify(self, shown: Shown) -> Actor | None:
        """None for what is no token of an issuer known here: it may be another's, or a password."""
        try:
            parts = take_apart(_token_of(shown.authorization))
        except Unauthenticated:
            return None
        found = self._find(parts)
        return await self._verify(parts, *found) if found else None

    async def verify(self, token: str) -> Actor:
        """Raises Unauthenticated, with a text that repeats nothing of the token."""
        parts = take_apart(token)
        if (found := self._find(parts)) is None:
            raise refused("its issuer (iss) is none that this registry knows")
        return await self._verify(parts, *found)

    async def _verify(self, parts: Parts, issuer: Issuer, source: KeySource) -> Actor:
        algorithm = algorithm_of(parts, issuer.algorithms)
        # Before the signature: what would be refused anyway must not make us fetch keys.
        expires = check_claims(issuer, parts.claims, self._clock())
        try:
            keys = await source.keys(parts.kid)
        except KeysUnavailable:
            raise refused(f"the keys of {issuer.name} are not at hand; the log says why") from None
        key = _find_key(keys, parts, algorithm)
        if not key.verifies(algorithm, parts.message, parts.signature):
            raise refused("its signature is wrong")
        return actor_of(issuer, parts.claims, expires)

    def _find(self, parts: Parts) -> tuple[Issuer, KeySource] | None:
        """By what the token says, which is not believed yet: this only chooses whose keys have to fit."""
        name = parts.claims.get("iss")
        return self._issuers.get(name) if isinstance(name, str) else None


def _token_of(authorization: bytes) -> str:
    """Empty where there is none."""
    scheme, _, shown = authorization.partition(b" ")
    match scheme.lower():
        case b"bearer":
            return shown.strip(b" ").decode("latin-1")
        case b"basic":
            try:
                return read(shown.strip(b" "))[1]
            except Unauthenticated:
                return ""
    return ""


def _find_key(keys: Sequence[PublicKey], parts: Parts, algorithm: str) -> PublicKey:
    """The one key that the token can be meant for; without a key id only where there is no choice."""
    kid = parts.kid
    fitting = [key for key in keys if algorithm in key.algorithms and (kid is None or key.kid == kid)]
    if len(fitting) != 1:
        hint = (
            "; keys that a token brings along (jwk, jku, x5c, x5u) are not used" if parts.brings_keys else ""
        )
        raise refused(
            f"its key id (kid) and algorithm fit {len(fitting)} of the issuer's keys, not one{hint}"
        )
    return fitting[0]
