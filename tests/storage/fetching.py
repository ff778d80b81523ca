"""Content as a cache of other registries brings it in: whatever a manifest names may be absent."""

import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial

from storage.database import Connection
from storage.digest import Digest
from storage.errors import BlobMissing
from storage.manifest_rows import EdgeKind
from storage.rows import is_fetched
from storage.store import Store
from tests.storage.pushing import edge, push_blob, push_manifest, row


async def fetch_image(
    store: Store,
    repository: str,
    raw: bytes,
    layers: Sequence[bytes] = (),
    tags: Sequence[str] = (),
    *,
    subject: bytes | None = None,
) -> Digest:
    """The manifest comes first, as clients ask for it first."""
    edges = [edge(layer, required=False) for layer in layers]
    manifest = row(raw, subject=Digest.of(subject) if subject else None)
    await insist(lambda: push_manifest(store, repository, raw, edges, tags, manifest=manifest))
    for layer in layers:
        await insist(partial(push_blob, store, repository, layer))
    return Digest.of(raw)


async def insist(push: Callable[[], Awaitable[object]]) -> None:
    """As often as a file is taken away between its install and its claim."""
    while True:
        with suppress(BlobMissing):
            await push()
            return


async def fetch_index(
    store: Store, repository: str, raw: bytes, children: Sequence[bytes], tags: Sequence[str] = ()
) -> Digest:
    edges = [edge(child, EdgeKind.CHILD, required=False) for child in children]
    await push_manifest(store, repository, raw, edges, tags)
    return Digest.of(raw)


async def pull(store: Store, repository: str, *manifests: bytes) -> None:
    await store.names.manifests.note_pulls([(repository, Digest.of(raw)) for raw in manifests])


def here(store: Store, *contents: bytes) -> list[bytes]:
    """Those that have files."""
    return [content for content in contents if store.blobs.size(Digest.of(content)) is not None]


def disk(store: Store) -> int:
    return sum(os.stat(entry.path).st_size for _, entry in store.blobs.walk())


async def held_by_fetched(store: Store) -> int:
    """Bytes that only fetched repositories hold, counted anew."""
    held: dict[bytes, int] = {}
    pushed: set[bytes] = set()

    def query(connection: Connection) -> None:
        for table in ("links", "manifests"):
            sql = (
                f"SELECT repositories.name, blobs.digest, blobs.size FROM {table}"
                f" JOIN blobs ON blobs.id = {table}.blob"
                f" JOIN repositories ON repositories.id = {table}.repository WHERE state = 1"
            )
            for name, digest, size in connection.execute(sql).fetchall():
                if is_fetched(name):
                    held[digest] = size
                else:
                    pushed.add(digest)

    await store.database.read(query)
    return sum(size for digest, size in held.items() if digest not in pushed)
