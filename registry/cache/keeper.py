"""One repository of an upstream: what is asked of it, and what of the answers is kept."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from registry.cache.flights import Flights, land, lands_within
from registry.cache.freshness import Age, Missing, Patience, judge
from registry.cache.listings import Lately, Lists, sort_referrers
from registry.cache.manifests import describe_fetched, keep_manifest, move_tag, remove_tag
from registry.cache.routing import Remote
from registry.cache.wanted import Wanted
from registry.manifests import MEDIA_TYPES
from registry.names import Reference, Tag
from registry.registry import Registry
from registry.upstream.client import Fetched, UpstreamClient
from registry.upstream.errors import UpstreamError, UpstreamFailed, UpstreamMissing
from storage.contracts import BlobFile
from storage.digest import Digest
from storage.errors import BlobMissing, RepositoryMissing, StorageError
from storage.manifest_rows import ManifestRow

logger = logging.getLogger("registry")

ACCEPT: Final = tuple(MEDIA_TYPES)

Item = TypeVar("Item")
Brought = tuple[ManifestRow, bytes]


def blob_of(digest: Digest) -> str:
    """What is missing as a blob may be there as a manifest."""
    return f"blob {digest}"


class Fetching(Protocol):
    """Every blob that is wanted is fetched once, however many want it."""

    def open(self, wanted: Wanted) -> AbstractAsyncContextManager[BlobFile]: ...
    async def land(self, wanted: Wanted) -> None: ...
    def alone(
        self, repository: str, what: str, patience: float
    ) -> AbstractAsyncContextManager[float | None]: ...
    async def close(self) -> None: ...


class Keeper:
    """Made for one request; all that it is given is shared by those of a worker."""

    def __init__(
        self,
        remote: Remote,
        registry: Registry,
        client: UpstreamClient,
        fetches: Fetching,
        *,
        flights: Flights,
        missing: Missing,
        patience: Patience,
        lists: Lists,
        offline: bool,
    ) -> None:
        self.remote, self.registry, self.offline = remote, registry, offline
        self.upstream, self.name = remote.upstream, remote.kept
        self._client, self._fetches = client, fetches
        self._flights, self._missing, self._patience, self._lists = flights, missing, patience, lists

    async def is_known(self) -> bool:
        """Whether anything of the repository is here."""
        try:
            await self.registry.names.listings.tags(self.name, after="", limit=1)
        except RepositoryMissing:
            return False
        return True

    def is_missing(self, reference: object) -> bool:
        """Whether the upstream said lately that it has no such thing."""
        return self._missing.has(self.name, reference)

    # -- manifests -----------------------------------------------------------------------------------

    async def age(self, tag: Tag) -> int | None:
        return await self.registry.names.freshness.age(self.name, tag)

    async def bring(self, reference: Reference) -> Brought:
        """Fetch it and keep it. Raises UpstreamError."""
        return await land(
            self._flights.join(("bring", self.name, reference), partial(self._bring, reference))
        )

    def refresh(self, tag: Tag, row: ManifestRow) -> asyncio.Task[None]:
        """Ask whether the tag is what is here, and make it so; ends with UpstreamError, StorageError."""
        return self._flights.join(("refresh", self.name, tag), partial(self._refresh, tag, row.digest))

    async def waits_for(self, flight: asyncio.Task[Any]) -> bool:
        """Whether it ends within the upstream's deadline. If not, nobody waits for the next ones."""
        if self._patience.is_lost(self.upstream.name):
            return False
        if await lands_within(flight, self.upstream.deadline):
            return True
        self._patience.lose(self.upstream.name)
        return False

    async def _bring(self, reference: Reference) -> Brought:
        async with self._alone("bring", reference):
            if found := await self._kept(reference):
                return found
            fetched = await self._ask(reference)
            return await self._keep(fetched, reference), fetched.raw

    async def _kept(self, reference: Reference) -> Brought | None:
        """What another worker has brought meanwhile, whether it was waited for or just done."""
        manifests = self.registry.names.manifests
        try:
            row = (
                await manifests.find(self.name, reference)
                if isinstance(reference, Digest)
                else await manifests.resolve(self.name, reference)
            )
            return row, await self.registry.blobs.read(row.digest)
        except StorageError:
            return None

    def _alone(self, verb: str, reference: Reference) -> AbstractAsyncContextManager[float | None]:
        return self._fetches.alone(self.name, f"{verb} {reference}", self.upstream.deadline)

    async def _refresh(self, tag: Tag, here: Digest) -> None:
        async with self._alone("refresh", tag) as waited:
            age = await self.age(tag)
            # An answer that is fresh again, or no older than the wait, is one that another worker has got.
            if judge(age, self.upstream) is Age.FRESH:
                return
            if waited is None or age is None or not 0 <= age <= waited:
                await self._ask_again(tag, here)

    async def _ask_again(self, tag: Tag, here: Digest) -> None:
        # A HEAD first: it costs little everywhere, and at Docker Hub nothing of what one may pull.
        try:
            head = await self._client.head(self.remote.repository, tag, ACCEPT)
            same = head.digest == here or await move_tag(self.registry, self.name, tag, head.digest)
            if not same:
                # Not `_keep`: a tag that could not be moved must not be noted as asked for, and so as fresh.
                await keep_manifest(self.registry, self.name, await self._ask(tag), [tag])
        except UpstreamMissing:
            self._missing.add(self.name, tag, self.upstream.negative_ttl)
            await remove_tag(self.registry, self.name, tag)
            raise
        except UpstreamError:
            self._patience.lose(self.upstream.name)
            raise
        self._patience.regain(self.upstream.name)
        await self.registry.names.freshness.note(self.name, tag)

    async def _ask(self, reference: Reference) -> Fetched:
        try:
            fetched = await self._client.manifest(self.remote.repository, reference, ACCEPT)
        except UpstreamMissing:
            self._missing.add(self.name, reference, self.upstream.negative_ttl)
            raise
        assert isinstance(fetched, Fetched)  # no ETag was sent
        self._missing.drop(self.name, reference)
        self._patience.regain(self.upstream.name)
        return fetched

    async def _keep(self, fetched: Fetched, reference: Reference) -> ManifestRow:
        tags = [reference] if isinstance(reference, Tag) else []
        try:
            row = await keep_manifest(self.registry, self.name, fetched, tags)
            for tag in tags:
                await self.registry.names.freshness.note(self.name, tag)
        except StorageError as error:  # a full disk: who asked for it gets it all the same
            logger.warning("%s of %s is not kept: %s", reference, self.remote.public, error)
            row, _ = await describe_fetched(self.registry, fetched)
        return row

    # -- blobs ---------------------------------------------------------------------------------------

    async def blob_size(self, digest: Digest) -> int:
        """As the upstream says it. Raises BlobMissing, UpstreamError."""
        try:
            size = await self._client.blob_size(self.remote.repository, digest)
        except UpstreamMissing:
            raise self._lacks(digest) from None
        self._patience.regain(self.upstream.name)
        return size

    async def link(self, digest: Digest) -> int | None:
        """Take a blob that is here already for another repository, if this one has it, too: its size.

        None where it has to be fetched. Raises BlobMissing.
        """
        return await land(self._flights.join(("link", self.name, digest), partial(self._link, digest)))

    async def _link(self, digest: Digest) -> int | None:
        links = self.registry.names.links
        for holder in await links.holders(digest, limit=1):
            try:
                await self.blob_size(digest)
                return await links.mount(self.name, digest, self.registry.blobs.size, source=holder)
            except BlobMissing:
                if self.is_missing(blob_of(digest)):
                    raise
            except (UpstreamError, StorageError):
                return None
        return None

    @asynccontextmanager
    async def fetch(self, digest: Digest) -> AsyncIterator[BlobFile]:
        """The blob, which may still be landing. Raises BlobMissing, UpstreamError, StorageError."""
        async with AsyncExitStack() as stack:
            try:
                file = await stack.enter_async_context(self._fetches.open(self._wanted(digest)))
            except UpstreamMissing:
                raise self._lacks(digest) from None
            yield file

    async def land(self, digest: Digest) -> None:
        """Wait until all of it is here. Raises BlobMissing, UpstreamError, StorageError."""
        try:
            await self._fetches.land(self._wanted(digest))
        except UpstreamMissing:
            raise self._lacks(digest) from None

    def _wanted(self, digest: Digest) -> Wanted:
        return Wanted(
            upstream=self.upstream.name,
            repository=self.name,
            digest=digest,
            source=lambda offset: self._client.blob(self.remote.repository, digest, offset),
            held=partial(self._holds, digest),
            landed=partial(self.registry.names.links.claim, self.name, digest, self.registry.blobs.size),
        )

    def _lacks(self, digest: Digest) -> BlobMissing:
        """The upstream has said so."""
        self._missing.add(self.name, blob_of(digest), self.upstream.negative_ttl)
        return BlobMissing(digest)

    async def _holds(self, digest: Digest) -> bool:
        try:
            found = await self.registry.names.links.find(self.name, digest)
        except BlobMissing:
            return False
        return self.registry.blobs.size(digest) == found.size

    # -- listings ------------------------------------------------------------------------------------

    def has_tags(self) -> bool:
        """Whether they were listed lately."""
        return self._lists.tags.get((self.name, "tags")) is not None

    def has_referrers(self, subject: Digest) -> bool:
        return self._lists.referrers.get((self.name, str(subject))) is not None

    async def tags(self) -> list[str]:
        """All of them, in bytewise order, no older than a tag may be. Raises UpstreamError."""
        return await self._listed("tags", self._lists.tags, self._list_tags)

    async def referrers(self, subject: Digest) -> list[ManifestRow]:
        """All of them, by artifact type, then digest. Raises UpstreamError."""
        return await self._listed(str(subject), self._lists.referrers, partial(self._list_referrers, subject))

    async def _listed(
        self, what: str, lately: Lately[Item], ask: Callable[[], Coroutine[Any, Any, list[Item]]]
    ) -> list[Item]:
        if self.offline:
            raise UpstreamFailed(self.upstream.name, "it is not asked while `offline` is on")
        found = lately.get((self.name, what))
        if found is not None:
            return found
        flight = self._flights.join(("list", self.name, what), ask)
        if await self.is_known() and not await self.waits_for(flight):
            raise UpstreamFailed(self.upstream.name, "it took too long")
        found = await land(flight)
        lately.put((self.name, what), found, self.upstream.ttl)
        return found

    async def _list_tags(self) -> list[str]:
        pages = [page async for page in self._client.tags(self.remote.repository)]
        return sorted({str(tag) for page in pages for tag in page})

    async def _list_referrers(self, subject: Digest) -> list[ManifestRow]:
        pages = [page async for page in self._client.referrers(self.remote.repository, subject)]
        return sort_referrers(each for page in pages for each in page)
