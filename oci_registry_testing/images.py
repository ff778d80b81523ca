"""Images that any client can pull: layers of files, the config that fits them, indexes of platforms."""

import io
import json
import struct
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from oci_registry_testing.content import Content, by_digest
from oci_registry_testing.manifests import (
    DOCKER_CONFIG,
    DOCKER_IMAGE,
    DOCKER_INDEX,
    DOCKER_LAYER,
    OCI_CONFIG,
    OCI_IMAGE,
    OCI_INDEX,
    OCI_LAYER,
    JsonObject,
    descriptor,
    digest_of,
    image,
    index,
)

PLATFORM = "linux/amd64"

_EPOCH = "1970-01-01T00:00:00Z"
_STORED = 65_535  # bytes of a stored block of deflate at most


@dataclass(frozen=True, slots=True)
class Layer:
    """`diff_id` is the digest of what is inside, where `data` is compressed."""

    data: bytes
    diff_id: str
    compressed: bool = False


Files = Mapping[str, str | bytes]
LayerLike = Layer | Files | bytes
"""A layer; or files by their paths, for one with these; or the bytes of one, taken as they are."""


def make_layer(files: Files, *, compressed: bool = False) -> Layer:
    """A tar archive of these files, in this order; folders come of themselves."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(data), 0o644
            archive.addfile(entry, io.BytesIO(data))
    data = buffer.getvalue()
    return Layer(_gzip(data) if compressed else data, digest_of(data), compressed)


def make_image(
    *layers: LayerLike,
    platform: str = PLATFORM,
    config: Mapping[str, object] | None = None,
    annotations: Mapping[str, str] | None = None,
    docker: bool = False,
    subject: Content | None = None,
    artifact_type: str | None = None,
) -> Content:
    """An image of these layers; without any, of one with the file `hello`.

    `config` is the inner one: `{"Env": […], "Cmd": […]}`. With `docker`, its types are Docker's.
    """
    made = [_layer_of(layer) for layer in layers] or [make_layer({"hello": "hello\n"})]
    where = _platform_of(platform)
    inner = json.dumps(
        {
            "created": _EPOCH,
            **where,
            "config": dict(config or {}),
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in made]},
            "history": [{"created": _EPOCH, "created_by": "oci-registry"} for _ in made],
        }
    ).encode()
    media_type = DOCKER_IMAGE if docker else OCI_IMAGE
    raw = image(
        descriptor(inner, DOCKER_CONFIG if docker else OCI_CONFIG),
        [descriptor(layer.data, _type_of(layer, docker=docker)) for layer in made],
        subject=subject.subject if subject else None,
        artifact_type=artifact_type,
        annotations=annotations,
        media_type=media_type,
    )
    blobs = by_digest(inner, *(layer.data for layer in made))
    return Content(raw, media_type, blobs, platform=where, artifact_type=artifact_type)


def make_index(
    *children: Content,
    annotations: Mapping[str, str] | None = None,
    docker: bool = False,
    subject: Content | None = None,
    artifact_type: str | None = None,
) -> Content:
    """An index of these images; without any, of one for linux/amd64 and one for linux/arm64."""
    named = children or tuple(
        make_image({"arch": f"{platform}\n"}, platform=platform, docker=docker)
        for platform in (PLATFORM, "linux/arm64")
    )
    media_type = DOCKER_INDEX if docker else OCI_INDEX
    raw = index(
        [child.descriptor for child in named],
        subject=subject.subject if subject else None,
        artifact_type=artifact_type,
        annotations=annotations,
        media_type=media_type,
    )
    return Content(raw, media_type, children=named, artifact_type=artifact_type)


def _layer_of(given: LayerLike) -> Layer:
    if isinstance(given, Layer):
        return given
    if isinstance(given, bytes):
        return Layer(given, digest_of(given))
    return make_layer(given)


def _type_of(layer: Layer, *, docker: bool) -> str:
    if docker:
        return f"{DOCKER_LAYER}.gzip" if layer.compressed else DOCKER_LAYER
    return f"{OCI_LAYER}+gzip" if layer.compressed else OCI_LAYER


def _platform_of(text: str) -> JsonObject:
    system, _, rest = text.partition("/")
    architecture, _, variant = rest.partition("/")
    if not system or not architecture:
        raise ValueError(f"{text!r} is no platform: expected one such as linux/amd64 or linux/arm/v7")
    named = {"architecture": architecture, "os": system}
    return {**named, "variant": variant} if variant else named


def _gzip(data: bytes) -> bytes:
    """In stored blocks, by hand: what a zlib makes of the same bytes differs between its versions."""
    pieces: Sequence[bytes] = [data[at : at + _STORED] for at in range(0, len(data), _STORED)] or [b""]
    blocks = b"".join(
        struct.pack("<BHH", number == len(pieces), len(piece), len(piece) ^ 0xFFFF) + piece
        for number, piece in enumerate(pieces, 1)
    )
    return (
        b"\x1f\x8b\x08"
        + bytes(6)
        + b"\xff"
        + blocks
        + struct.pack("<II", zlib.crc32(data), len(data) % 2**32)
    )
