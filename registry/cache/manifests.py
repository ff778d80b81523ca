"""A manifest of an upstream, kept as it came: what it names may be absent, and it may be of any kind."""

import re
from collections.abc import Sequence
from dataclasses import replace

from registry.errors import ManifestInvalid
from registry.manifests import MEDIA_TYPES
from registry.names import RepositoryName, Tag
from registry.registry import Registry
from registry.repository import describe
from registry.upstream.client import Fetched
from storage.digest import Digest
from storage.errors import BlobMissing, DigestMismatch, ManifestMissing, StoreDegraded
from storage.manifest_rows import Edge, ManifestRow

_INSTALLS = 3  # tries, should the file be taken away between its install and its row
_UNTOLD = "application/octet-stream"
_TYPE = re.compile(r"[!-~]{1,255}", re.ASCII)  # it ends up in a header


async def keep_manifest(
    registry: Registry, repository: RepositoryName, fetched: Fetched, tags: Sequence[Tag]
) -> ManifestRow:
    """Store it, and move the tags to it. Raises StorageError."""
    row, edges = await describe_fetched(registry, fetched)
    for _ in range(_INSTALLS):
        await registry.blobs.put(row.digest, fetched.raw)
        try:
            await registry.names.manifests.put(
                repository,
                row,
                edges,
                tags,
                file_size=registry.blobs.size,
                check=_allow,
                check_manifest=_allow_manifest,
            )
        except BlobMissing:
            continue  # taken away as bad, or as unwanted, since it was written
        return row
    raise StoreDegraded(f"the file of {row.digest} keeps vanishing: something else changes the store")


async def describe_fetched(registry: Registry, fetched: Fetched) -> tuple[ManifestRow, list[Edge]]:
    """What the index keeps of it. Of one that no client reads the same way, nothing but its type."""
    try:
        manifest = await registry.parse(fetched.raw, fetched.media_type, fetched.digest)
    except (ManifestInvalid, DigestMismatch):
        media_type = fetched.media_type if _TYPE.fullmatch(fetched.media_type) else _UNTOLD
        return ManifestRow(fetched.digest, media_type, len(fetched.raw)), []
    row, edges = describe(manifest, sparse=True)
    return (replace(row, media_type=fetched.media_type) if fetched.media_type in MEDIA_TYPES else row), edges


async def move_tag(registry: Registry, repository: RepositoryName, tag: Tag, digest: Digest) -> bool:
    """Whether the manifest is here, so that the tag names it now."""
    try:
        await registry.names.manifests.move_tag(
            repository, tag, digest, file_size=registry.blobs.size, check=_allow
        )
    except ManifestMissing:
        return False
    return True


async def remove_tag(registry: Registry, repository: RepositoryName, tag: Tag) -> None:
    """The upstream has it no more. What it named can still be pulled by digest."""
    try:
        await registry.names.manifests.remove_tag(repository, tag, check=_allow)
    except ManifestMissing:
        return


def _allow(tag: str, old: Digest | None, new: Digest | None) -> None:
    """No guard holds an upstream's tags."""


def _allow_manifest(exists: bool) -> None: ...
