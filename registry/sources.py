"""What a pull is served from: what was pushed here, what an upstream has, or one after the other."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from registry.names import Reference
from registry.pulls import Pull
from storage.contracts import BlobFile
from storage.digest import Digest
from storage.manifest_rows import ManifestRow


@dataclass(frozen=True, slots=True)
class Found:
    """A manifest, and what it counts as.

    `until` is the monotonic time for which the answer is right; None: as long as the index does not change.
    `warning` says that it may not be right now.
    """

    row: ManifestRow
    pull: Pull
    until: float | None = None
    warning: str = ""


Note = Callable[[str, str], None]
"""Is told an upstream's name, and what was done with what is kept of it: hit, miss, stale or negative."""


class Source(Protocol):
    """A repository, read. `lasting`: what it lists changes with the index alone."""

    @property
    def lasting(self) -> bool: ...
    async def blob_size(self, digest: Digest) -> int:
        """Raises BlobMissing."""

    async def known_size(self, digest: Digest) -> int | None:
        """The same, as far as it can be told without a blob that is to be opened anyway."""

    def blob(self, digest: Digest, size: int | None) -> AbstractAsyncContextManager[BlobFile]:
        """The open blob; `size` is what `known_size` told of it. Raises BlobMissing."""

    async def blob_bytes(self, digest: Digest) -> bytes:
        """All of a small blob of which `known_size` told a size. Raises BlobMissing."""

    async def manifest(self, reference: Reference) -> Found:
        """Raises ManifestMissing."""

    async def manifest_bytes(self, row: ManifestRow) -> bytes:
        """Exact bytes, verified. Raises ManifestMissing."""

    async def tags(self, *, after: str, limit: int) -> list[str]:
        """In bytewise order. Raises RepositoryMissing."""

    async def referrers(
        self, subject: Digest, *, artifact_type: str | None, after: tuple[str, bytes], limit: int
    ) -> tuple[list[ManifestRow], bool]:
        """By artifact type, then digest; and whether more follow."""
