"""A listener that keeps what it hears, a guard that refuses, and content to change things with."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from registry.changes import Change, TagMoved
from registry.errors import Denied
from registry.names import RepositoryName
from registry.registry import Registry
from registry.repository import Repository
from registry.uploads import Chunk, Uploads
from storage.digest import Digest
from storage.sources import Pieces
from storage.store import Store

NAME = RepositoryName("team/app")


@dataclass(slots=True)
class Hears:
    heard: list[Change] = field(default_factory=list)

    def notify(self, change: Change) -> None:
        self.heard.append(change)


@dataclass(slots=True)
class Keeps:
    """Refuses that these tags move."""

    tags: Sequence[str] = ()
    asked: list[TagMoved] = field(default_factory=list)

    def check(self, change: TagMoved) -> None:
        self.asked.append(change)
        if change.tag in self.tags:
            raise Denied(f"tag {change.tag} is kept as it is")


def listened(
    store: Store, *, guards: Sequence[Keeps] = (), sparse: bool = False
) -> tuple[Registry, list[Change]]:
    hears = Hears()
    registry = Registry(
        store.names, store.blobs, store.uploads, guards=guards, listeners=[hears], sparse=sparse
    )
    return registry, hears.heard


def body(*chunks: bytes) -> Pieces:
    return Pieces(_bring(*chunks))


async def _bring(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def push(registry: Registry, data: bytes, name: RepositoryName = NAME) -> Digest:
    await Uploads(registry, name, "").push(Digest.of(data), Chunk(body(data)))
    return Digest.of(data)


async def tagged(repository: Repository) -> list[str]:
    return await repository.tags(after="", limit=100)
