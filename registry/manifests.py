"""Manifests: what the pushed bytes say and refer to (OCI image-spec, manifest.md and image-index.md).

A body that two readers could take differently is refused: no client finds other references than those that
were checked and that garbage collection keeps. Unknown keys are left alone, as only `raw` is ever served.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from registry.descriptors import (
    Descriptor,
    Object,
    is_foreign,
    read_annotations,
    read_descriptor,
    read_list,
    read_object,
    read_type,
    show,
)
from registry.errors import ManifestInvalid, ManifestTooLarge
from registry.strict_json import Json, JsonInvalid, key_table, loads
from storage.digest import Digest

__all__ = [
    "MAX_MANIFEST",
    "MEDIA_TYPES",
    "Descriptor",
    "Manifest",
    "ManifestKind",
    "is_foreign",
    "read_manifest",
]

MAX_MANIFEST = 4 * 2**20  # bytes
MAX_DESCRIPTORS = 10_000


class ManifestKind(Enum):
    IMAGE = "image"
    INDEX = "index"


_OCI_IMAGE = "application/vnd.oci.image.manifest.v1+json"
_OCI_INDEX = "application/vnd.oci.image.index.v1+json"
_OCI_ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json"
_DOCKER_IMAGE = "application/vnd.docker.distribution.manifest.v2+json"
_DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"

_MEMBERS = {  # type → the keys that hold its references
    _OCI_IMAGE: ("config", "layers"),
    _OCI_INDEX: ("manifests",),
    _OCI_ARTIFACT: ("blobs",),  # not in the final 1.1 of the specification, but oras 0.16 to 1.0 pushed it
    _DOCKER_IMAGE: ("config", "layers"),
    _DOCKER_INDEX: ("manifests",),
}
MEDIA_TYPES: Mapping[str, ManifestKind] = {
    media_type: ManifestKind.INDEX if members == ("manifests",) else ManifestKind.IMAGE
    for media_type, members in _MEMBERS.items()
}
_EXPECTED = "expected one of " + ", ".join(MEDIA_TYPES)
_GENERIC = ("", "application/json", "application/octet-stream")  # sent by tools that were told no type

_MANIFEST_KEYS = key_table(
    "schemaVersion",
    "mediaType",
    "artifactType",
    "config",
    "layers",
    "blobs",
    "manifests",
    "subject",
    "annotations",
)
_TOP = "the manifest"


@dataclass(frozen=True, slots=True)
class Manifest:
    """`descriptor` is the manifest's own, as the referrers API lists it: with the effective artifact type."""

    descriptor: Descriptor
    raw: bytes = field(repr=False)
    kind: ManifestKind
    config: Descriptor | None
    blobs: tuple[Descriptor, ...]
    children: tuple[Descriptor, ...]
    subject: Descriptor | None


def read_manifest(raw: bytes, content_type: str | None, digest: Digest) -> Manifest:
    """The manifest in `raw`, whose digest the caller has computed. Raises ManifestInvalid, ManifestTooLarge.

    Its type is the body's `mediaType`, else the Content-Type, else the OCI type that its members tell.
    """
    if len(raw) > MAX_MANIFEST:
        raise ManifestTooLarge(MAX_MANIFEST)
    try:
        body = read_object(loads(raw), _MANIFEST_KEYS, _TOP)
    except JsonInvalid as error:
        raise ManifestInvalid(f"the manifest cannot be read: {error}") from None
    _check_schema(body.get("schemaVersion"))
    media_type = _choose_type(body, content_type)
    _check_members(body, media_type)
    config = _optional(body, "config") if "config" in _MEMBERS[media_type] else None
    artifact_type = read_type(body, "artifactType", _TOP)
    return Manifest(
        descriptor=Descriptor(
            media_type,
            digest,
            len(raw),
            artifact_type or (config.media_type if config else ""),
            read_annotations(body, _TOP),
        ),
        raw=raw,
        kind=MEDIA_TYPES[media_type],
        config=config,
        blobs=_descriptors(body, "blobs" if media_type == _OCI_ARTIFACT else "layers"),
        children=_descriptors(body, "manifests"),
        subject=_optional(body, "subject"),
    )


def _choose_type(body: Object, content_type: str | None) -> str:
    asked = (content_type or "").partition(";")[0].strip().lower()
    own = read_type(body, "mediaType", _TOP)
    if asked not in MEDIA_TYPES and asked not in _GENERIC:
        raise ManifestInvalid(f"Content-Type {show(asked)} is no manifest's, {_EXPECTED}")
    if own and asked in MEDIA_TYPES and own != asked:
        raise ManifestInvalid(f"Content-Type is {asked}, but the manifest's mediaType is {own}")
    if own and own not in MEDIA_TYPES:
        raise ManifestInvalid(f"mediaType {show(own)} is no manifest's, {_EXPECTED}")
    if own or asked in MEDIA_TYPES:
        return own or asked
    if body.get("manifests") is not None:
        return _OCI_INDEX
    if body.get("config") is not None:
        return _OCI_IMAGE
    raise ManifestInvalid(f"neither Content-Type nor mediaType says what this manifest is, {_EXPECTED}")


def _check_members(body: Object, media_type: str) -> None:
    """Refuse what is another manifest to a reader that goes by the members (CVE-2021-41190)."""
    members = _MEMBERS[media_type]
    if "config" in members and body.get("config") is None:
        raise ManifestInvalid(f"a manifest of type {media_type} needs a config")
    for key in ("config", "layers", "manifests"):
        if key not in members and body.get(key) is not None:
            raise ManifestInvalid(f"a manifest of type {media_type} must not have {key}")


def _check_schema(version: Json) -> None:
    if type(version) is int and version == 1:
        raise ManifestInvalid("this is Docker schema 1, which is obsolete: push schema 2 or an OCI manifest")
    if version is not None and (type(version) is not int or version != 2):
        raise ManifestInvalid(f"schemaVersion is {show(version)}, expected 2")


def _descriptors(body: Object, key: str) -> tuple[Descriptor, ...]:
    found = read_list(body, key, _TOP)
    if len(found) > MAX_DESCRIPTORS:
        raise ManifestInvalid(f"{key} has {len(found)} descriptors, {MAX_DESCRIPTORS} are allowed")
    return tuple(read_descriptor(value, f"{key}[{number}]") for number, value in enumerate(found))


def _optional(body: Object, key: str) -> Descriptor | None:
    value = body.get(key)
    return None if value is None else read_descriptor(value, key)
