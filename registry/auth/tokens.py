"""Tokens of our own: short-lived ones for requests, lasting ones that are exchanged for those.

JSON Web Tokens (RFC 7519) under HMAC-SHA256. The header is one constant and compared as bytes: no algorithm,
key or critical field of a token's own choosing is ever looked at (RFC 8725, section 3.1).
"""

import base64
import hmac
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from registry.auth.scopes import Scope
from registry.errors import Unauthenticated

LIFETIME = 300  # seconds; clients ask for another when it ends
REFRESH_LIFETIME = 365 * 86_400

_LONGEST = 16 * 2**10  # bytes: it travels in a header
_ISSUER = "oci-registry"
_LEEWAY = 60  # seconds: machines that share a root may differ by so much


def _encode(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


_HEADER = _encode(b'{"alg":"HS256","typ":"JWT"}')


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a token says: who, until when (seconds since the epoch), and for what.

    `scopes` is None in a refresh token, which is only good for getting others. `fingerprint` is that of the
    password or secret that it was given for, and `groups` are those that an identity from elsewhere had.
    """

    name: str
    expires: int
    scopes: tuple[Scope, ...] | None = None
    fingerprint: str = ""
    groups: tuple[str, ...] = ()


class Tokens:
    """Signs and reads; all workers have the same key. `service` is the audience."""

    def __init__(self, key: bytes, service: str, clock: Callable[[], float] = time.time) -> None:
        self._key, self._service, self._clock = key, service, clock

    @property
    def now(self) -> int:
        return int(self._clock())

    def sign(self, ticket: Ticket) -> str:
        claims: dict[str, Any] = {
            "iss": _ISSUER,
            "sub": ticket.name,
            "aud": self._service,
            "iat": self.now,
            "nbf": self.now,
            "exp": ticket.expires,
            "jti": os.urandom(12).hex(),
            "fingerprint": ticket.fingerprint,
            "groups": list(ticket.groups),
        }
        if ticket.scopes is not None:
            claims["access"] = [
                {"type": scope.kind, "name": scope.name, "actions": sorted(scope.words)}
                for scope in ticket.scopes
            ]
        head = _HEADER + b"." + _encode(json.dumps(claims, separators=(",", ":")).encode())
        return (head + b"." + self._seal(head)).decode()

    def read(self, token: bytes) -> Ticket | None:
        """None for what is no token of ours by its header. Raises Unauthenticated."""
        header, _, rest = token.partition(b".")
        if header != _HEADER or len(token) > _LONGEST:
            return None
        payload, _, seal = rest.partition(b".")
        if not hmac.compare_digest(seal, self._seal(header + b"." + payload)):
            raise Unauthenticated("the token was not signed here", error="invalid_token")
        # From here on it is what `sign` has written, under this key.
        claims = json.loads(base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4)))
        if claims["aud"] != self._service or claims["iss"] != _ISSUER:
            raise Unauthenticated("the token is for another service", error="invalid_token")
        if not claims["nbf"] - _LEEWAY <= self._clock() < claims["exp"]:
            raise Unauthenticated("the token has expired: ask for another", error="invalid_token")
        return _ticket(claims)

    def _seal(self, head: bytes) -> bytes:
        return _encode(hmac.digest(self._key, head, "sha256"))


def _ticket(claims: Mapping[str, Any]) -> Ticket:
    scopes = None
    if "access" in claims:
        scopes = tuple(
            Scope(each["type"], each["name"], frozenset(each["actions"])) for each in claims["access"]
        )
    return Ticket(claims["sub"], claims["exp"], scopes, claims["fingerprint"], tuple(claims["groups"]))
