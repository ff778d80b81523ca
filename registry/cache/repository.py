"""What an upstream's repository has, read through what is kept of it: what is here, else what is fetched."""

import time
from bisect import bisect_right
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import Final

from registry.cache.freshness import FAILED, STALE, Age, judge
from registry.cache.keeper import Keeper, blob_of
from registry.cache.listings import page_of
from registry.names import Reference, RepositoryName, Tag
from registry.repository import Repository
from registry.sources import Found, Note
from registry.upstream.errors import UpstreamError, UpstreamMissing
from storage.contracts import BlobFile
from storage.digest import Digest
from storage.errors import BlobMissing, ManifestMissing, RepositoryMissing, StorageError
from storage.manifest_rows import ManifestRow


class CachedRepository:
    """Made for one request; what is shared is the keeper's. `note` is told what came from where."""

    lasting: Final = False

    def __init__(self, keeper: Keeper, note: Note) -> None:
        self._keeper, self._upstream = keeper, keeper.upstream
        # Who pulls from an upstream's repository cannot push there, so that no mark has to be taken off.
        self._kept = Repository(keeper.registry, keeper.name, allows=lambda _: False)
        self._note = partial(note, keeper.upstream.name)
        self._brought: dict[Digest, bytes] = {}

    @property
    def name(self) -> RepositoryName:
        """The index's."""
        return self._kept.name

    async def is_known(self) -> bool:
        """Whether anything of it was ever fetched."""
        return await self._keeper.is_known()

    def disown(self) -> None:
        """What is answered is none of this."""
        self._note("")

    # -- blobs ---------------------------------------------------------------------------------------

    async def blob_size(self, digest: Digest) -> int:
        size = await self.known_size(digest)
        return size if size is not None else await self._keeper.blob_size(digest)

    async def known_size(self, digest: Digest) -> int | None:
        try:
            return await self.kept_size(digest)
        except BlobMissing:
            self._miss(digest)
        return await self._keeper.link(digest)

    async def kept_size(self, digest: Digest) -> int:
        """Without a question to anybody. Raises BlobMissing."""
        size = await self._kept.blob_size(digest)
        self._note("hit")
        return size

    @asynccontextmanager
    async def blob(self, digest: Digest, size: int | None) -> AsyncIterator[BlobFile]:
        async with AsyncExitStack() as stack:
            yield await self._open(stack, digest, size)

    async def _open(self, stack: AsyncExitStack, digest: Digest, size: int | None) -> BlobFile:
        if size is not None:
            with suppress(BlobMissing):  # it may have gone since
                return await stack.enter_async_context(self._kept.blob(digest, size))
            self._miss(digest)
        return await stack.enter_async_context(self._keeper.fetch(digest))

    async def land(self, digest: Digest) -> None:
        """Wait until all of it is here. Raises BlobMissing, UpstreamError."""
        if await self.known_size(digest) is None:
            await self._keeper.land(digest)

    async def blob_bytes(self, digest: Digest) -> bytes:
        with suppress(BlobMissing):  # it may have rotted
            return await self._kept.blob_bytes(digest)
        self._miss(digest)
        await self._keeper.land(digest)
        return await self._kept.blob_bytes(digest)

    def _miss(self, digest: Digest) -> None:
        """The upstream is to be asked. Raises BlobMissing where it is not."""
        self._require_askable(blob_of(digest), BlobMissing(digest))
        self._note("miss")

    # -- manifests -----------------------------------------------------------------------------------

    async def manifest(self, reference: Reference) -> Found:
        if isinstance(reference, Tag):
            return await self._by_tag(reference)
        try:
            return await self.kept_manifest(reference)
        except ManifestMissing:
            return await self._bring(reference)

    async def kept_manifest(self, digest: Digest) -> Found:
        """Without a question to anybody. Raises ManifestMissing."""
        row = await self._kept.manifest_row(digest)
        self._note("hit")
        return self._found(row)

    async def manifest_bytes(self, row: ManifestRow) -> bytes:
        if (raw := self._brought.get(row.digest)) is not None:
            return raw
        try:
            return await self._kept.manifest_bytes(row)
        except ManifestMissing:  # they have rotted
            await self._bring(row.digest)
            return self._brought[row.digest]

    async def _by_tag(self, tag: Tag) -> Found:
        """What the tag names, and whether that has to be asked for, now or beside the answer."""
        try:
            row = await self._kept.manifest_row(tag)
        except ManifestMissing:
            return await self._bring(tag)
        if self._keeper.offline:
            self._note("hit")
            return self._found(row)
        age = await self._keeper.age(tag)
        state = judge(age, self._upstream)
        if state is Age.FRESH:
            self._note("hit")
            return self._found(row, time.monotonic() + self._upstream.ttl - (age or 0))
        flight = self._keeper.refresh(tag, row)
        if state is Age.STALE:
            return self._stale(row, STALE)
        if not await self._keeper.waits_for(flight):
            return self._stale(row, STALE)
        try:
            flight.result()
        except UpstreamMissing:
            raise ManifestMissing(tag) from None
        except (UpstreamError, StorageError):
            return self._stale(row, FAILED)
        return await self._renewed(tag, row)

    async def _renewed(self, tag: Tag, old: ManifestRow) -> Found:
        row = await self._kept.manifest_row(tag)
        self._note("hit" if row.digest == old.digest else "miss")
        return self._found(row, time.monotonic() + self._upstream.ttl)

    async def _bring(self, reference: Reference) -> Found:
        """From the upstream, as nothing older is here."""
        self._require_askable(reference, ManifestMissing(reference))
        self._note("miss")
        try:
            row, raw = await self._keeper.bring(reference)
        except UpstreamMissing:
            raise ManifestMissing(reference) from None
        self._brought[row.digest] = raw
        found = self._found(row, 0.0)
        self._keeper.registry.pulls.add(found.pull)
        return found

    def _stale(self, row: ManifestRow, warning: str) -> Found:
        self._note("stale")
        return self._found(row, 0.0, warning)

    def _found(self, row: ManifestRow, until: float | None = None, warning: str = "") -> Found:
        return Found(row, (self._kept.name, row.digest), until, warning)

    def _require_askable(self, reference: object, missing: StorageError) -> None:
        """Raises what is given where the upstream is not to be asked, or said lately that it has no such."""
        if self._keeper.is_missing(reference):
            self._note("negative")
            raise missing
        if self._keeper.offline:
            raise missing

    # -- listings ------------------------------------------------------------------------------------

    async def tags(self, *, after: str, limit: int) -> list[str]:
        """The upstream's; where it cannot say them, those that were pulled."""
        self._note("hit" if self._keeper.has_tags() else "miss")
        try:
            found = await self._keeper.tags()
        except UpstreamMissing:
            raise RepositoryMissing(self._keeper.remote.public) from None
        except UpstreamError:
            if not await self._can_fall_back():
                raise
            return await self._kept.tags(after=after, limit=limit)
        begin = bisect_right(found, after)
        return found[begin : begin + limit]

    async def referrers(
        self, subject: Digest, *, artifact_type: str | None, after: tuple[str, bytes], limit: int
    ) -> tuple[list[ManifestRow], bool]:
        """The upstream's; where it cannot say them, those that were pulled."""
        self._note("hit" if self._keeper.has_referrers(subject) else "miss")
        try:
            found = await self._keeper.referrers(subject)
        except UpstreamMissing:
            raise ManifestMissing(subject) from None
        except UpstreamError:
            if not await self._can_fall_back():
                raise
            return await self._kept.referrers(subject, artifact_type=artifact_type, after=after, limit=limit)
        return page_of(found, artifact_type, after, limit)

    async def _can_fall_back(self) -> bool:
        """Whether what was pulled may stand for what the upstream cannot say now."""
        if not self._keeper.offline and not await self._keeper.is_known():
            return False
        self._note("stale")
        return True
