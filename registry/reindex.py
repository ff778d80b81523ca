"""What storage's reindex can't know: which bytes are a manifest's, and the tag that they claim."""

from registry.errors import RegistryError, TagInvalid
from registry.fsck import read
from registry.manifests import MAX_MANIFEST, read_manifest
from registry.names import Tag
from registry.repository import describe
from storage.digest import Digest
from storage.recovery import Found, Reader

_REF_NAME = "org.opencontainers.image.ref.name"


def recognise(raw: bytes, digest: Digest) -> Found | None:
    """By the media type in the bytes; else by their members, as a push without a type is read."""
    try:
        manifest = read_manifest(raw, None, digest)
    except RegistryError:
        return None
    row, edges = describe(manifest, sparse=False)
    return Found(row, edges, _tag(manifest.descriptor.annotations.get(_REF_NAME, "")))


def _tag(text: str) -> str | None:
    try:
        return Tag(text)
    except TagInvalid:
        return None


READER = Reader(recognise, read, MAX_MANIFEST)
