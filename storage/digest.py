"""Digests: the names of bytes (OCI image-spec, descriptor.md "Digests")."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from storage.errors import InvalidDigest

Bytes = bytes | bytearray | memoryview


class Hasher(Protocol):
    """What hashlib's objects offer of use here."""

    def update(self, data: Bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Algorithm:
    """A digest algorithm whose bytes this store can keep."""

    new: Callable[[], Hasher]
    hex_length: int
    tag: int  # the first byte of the binary form: never reuse one


ALGORITHMS = {
    "sha256": Algorithm(hashlib.sha256, 64, 1),
    "sha512": Algorithm(hashlib.sha512, 128, 2),
}
_BY_TAG = {algorithm.tag: name for name, algorithm in ALGORITHMS.items()}
_GRAMMAR = re.compile(r"([a-z0-9]+(?:[.+_-][a-z0-9]+)*):([a-zA-Z0-9=_-]+)", re.ASCII)
_HEX = re.compile(r"[a-f0-9]+", re.ASCII)
_LONGEST = 255


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """`algorithm:encoded`. Bytes can be stored under it only if `supported`; a manifest may name others."""

    algorithm: str
    encoded: str

    def __post_init__(self) -> None:
        known = ALGORITHMS.get(self.algorithm)
        if known and not (len(self.encoded) == known.hex_length and _HEX.fullmatch(self.encoded)):
            raise InvalidDigest(str(self), f"{self.algorithm} takes {known.hex_length} lower-case hex digits")
        # The length first: the grammar keeps a state for each character of megabytes.
        if len(str(self)) > _LONGEST or not _GRAMMAR.fullmatch(str(self)):
            raise InvalidDigest(str(self), "expected algorithm:encoded, for example sha256 and 64 hex digits")

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.encoded}"

    @property
    def supported(self) -> bool:
        return self.algorithm in ALGORITHMS

    @property
    def binary(self) -> bytes:
        """A tag byte and the raw hash; for other algorithms a zero byte and the text. Unambiguous."""
        known = ALGORITHMS.get(self.algorithm)
        return bytes([known.tag]) + bytes.fromhex(self.encoded) if known else b"\0" + str(self).encode()

    @classmethod
    def from_binary(cls, value: bytes) -> "Digest":
        if value[0] == 0:
            return cls.parse_any(value[1:].decode())
        return cls(_BY_TAG[value[0]], value[1:].hex())

    @classmethod
    def parse_any(cls, text: str) -> "Digest":
        """Any digest of the grammar, as a manifest's descriptor may hold. Raises InvalidDigest."""
        algorithm, colon, encoded = text.partition(":")
        if not colon:
            raise InvalidDigest(text, "expected algorithm:encoded, for example sha256 and 64 hex digits")
        return cls(algorithm, encoded)

    @classmethod
    def parse(cls, text: str) -> "Digest":
        """A digest that bytes can be stored under. Raises InvalidDigest."""
        digest = cls.parse_any(text)
        if not digest.supported:
            raise InvalidDigest(text, f"unsupported algorithm; this registry has {', '.join(ALGORITHMS)}")
        return digest

    @classmethod
    def of(cls, data: Bytes, algorithm: str = "sha256") -> "Digest":
        hasher = new_hasher(algorithm)
        hasher.update(data)
        return cls(algorithm, hasher.hexdigest())


def schema_tag(binary: bytes) -> str | None:
    """The tag, and the begin of the tags, under which clients keep what refers to a binary digest.

    distribution-spec, "Referrers Tag Schema"; cosign puts .sig, .att and .sbom behind it.
    """
    name = _BY_TAG.get(binary[0])
    return f"{name}-{binary[1:].hex()}" if name else None


def new_hasher(algorithm: str) -> Hasher:
    """A fresh hasher. Raises InvalidDigest for an algorithm that the table lacks."""
    known = ALGORITHMS.get(algorithm)
    if known is None:
        raise InvalidDigest(algorithm, f"unsupported algorithm; this registry has {', '.join(ALGORITHMS)}")
    return known.new()
