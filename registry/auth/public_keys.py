"""Public keys that others publish (RFC 7517), and what each may verify.

joserfc verifies, and is loaded with the first key: a registry without issuers does not need it.
"""

import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.strict_json import Json, JsonInvalid, loads

if TYPE_CHECKING:
    from joserfc.jwk import Key

_MOST = 100  # keys of one issuer
_BITS = range(2048, 8193)  # of an RSA modulus: weaker is not believed, larger costs too much to verify
_OF_CURVE = {"P-256": "ES256", "P-384": "ES384", "Ed25519": "EdDSA"}
_PARTS = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}


class KeysUnavailable(Exception):
    """No keys of the issuer are at hand; the text says why."""


def is_installed() -> bool:
    """Whether tokens of others can be verified at all."""
    return importlib.util.find_spec("joserfc") is not None


@dataclass(frozen=True, slots=True)
class PublicKey:
    kid: str | None
    algorithms: frozenset[str]
    key: "Key"

    def verifies(self, algorithm: str, message: bytes, signature: bytes) -> bool:
        from joserfc.jws import JWSRegistry

        assert algorithm in self.algorithms
        return JWSRegistry.algorithms[algorithm].verify(message, signature, self.key)


def read_keys(body: bytes) -> tuple[PublicKey, ...]:
    """Those that can verify here; others are left out (RFC 7517, section 5). Raises KeysUnavailable."""
    try:
        value = loads(body)
    except JsonInvalid as error:
        raise KeysUnavailable(f"the key set cannot be read: {error}") from None
    listed = value.get("keys") if isinstance(value, dict) else None
    if not isinstance(listed, list) or len(listed) > _MOST:
        raise KeysUnavailable(f"the key set has no list of keys, {_MOST} at most")
    found = tuple(key for key in map(_read_key, listed) if key)
    if not found:
        raise KeysUnavailable(f"none of the {len(listed)} keys in the set can verify signatures here")
    return found


def _read_key(value: Json) -> PublicKey | None:
    if not isinstance(value, dict) or value.get("use", "sig") != "sig":
        return None
    operations, kid, kind = value.get("key_ops", ["verify"]), value.get("kid"), value.get("kty")
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    if not isinstance(kid, str | None) or not isinstance(kind, str) or kind not in _PARTS:
        return None
    # Only these: a private half, a chain of certificates or an address beside them has no meaning here.
    parts = {name: value.get(name) for name in _PARTS[kind]}
    algorithms = _algorithms_of(kind, parts)
    if "alg" in value:
        algorithms &= {value["alg"]} if isinstance(value["alg"], str) else frozenset()
    key = _import(kind, {name: part for name, part in parts.items() if isinstance(part, str)})
    return PublicKey(kid, algorithms, key) if key and algorithms else None


def _algorithms_of(kind: str, parts: dict[str, Json]) -> frozenset[str]:
    if kind == "RSA":
        return frozenset(f"{padding}{size}" for padding in ("RS", "PS") for size in (256, 384, 512))
    curve = parts.get("crv")
    return frozenset({_OF_CURVE[curve]} if isinstance(curve, str) and curve in _OF_CURVE else ())


def _import(kind: str, parts: dict[str, str]) -> "Key | None":
    from joserfc.errors import JoseError
    from joserfc.jwk import JWKRegistry
    from joserfc.util import base64_to_int

    try:
        # Looked at first: joserfc imports a short key with a warning.
        if kind == "RSA" and base64_to_int(parts["n"]).bit_length() not in _BITS:
            return None
        return JWKRegistry.import_key({"kty": kind, **parts})
    except (JoseError, ValueError, KeyError, TypeError):
        return None
