"""The registry as a whole: its stores, its rules, its repositories."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from registry.changes import Change, Guards, Listeners
from registry.manifests import Manifest, read_manifest
from registry.memory import give_back
from registry.names import Reference
from registry.pulls import Pulls
from registry.recent import Recent
from storage.contracts import Blobs, Names, Uploads
from storage.digest import Digest
from storage.errors import DigestMismatch, UploadMissing
from storage.quotas import Limits

log = logging.getLogger("registry")

LimitsOf = Callable[[str], Limits]

_PARSES = 2  # large manifests read at once: each may take 25 times its size in memory
_LARGE = 64 * 2**10  # bytes of a manifest that are worth a thread


class Registry:
    """Everything that is stored, and the rules that hold for it.

    `limits_of` says how much a repository may hold. `sparse` accepts manifests whose content is absent and
    deletes of content that a manifest names.
    """

    def __init__(
        self,
        names: Names,
        blobs: Blobs,
        uploads: Uploads,
        *,
        guards: Guards = (),
        listeners: Listeners = (),
        limits_of: LimitsOf = lambda _: (),
        sparse: bool = False,
    ) -> None:
        self.names, self.blobs, self.uploads = names, blobs, uploads
        self.guards, self.listeners, self.sparse = guards, listeners, sparse
        self.limits_of = limits_of
        self.recent = Recent()
        self.pulls = Pulls(names.manifests.note_pulls)
        self._parses = asyncio.Semaphore(_PARSES)

    async def catalog(self, *, after: str, limit: int) -> list[str]:
        """Repository names in bytewise order."""
        return await self.names.listings.repositories(after=after, limit=limit)

    async def expire_uploads(self, idle: float) -> int:
        """End the sessions that nobody has touched for `idle` seconds; return how many."""
        sessions = self.names.sessions
        expired = set(await self.uploads.expire(idle, await sessions.idleness()))
        # The file comes before the row: a row that has none is of a session that ended.
        expired.update(await asyncio.to_thread(self._without_file, await sessions.ids()))
        if expired:
            await sessions.end(list(expired))
        await sessions.note_idleness(self.uploads.idleness())
        return len(expired)

    def _without_file(self, uploads: Sequence[str]) -> list[str]:
        found = []
        for upload in uploads:
            try:
                self.uploads.size(upload)
            except UploadMissing:
                found.append(upload)
        return found

    async def parse(self, raw: bytes, content_type: str | None, reference: Reference) -> Manifest:
        """A manifest pushed as `reference`. Raises DigestMismatch, ManifestInvalid, ManifestTooLarge."""
        if len(raw) < _LARGE:
            return _parse(raw, content_type, reference)
        async with self._parses:
            return await asyncio.to_thread(_parse_large, raw, content_type, reference)

    def tell(self, change: Change) -> None:
        """Let every listener know; none can fail the request."""
        for listener in self.listeners:
            try:
                listener.notify(change)
            except Exception:
                log.exception("a listener failed on %s", change)


def _parse_large(raw: bytes, content_type: str | None, reference: Reference) -> Manifest:
    try:
        return _parse(raw, content_type, reference)
    finally:
        give_back()


def _parse(raw: bytes, content_type: str | None, reference: Reference) -> Manifest:
    if not isinstance(reference, Digest):
        return read_manifest(raw, content_type, Digest.of(raw))
    actual = Digest.of(raw, reference.algorithm)
    if actual != reference:
        raise DigestMismatch(expected=reference, actual=actual)
    return read_manifest(raw, content_type, actual)
