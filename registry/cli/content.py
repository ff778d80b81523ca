"""`registry ls` and `registry rm`: what a root holds, listed and removed beside a running server."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from registry.changes import ManifestRemoved, TagMoved
from registry.cli.audit import note, note_change, user
from registry.names import RepositoryName, Tag
from registry.settings import Settings
from storage.digest import Digest
from storage.errors import StoreUnusable
from storage.layout import Layout
from storage.repositories import (
    RepositorySummary,
    TagSummary,
    remove_repository,
    summarize,
    summarize_tags,
)
from storage.rows import FETCHED, is_fetched
from storage.store import Store, open_store


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be removed: a tag, a manifest, or with neither the whole repository."""

    repository: RepositoryName
    reference: Tag | Digest | None


def parse_target(text: str) -> Target:
    """REPO, REPO:TAG or REPO@DIGEST. Raises NameInvalid, TagInvalid, InvalidDigest."""
    name, at, digest = text.partition("@")
    if at:
        return Target(RepositoryName(name), Digest.parse(digest))
    name, colon, tag = text.partition(":")
    return Target(RepositoryName(name), Tag(tag) if colon else None)


def require_root(settings: Settings) -> None:
    """Raises StoreUnusable where there is none: only `serve` makes one."""
    if not os.path.exists(Layout(settings.root).format):
        raise StoreUnusable(
            f"there is no registry in {settings.root}: name its folder with --root DIR or REGISTRY_ROOT"
        )


@contextmanager
def opened(settings: Settings) -> Iterator[Store]:
    """The store of a root that is there already. Raises StoreUnusable."""
    require_root(settings)
    store = open_store(settings.root, allow_network=settings.allow_network_fs)
    try:
        yield store
    finally:
        store.close()


def repositories(settings: Settings, *, cached: bool = False) -> list[RepositorySummary]:
    """Those that were pushed to, or those of upstreams, under the names that these have there."""
    with opened(settings) as store, store.database.scanning() as connection:
        found = [each for each in summarize(connection) if is_fetched(each.name) is cached]
    return [replace(each, name=shown(each.name)) for each in found]


def tags(settings: Settings, repository: RepositoryName, *, cached: bool = False) -> list[TagSummary]:
    """Raises RepositoryMissing."""
    with opened(settings) as store, store.database.scanning() as connection:
        return summarize_tags(connection, kept_as(repository, cached=cached))


def shown(repository: str) -> str:
    """An upstream's repository as images name it: `docker.io/library/alpine`."""
    return repository.removeprefix(FETCHED)


def kept_as(repository: RepositoryName, *, cached: bool) -> str:
    """What the index calls it."""
    return f"{FETCHED}{repository}" if cached else repository


def remove(settings: Settings, target: Target) -> str:
    """Remove it and say what went. Raises RepositoryMissing, ManifestMissing, BlobReferenced."""
    with opened(settings) as store:
        return asyncio.run(_remove(store, settings, target))


async def _remove(store: Store, settings: Settings, target: Target) -> str:
    name = target.repository
    match target.reference:
        case None:
            gone = await remove_repository(store.database, name, who=by("rm"))
            note(settings, "rm", "delete", {"repository": name, "what": "repository"})
            return f"removed {name}: {gone.tags} tags, {gone.manifests} manifests, {gone.blobs} blobs"
        case Tag() as tag:
            digest = await store.names.manifests.remove_tag(name, tag, check=_allow, who=by("rm"))
            note_change(settings, "rm", TagMoved(name, tag, digest, None))
            return f"removed the tag {name}:{tag}; its manifest {digest} stays"
        case Digest() as digest:
            moved = await store.names.manifests.remove(
                name, digest, even_if_referenced=settings.sparse, check=_allow, who=by("rm")
            )
            for tag in map(Tag, moved):
                note_change(settings, "rm", TagMoved(name, tag, digest, None))
            note_change(settings, "rm", ManifestRemoved(name, digest))
            return f"removed {name}@{digest}" + (f" and its tags {', '.join(moved)}" if moved else "")


def by(command: str) -> str:
    """Who moves a tag by a command, for its history."""
    return f"registry {command} by {user()}"


def _allow(tag: str, old: Digest | None, new: Digest | None) -> None:
    """Who may write the root's files may remove what any guard protects from clients."""
