"""One vocabulary for "may it happen?" (guards) and "it happened" (listeners)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from registry.names import RepositoryName, Tag
from storage.digest import Digest


@dataclass(frozen=True, slots=True)
class BlobAdded:
    repository: RepositoryName
    digest: Digest
    size: int
    mounted: bool = False


@dataclass(frozen=True, slots=True)
class BlobRemoved:
    repository: RepositoryName
    digest: Digest


@dataclass(frozen=True, slots=True)
class ManifestAdded:
    repository: RepositoryName
    digest: Digest
    media_type: str
    size: int


@dataclass(frozen=True, slots=True)
class ManifestRemoved:
    repository: RepositoryName
    digest: Digest


@dataclass(frozen=True, slots=True)
class TagMoved:
    """`old` is None for a new tag; `new` is None for one deleted."""

    repository: RepositoryName
    tag: Tag
    old: Digest | None
    new: Digest | None


Change = BlobAdded | BlobRemoved | ManifestAdded | ManifestRemoved | TagMoved


class Guard(Protocol):
    """Asked inside the transaction that would make the change, so its answer cannot be overtaken.

    It may be asked before as well, so that what it refuses leaves nothing behind: it must have no effect.
    """

    def check(self, change: TagMoved) -> None:
        """Return to allow, raise a fact to refuse. Must not block: it runs under the write lock."""


class Listener(Protocol):
    """Told after the commit; what it raises is logged and fails no request."""

    def notify(self, change: Change) -> None: ...


Guards = Sequence[Guard]
Listeners = Sequence[Listener]
