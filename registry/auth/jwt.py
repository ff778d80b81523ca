"""A token as it came (RFC 7515, compact; RFC 7519): taken apart, read strictly, nothing believed yet.

RFC 8725 says what to refuse, and why.
"""

import base64
import re
from dataclasses import dataclass

from registry.errors import Unauthenticated
from registry.strict_json import Json, JsonInvalid, loads

LONGEST = 16_384  # characters
_TOKEN = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)", re.ASCII)
_TYPES = {"jwt", "at+jwt", "application/jwt", "application/at+jwt"}
_BROUGHT = ("jwk", "jku", "x5c", "x5u")


@dataclass(frozen=True, slots=True)
class Parts:
    """`message` is what `signature` is of."""

    header: dict[str, Json]
    claims: dict[str, Json]
    message: bytes
    signature: bytes

    @property
    def kid(self) -> str | None:
        """Raises Unauthenticated."""
        kid = self.header.get("kid")
        if not isinstance(kid, str | None):
            raise refused("its key id (kid) is no text")
        return kid

    @property
    def brings_keys(self) -> bool:
        """Whether it names or holds the key to verify it by, which anyone can make up (CVE-2025-24976)."""
        return any(name in self.header for name in _BROUGHT)


def refused(why: str) -> Unauthenticated:
    """The fact; `why` must repeat nothing of the token."""
    return Unauthenticated(f"the token is not accepted: {why}", error="invalid_token")


def take_apart(token: str) -> Parts:
    """Raises Unauthenticated."""
    if len(token) > LONGEST:
        raise refused(f"it is longer than {LONGEST} characters")
    found = _TOKEN.fullmatch(token)
    if not found:
        raise refused("it is no signed JWT: expected three parts of base64url with dots between")
    header, claims, signature = found.groups()
    return Parts(
        _read(header, "header"),
        _read(claims, "claims"),
        f"{header}.{claims}".encode(),
        _decode(signature, "signature"),
    )


def algorithm_of(parts: Parts, allowed: tuple[str, ...]) -> str:
    """The header's algorithm, one of those allowed. Raises Unauthenticated, for extensions and types too."""
    algorithm = parts.header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in allowed:
        raise refused(f"its algorithm is none of {', '.join(allowed)}")
    for name in ("crit", "b64"):
        if name in parts.header:
            raise refused(f"its header has {name}, an extension that is not read here")
    # A type that says something else, a logout token's for example, was not made to let anyone in.
    kind = parts.header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise refused("its type (typ) is not JWT")
    return algorithm


def _read(text: str, what: str) -> dict[str, Json]:
    try:
        value = loads(_decode(text, what))
    except JsonInvalid as error:
        raise refused(f"its {what} cannot be read: {_reason(error)}") from None
    if not isinstance(value, dict):
        raise refused(f"its {what} is no JSON object")
    return value


def _reason(error: JsonInvalid) -> str:
    """Without the key, which a message about doubled ones repeats."""
    return "a key is twice in one object" if "is twice" in str(error) else str(error)


def _decode(text: str, what: str) -> bytes:
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        raise refused(f"its {what} is not base64url") from None
    # The last character's spare bits must be zero, or one token would have several spellings.
    if base64.urlsafe_b64encode(data).rstrip(b"=") != text.encode():
        raise refused(f"its {what} is not base64url")
    return data
