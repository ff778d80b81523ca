"""Children of a pushed index that only the upstream has, where HEAD told who pushes that they are here."""

from collections.abc import Sequence
from contextlib import suppress

from registry.cache.repository import CachedRepository
from registry.conditions import Condition
from registry.errors import ManifestInvalid
from registry.manifests import Manifest, is_foreign
from registry.names import Reference, Tag
from registry.repository import Repository
from storage.digest import Digest
from storage.errors import BlobMissing, InvalidDigest, ManifestMissing, ReferencesMissing

_DEEPEST = 4  # indexes in indexes


async def put_manifest(
    pushed: Repository,
    cached: CachedRepository | None,
    reference: Reference,
    raw: bytes,
    content_type: str | None,
    *,
    tags: Sequence[Tag],
    condition: Condition,
) -> Manifest:
    """As Repository.put_manifest; what the index lacks and was pulled once is taken over, with all its blobs.

    Who mirrors a part of an index leaves out what it is told is here. Without its content the index would be
    as good as the upstream is. Raises UpstreamError beside the rest.
    """
    try:
        return await pushed.put_manifest(reference, raw, content_type, tags=tags, condition=condition)
    except ReferencesMissing as lacking:
        if cached is None or not await _take_all(pushed, cached, [text for text, _ in lacking.missing]):
            raise
    return await pushed.put_manifest(reference, raw, content_type, tags=tags, condition=condition)


async def _take_all(pushed: Repository, cached: CachedRepository, digests: Sequence[str]) -> bool:
    """Whether any was taken over."""
    try:
        return any([await _take(pushed, cached, text) for text in digests])
    finally:
        cached.disown()


async def _take(pushed: Repository, cached: CachedRepository, text: str, depth: int = 0) -> bool:
    """Whether it is a manifest that is kept of the upstream with all its blobs, and pushed now."""
    try:
        digest = Digest.parse(text)
        if await _is_pushed(pushed, digest):
            return True  # taken a moment ago: an index may name a child ten thousand times
        row = (await cached.kept_manifest(digest)).row
        raw = await cached.manifest_bytes(row)
        manifest = await pushed.parse(raw, row.media_type, digest)
        for blob in (*([manifest.config] if manifest.config else []), *manifest.blobs):
            if not is_foreign(blob):
                await _take_blob(pushed, cached, blob.digest)
    except (InvalidDigest, ManifestMissing, ManifestInvalid, BlobMissing):
        return False
    for child in manifest.children if depth < _DEEPEST else ():
        await _take(pushed, cached, str(child.digest), depth + 1)
    await pushed.put_manifest(digest, raw, row.media_type)
    return True


async def _is_pushed(pushed: Repository, digest: Digest) -> bool:
    with suppress(ManifestMissing):
        await pushed.manifest_row(digest)
        return True
    return False


async def _take_blob(pushed: Repository, cached: CachedRepository, digest: Digest) -> None:
    """Raises BlobMissing."""
    with suppress(BlobMissing):
        await pushed.blob_size(digest)
        return
    await cached.land(digest)
    await pushed.mount(digest, source=cached.name, readable=lambda _: True)
