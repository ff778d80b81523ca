"""One repository's verbs on blobs, manifests and tags, without HTTP: what each does, and in which order."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

from registry.access import Action
from registry.changes import BlobAdded, BlobRemoved, ManifestAdded, ManifestRemoved, TagMoved
from registry.conditions import Condition
from registry.errors import Denied
from registry.manifests import Descriptor, Manifest, is_foreign
from registry.names import Reference, RepositoryName, Tag
from registry.registry import Registry
from registry.sources import Found
from storage.contracts import BlobFile
from storage.digest import Digest
from storage.errors import (
    BlobMissing,
    DigestMismatch,
    ManifestMissing,
    QuotaExceeded,
    StorageError,
    StoreDegraded,
)
from storage.manifest_rows import Edge, EdgeKind, ManifestRow
from storage.tags import TagCheck

_MOST_HOLDERS = 32  # looked at for a mount without a source: more would tell by their time that they are
_INSTALLS = 3  # tries, should a manifest's file be taken away between its install and its row
_REFERRERS_BUDGET = 4 * 2**20  # bytes of annotations in one page
_KEPT_WITHIN = 1.0  # seconds; after that "not here" is the safer answer: the client pushes
_ALWAYS = Condition()


class Repository:
    """`who` is the actor's name, for the history of the tags; `allows` says what else the actor may here.

    Who may push may also leave out a push of what is said to be here. `allows` is called in any thread.
    """

    def __init__(
        self,
        registry: Registry,
        name: RepositoryName,
        who: str = "",
        *,
        allows: Callable[[Action], bool] = lambda _: True,
    ) -> None:
        self._registry, self.name, self._who, self._allows = registry, name, who, allows
        self._names, self._blobs = registry.names, registry.blobs

    lasting: Final = True

    # -- blobs ---------------------------------------------------------------------------------------

    async def blob_size(self, digest: Digest) -> int:
        """Bytes. Raises BlobMissing, also where the file is gone or has another size: a push heals it."""
        found = await self._names.links.find(self.name, digest)
        if self._blobs.size(digest) != found.size:
            await self._distrust(digest, lambda: self._blobs.size(digest) != found.size)
            raise BlobMissing(digest)
        if found.marked and not await self._keep(self._names.links.keep(self.name, digest)):
            raise BlobMissing(digest)
        return found.size

    async def known_size(self, digest: Digest) -> int | None:
        return await self.blob_size(digest)

    @asynccontextmanager
    async def blob(self, digest: Digest, size: int | None) -> AsyncIterator[BlobFile]:
        """The open blob that `blob_size` told of. Raises BlobMissing."""
        async with self._blobs.open(digest) as file:
            if file.size != size:
                raise BlobMissing(digest)
            yield file

    async def blob_bytes(self, digest: Digest) -> bytes:
        """All of a small blob that `blob_size` told of, verified. Raises BlobMissing."""
        raw = await self._verified(digest)
        if raw is None:
            raise BlobMissing(digest)
        return raw

    async def mount(self, digest: Digest, *, source: str | None, readable: Callable[[str], bool]) -> None:
        """Take a blob from `source`, or from any `readable` repository. Raises BlobMissing, QuotaExceeded."""
        links = self._names.links
        holders = [source] if source else await links.holders(digest, limit=_MOST_HOLDERS)
        chosen = next((name for name in holders if name == self.name or readable(name)), None)
        if chosen is None:
            raise BlobMissing(digest)
        limits = self._registry.limits_of(self.name)
        size = await links.mount(self.name, digest, self._blobs.size, source=chosen, limits=limits)
        self._registry.tell(BlobAdded(self.name, digest, size, mounted=True))

    async def delete_blob(self, digest: Digest) -> None:
        """Raises BlobMissing, BlobReferenced."""
        await self._names.links.remove(self.name, digest, even_if_referenced=self._registry.sparse)
        self._registry.tell(BlobRemoved(self.name, digest))

    # -- manifests -----------------------------------------------------------------------------------

    async def manifest_row(self, reference: Reference) -> ManifestRow:
        """What HEAD tells; counts as a pull. Raises ManifestMissing."""
        manifests = self._names.manifests
        found = (
            await manifests.find(self.name, reference)
            if isinstance(reference, Digest)
            else await manifests.resolve(self.name, reference)
        )
        if self._blobs.size(found.digest) != found.size:
            await self._distrust(found.digest, lambda: self._blobs.size(found.digest) != found.size)
            raise ManifestMissing(reference)
        if found.marked and not await self._keep(manifests.keep(self.name, found.digest)):
            raise ManifestMissing(reference)
        self._registry.pulls.add((self.name, found.digest))
        return found

    async def manifest(self, reference: Reference) -> Found:
        row = await self.manifest_row(reference)
        return Found(row, (self.name, row.digest))

    async def manifest_bytes(self, row: ManifestRow) -> bytes:
        """A manifest's exact bytes, verified. Raises ManifestMissing."""
        raw = await self._verified(row.digest)
        if raw is None:
            raise ManifestMissing(row.digest)
        return raw

    async def parse(self, raw: bytes, content_type: str | None, reference: Reference) -> Manifest:
        """As Registry.parse."""
        return await self._registry.parse(raw, content_type, reference)

    async def put_manifest(
        self,
        reference: Reference,
        raw: bytes,
        content_type: str | None,
        *,
        tags: Sequence[Tag] = (),
        condition: Condition = _ALWAYS,
    ) -> Manifest:
        """Store a manifest and move the reference, if it is a tag, and all `tags` to it: all or nothing.

        Durable on return. Raises DigestMismatch, ManifestInvalid, ManifestTooLarge, ReferencesMissing,
        PreconditionFailed, QuotaExceeded, and what the guards raise.
        """
        manifest = await self._registry.parse(raw, content_type, reference)
        digest = manifest.descriptor.digest
        row, edges = describe(manifest, sparse=self._registry.sparse)
        moved = list(dict.fromkeys([reference, *tags] if isinstance(reference, Tag) else tags))

        def check_manifest(exists: bool) -> None:
            if not moved:
                condition.check(digest, digest if exists else None)

        put = (self.name, row, edges, moved)
        check, limits = self._guarded(condition), self._registry.limits_of(self.name)
        await self._names.manifests.examine(*put, check=check, check_manifest=check_manifest, limits=limits)
        for _ in range(_INSTALLS):
            await self._blobs.put(digest, raw)
            try:
                moves = await self._names.manifests.put(
                    *put,
                    file_size=self._blobs.size,
                    check=check,
                    check_manifest=check_manifest,
                    limits=limits,
                    who=self._who,
                )
                break
            except QuotaExceeded:  # another push was faster
                await self._names.links.leave(digest, self._blobs.size)
                raise
            except BlobMissing:
                continue  # taken away as bad, or as unwanted, since it was written
        else:
            raise StoreDegraded(f"the file of {digest} keeps vanishing: something else changes the store")
        self._registry.tell(ManifestAdded(self.name, digest, manifest.descriptor.media_type, len(raw)))
        for tag, old in moves:
            self._registry.tell(TagMoved(self.name, Tag(tag), old, digest))
        return manifest

    async def delete_manifest(self, digest: Digest, *, condition: Condition = _ALWAYS) -> None:
        """With every tag on it. Raises ManifestMissing, BlobReferenced, PreconditionFailed."""
        tags = await self._names.manifests.remove(
            self.name,
            digest,
            even_if_referenced=self._registry.sparse,
            check=self._guarded(_ALWAYS),
            check_manifest=lambda _: condition.check(digest, digest),
            who=self._who,
        )
        for tag in tags:
            self._registry.tell(TagMoved(self.name, Tag(tag), digest, None))
        self._registry.tell(ManifestRemoved(self.name, digest))

    async def delete_tag(self, tag: Tag, *, condition: Condition = _ALWAYS) -> None:
        """Delete a tag; its manifest stays, by digest. Raises ManifestMissing, PreconditionFailed."""
        old = await self._names.manifests.remove_tag(
            self.name, tag, check=self._guarded(condition), who=self._who
        )
        self._registry.tell(TagMoved(self.name, tag, old, None))

    def _guarded(self, condition: Condition) -> TagCheck:
        def check(tag: str, old: Digest | None, new: Digest | None) -> None:
            condition.check(f"tag {tag}", old)
            if old and new and old != new and not self._allows(Action.MOVE):
                raise Denied(
                    f"tag {tag} is {old} already, and moving tags of {self.name} is not allowed to you"
                )
            for guard in self._registry.guards:
                guard.check(TagMoved(self.name, Tag(tag), old, new))

        return check

    # -- listings ------------------------------------------------------------------------------------

    async def tags(self, *, after: str, limit: int) -> list[str]:
        """Tag names in bytewise order. Raises RepositoryMissing."""
        return await self._names.listings.tags(self.name, after=after, limit=limit)

    async def referrers(
        self, subject: Digest, *, artifact_type: str | None, after: tuple[str, bytes], limit: int
    ) -> tuple[list[ManifestRow], bool]:
        """Manifests with that subject, and whether more follow; none for an unknown repository."""
        return await self._names.listings.referrers(
            self.name,
            subject,
            artifact_type=artifact_type,
            after=after,
            limit=limit,
            budget=_REFERRERS_BUDGET,
        )

    async def _keep(self, keeping: Coroutine[object, object, None]) -> bool:
        """Whether what is marked as garbage may be called "here": not to who then leaves its push out."""
        if not self._allows(Action.PUSH):
            keeping.close()
            return True
        try:
            await asyncio.wait_for(keeping, _KEPT_WITHIN)
        except (StorageError, TimeoutError):
            return False
        return True

    async def _verified(self, digest: Digest) -> bytes | None:
        """Bytes that the index says are here; None if they turn out not to be."""
        recent = self._registry.recent
        if (raw := recent.get(digest)) is not None:
            return raw
        try:
            raw = await self._blobs.read(digest)
        except BlobMissing:
            return None
        except DigestMismatch:
            await self._distrust(digest, lambda: not self._is_intact(digest))
            return None
        recent.put(digest, raw)
        return raw

    async def _distrust(self, digest: Digest, is_bad: Callable[[], bool]) -> None:
        """Bytes that differ from the index lose their name: 404 everywhere until a push brings them again."""
        with suppress(StorageError, OSError):  # a disk that takes no write: it is not here all the same
            await self._names.links.lose(digest, is_bad, lambda: self._blobs.quarantine(digest))

    def _is_intact(self, digest: Digest) -> bool:
        try:
            return self._blobs.verify(digest)
        except BlobMissing:
            return False


def describe(manifest: Manifest, *, sparse: bool) -> tuple[ManifestRow, list[Edge]]:
    """What the index keeps of a manifest."""

    def edge(descriptor: Descriptor, kind: EdgeKind) -> Edge:
        required = not (sparse or (kind is EdgeKind.LAYER and is_foreign(descriptor)))
        return Edge(descriptor.digest, descriptor.size, kind, required)

    own = manifest.descriptor
    row = ManifestRow(
        own.digest,
        own.media_type,
        own.size,
        own.artifact_type,
        json.dumps(dict(own.annotations), ensure_ascii=False, separators=(",", ":")),
        manifest.subject.digest if manifest.subject else None,
    )
    config = [edge(manifest.config, EdgeKind.CONFIG)] if manifest.config else []
    layers = [edge(layer, EdgeKind.LAYER) for layer in manifest.blobs]
    return row, [*config, *layers, *(edge(child, EdgeKind.CHILD) for child in manifest.children)]
