"""The bytes that are pushed: the same for every server."""

import hashlib
import json
import random
from dataclasses import dataclass
from pathlib import Path

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
ACCEPT = f"{MANIFEST}, application/vnd.oci.image.index.v1+json"  # distribution has a 404 for who does not say
_TAIL = 32  # bytes by which payloads on one file differ


@dataclass(frozen=True, slots=True)
class Payload:
    """`size` bytes: those of the file, but for the `tail` at the end."""

    path: Path
    size: int
    tail: bytes
    digest: str


def make_payloads(folder: Path, size: int, count: int = 1) -> list[Payload]:
    """Different payloads on one new file of incompressible bytes; the first is the file as it is."""
    path = folder / f"payload-{size}"
    hasher, left = hashlib.sha256(), size - _TAIL
    tails = [f"payload {number}".encode().ljust(_TAIL) for number in range(count)]
    source = random.Random(size)  # noqa: S311 - the same bytes in each run
    with path.open("wb") as file:
        while left:
            block = source.randbytes(min(left, 2**20))
            hasher.update(block)
            file.write(block)
            left -= len(block)
        file.write(tails[0])
    return [Payload(path, size, tail, _finish(hasher, tail)) for tail in tails]


def _finish(hasher: "hashlib._Hash", tail: bytes) -> str:
    whole = hasher.copy()
    whole.update(tail)
    return f"sha256:{whole.hexdigest()}"


@dataclass(frozen=True, slots=True)
class Image:
    """A manifest with one config and one small layer."""

    config: bytes
    layer: bytes

    @classmethod
    def of(cls, size: int) -> "Image":
        source = random.Random(size)  # noqa: S311
        return cls(source.randbytes(size), source.randbytes(size))

    @property
    def manifest(self) -> bytes:
        return manifest_of(*((digest_of(data), len(data)) for data in (self.config, self.layer)))


def manifest_of(config: tuple[str, int], layer: tuple[str, int]) -> bytes:
    """An image's manifest; its parts as (digest, size)."""
    kinds = ("application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar")
    parts = [
        {"mediaType": kind, "digest": digest, "size": size}
        for kind, (digest, size) in zip(kinds, (config, layer), strict=True)
    ]
    body = {"schemaVersion": 2, "mediaType": MANIFEST, "config": parts[0], "layers": parts[1:]}
    return json.dumps(body).encode()


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
