"""Descriptors: how manifests name content (OCI image-spec, descriptor.md), and the checks that both share."""

import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from registry.errors import ManifestInvalid
from registry.strict_json import Json, key_table, miscased
from storage.digest import Digest
from storage.errors import InvalidDigest

Object = dict[str, Json]

_FOREIGN = (
    "application/vnd.oci.image.layer.nondistributable.",
    "application/vnd.docker.image.rootfs.foreign.",
)

_DESCRIPTOR_KEYS = key_table(
    "mediaType", "digest", "size", "urls", "annotations", "data", "platform", "artifactType"
)
_PLATFORM_KEYS = key_table("os", "architecture", "variant", "os.version", "os.features", "features")

# Types end up in headers. 255: RFC 6838 §4.2 allows 127 on each side of the slash.
_MEDIA_TYPE = re.compile(r"[ -~]{1,255}", re.ASCII)
_LARGEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Descriptor:
    media_type: str
    digest: Digest
    size: int
    artifact_type: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)


def is_foreign(descriptor: Descriptor) -> bool:
    """A non-distributable layer: the registry need not have it."""
    return descriptor.media_type.startswith(_FOREIGN)


def read_descriptor(value: Json, where: str) -> Descriptor:
    source = read_object(value, _DESCRIPTOR_KEYS, where)
    media_type, text, size = read_type(source, "mediaType", where), source.get("digest"), source.get("size")
    if not media_type:
        raise ManifestInvalid(f"{where} has no mediaType")
    if not isinstance(text, str):
        raise ManifestInvalid(f"the digest of {where} is {show(text)}, expected a string")
    if type(size) is not int or not 0 <= size <= _LARGEST:
        raise ManifestInvalid(f"the size of {where} is {show(size)}, expected a whole number of bytes")
    try:
        digest = Digest.parse_any(text)
    except InvalidDigest as error:
        raise ManifestInvalid(f"{where}: {error}") from None
    _strings(source, "urls", where)
    _check_platform(source.get("platform"), f"the platform of {where}")
    _check_data(source.get("data"), digest, size, where)
    return Descriptor(
        media_type, digest, size, read_type(source, "artifactType", where), read_annotations(source, where)
    )


def _check_platform(value: Json, where: str) -> None:
    if value is None:
        return
    platform = read_object(value, _PLATFORM_KEYS, where)
    for key in ("os", "architecture", "variant", "os.version"):
        if not isinstance(platform.get(key, ""), str | None):
            raise ManifestInvalid(f"{key} in {where} is {show(platform[key])}, expected a string")
    for key in ("os.features", "features"):
        _strings(platform, key, where)


def _check_data(data: Json, digest: Digest, size: int, where: str) -> None:
    """Embedded content must be the content that the descriptor names (descriptor.md, "data")."""
    if data is None:
        return
    try:
        content = binascii.a2b_base64(data, strict_mode=True) if isinstance(data, str) else None
    except ValueError:
        content = None
    if content is None:
        raise ManifestInvalid(f"the data of {where} is not base64")
    if len(content) != size or (digest.supported and Digest.of(content, digest.algorithm) != digest):
        raise ManifestInvalid(f"the data of {where} has not the size and digest that are given beside it")


def read_object(value: Json, keys: Mapping[str, str], where: str) -> Object:
    if not isinstance(value, dict):
        raise ManifestInvalid(f"{where} is {show(value)}, expected an object")
    if key := miscased(value, keys):
        raise ManifestInvalid(f"{where} has the key {show(key)}, which some clients read as another key")
    return value


def read_list(source: Object, key: str, where: str) -> list[Json]:
    value = source.get(key)  # Go writes an empty slice as null
    if value is not None and not isinstance(value, list):
        raise ManifestInvalid(f"{key} in {where} is {show(value)}, expected a list")
    return value or []


def _strings(source: Object, key: str, where: str) -> None:
    if not all(isinstance(value, str) for value in read_list(source, key, where)):
        raise ManifestInvalid(f"{key} in {where} must be strings")


def read_type(source: Object, key: str, where: str) -> str:
    """A media type or artifact type; "" if absent."""
    value = source.get(key)
    if value is None or value == "":
        return ""
    if not isinstance(value, str) or not _MEDIA_TYPE.fullmatch(value):
        raise ManifestInvalid(f"{key} in {where} is {show(value)}, expected a media type in printable ASCII")
    return value


def read_annotations(source: Object, where: str) -> dict[str, str]:
    value = source.get("annotations")
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ManifestInvalid(f"annotations in {where} are {show(value)}, expected an object")
    texts = {key: text for key, text in value.items() if isinstance(text, str)}
    if len(texts) < len(value):
        raise ManifestInvalid(f"annotations in {where} must be strings")
    return texts


def show(value: Json) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return "absent or null" if value is None else repr(value[:80] if isinstance(value, str) else value)
