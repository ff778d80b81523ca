"""A plain name where there is a default upstream: what that has, and else what was pushed here.

What is named by digest is the same wherever it is from, so what is here already comes before a question.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Final

from registry.cache.repository import CachedRepository
from registry.names import Reference, Tag
from registry.sources import Found, Source
from registry.upstream.errors import UpstreamError
from storage.contracts import BlobFile
from storage.digest import Digest
from storage.errors import BlobMissing, ManifestMissing, RepositoryMissing
from storage.manifest_rows import ManifestRow


class UpstreamFirst:
    def __init__(self, cached: CachedRepository, pushed: Source) -> None:
        self._cached, self._pushed = cached, pushed
        self._chosen: Source = cached

    lasting: Final = False

    async def blob_size(self, digest: Digest) -> int:
        size = await self._here(digest)
        return size if size is not None else await self._cached.blob_size(digest)

    async def known_size(self, digest: Digest) -> int | None:
        size = await self._here(digest)
        return size if size is not None else await self._cached.known_size(digest)

    async def _here(self, digest: Digest) -> int | None:
        with suppress(BlobMissing):
            return await self._cached.kept_size(digest)
        with suppress(BlobMissing):
            size = await self._pushed.blob_size(digest)
            self._choose()
            return size
        return None

    @asynccontextmanager
    async def blob(self, digest: Digest, size: int | None) -> AsyncIterator[BlobFile]:
        async with self._chosen.blob(digest, size) as file:
            yield file

    async def blob_bytes(self, digest: Digest) -> bytes:
        return await self._chosen.blob_bytes(digest)

    async def manifest(self, reference: Reference) -> Found:
        if isinstance(reference, Digest):
            with suppress(ManifestMissing):
                return await self._cached.kept_manifest(reference)
            with suppress(ManifestMissing):
                return await self._choose_pushed(reference)
        try:
            return await self._cached.manifest(reference)
        except ManifestMissing:
            return await self._choose_pushed(reference)
        except UpstreamError:
            if not await self._is_ours():
                raise
            with suppress(ManifestMissing):
                return await self._choose_pushed(reference)
            raise

    async def manifest_bytes(self, row: ManifestRow) -> bytes:
        return await self._chosen.manifest_bytes(row)

    async def tags(self, *, after: str, limit: int) -> list[str]:
        try:
            return await self._cached.tags(after=after, limit=limit)
        except RepositoryMissing:
            return await self._pushed.tags(after=after, limit=limit)
        except UpstreamError:
            if not await self._is_ours():
                raise
            with suppress(RepositoryMissing):
                return await self._pushed.tags(after=after, limit=limit)
            raise

    async def referrers(
        self, subject: Digest, *, artifact_type: str | None, after: tuple[str, bytes], limit: int
    ) -> tuple[list[ManifestRow], bool]:
        """Where something was pushed that refers to it, this: upstreams list nothing of what they lack."""
        found = await self._pushed.referrers(subject, artifact_type=artifact_type, after=after, limit=limit)
        if found[0]:
            self._choose()
            return found
        try:
            return await self._cached.referrers(
                subject, artifact_type=artifact_type, after=after, limit=limit
            )
        except ManifestMissing:
            return found
        except UpstreamError:
            if not await self._is_ours():
                raise
            return found

    async def _choose_pushed(self, reference: Reference) -> Found:
        found = await self._pushed.manifest(reference)
        self._choose()
        # The upstream may have such a tag by the next time.
        return replace(found, until=0.0) if isinstance(reference, Tag) else found

    def _choose(self) -> None:
        self._chosen = self._pushed
        self._cached.disown()

    async def _is_ours(self) -> bool:
        """Whether what was pushed may be served although the upstream failed: not where it has the same."""
        return not await self._cached.is_known()
