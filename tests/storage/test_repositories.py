"""Whole repositories: sums that count shared content once, and removal that leaves the neighbours alone."""

import asyncio
from collections.abc import Iterator
from contextlib import closing

import pytest

from storage.digest import Digest
from storage.errors import RepositoryMissing
from storage.links import LinkRow
from storage.manifest_rows import Edge, EdgeKind, ManifestRow
from storage.repositories import (
    Removed,
    RepositorySummary,
    TagSummary,
    remove_repository,
    summarize,
    summarize_tags,
)
from storage.store import Store, open_store

MEDIA_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG, LAYER, EXTRA = b"{}", b"x" * 1000, b"y" * 500
IMAGE, OTHER, INDEX = b"image-manifest", b"other-manifest!", b"index"


@pytest.fixture
def store(tmp_path: object) -> Iterator[Store]:
    store = open_store(f"{tmp_path}/root", durable=False)
    asyncio.run(fill(store))
    yield store
    store.close()


async def fill(store: Store) -> None:
    """app: two images that share config and layer, and an index of both; app/copy: the first image."""
    for repository, blobs in (("app", (CONFIG, LAYER, EXTRA)), ("app/copy", (CONFIG, LAYER))):
        for data in blobs:
            await store.blobs.put(Digest.of(data), data)
            await store.names.links.claim(repository, Digest.of(data), store.blobs.size)
    config = edge(CONFIG, EdgeKind.CONFIG)
    await put(store, "app", IMAGE, [config, edge(LAYER)], ["a", "b"])
    await put(store, "app", OTHER, [config, edge(LAYER), edge(EXTRA), edge(EXTRA)], ["other"])
    await put(store, "app", INDEX, [edge(IMAGE, EdgeKind.CHILD), edge(OTHER, EdgeKind.CHILD)], ["all"])
    await put(store, "app/copy", IMAGE, [config, edge(LAYER)], ["a"])


def edge(data: bytes, kind: EdgeKind = EdgeKind.LAYER) -> Edge:
    return Edge(Digest.of(data), len(data), kind)


async def put(store: Store, repository: str, raw: bytes, edges: list[Edge], tags: list[str]) -> None:
    digest = Digest.of(raw)
    await store.blobs.put(digest, raw)
    await store.names.manifests.put(
        repository,
        ManifestRow(digest, MEDIA_TYPE, len(raw)),
        edges,
        tags,
        file_size=store.blobs.size,
        check=lambda tag, old, new: None,
        check_manifest=lambda had: None,
    )


SHARED = len(CONFIG + LAYER)


def test_summaries(store: Store) -> None:
    with closing(store.database.scan()) as connection:
        assert summarize(connection) == [
            RepositorySummary("app", 4, 3, SHARED + len(EXTRA + IMAGE + OTHER + INDEX)),
            RepositorySummary("app/copy", 1, 1, SHARED + len(IMAGE)),
        ]


def test_tags_count_what_they_share_once(store: Store) -> None:
    image = SHARED + len(IMAGE)
    with closing(store.database.scan()) as connection:
        assert summarize_tags(connection, "app") == [
            TagSummary("a", Digest.of(IMAGE), MEDIA_TYPE, image),
            TagSummary("all", Digest.of(INDEX), MEDIA_TYPE, image + len(EXTRA + OTHER + INDEX)),
            TagSummary("b", Digest.of(IMAGE), MEDIA_TYPE, image),
            TagSummary("other", Digest.of(OTHER), MEDIA_TYPE, SHARED + len(EXTRA + OTHER)),
        ]


def test_lost_bytes_have_no_size(store: Store) -> None:
    asyncio.run(store.names.links.lose(Digest.of(LAYER), lambda: True))
    with closing(store.database.scan()) as connection:
        assert summarize(connection)[1].size == len(CONFIG + IMAGE)
        assert summarize_tags(connection, "app/copy")[0].size == len(CONFIG + IMAGE)


def test_removal_takes_one_repository_only(store: Store) -> None:
    assert asyncio.run(remove_repository(store.database, "app")) == Removed(tags=4, manifests=3, blobs=3)
    with closing(store.database.scan()) as connection:
        assert [each.name for each in summarize(connection)] == ["app/copy"]
        assert len(summarize_tags(connection, "app/copy")) == 1
        assert connection.execute("SELECT count(*) FROM edges").fetchone() == (2,)
    assert asyncio.run(store.names.links.find("app/copy", Digest.of(LAYER))) == LinkRow(len(LAYER))


def test_a_removed_repository_can_be_pushed_again(store: Store) -> None:
    asyncio.run(remove_repository(store.database, "app"))
    asyncio.run(fill(store))
    with closing(store.database.scan()) as connection:
        assert [each.tags for each in summarize(connection)] == [4, 1]


def test_unknown_repositories(store: Store) -> None:
    with closing(store.database.scan()) as connection, pytest.raises(RepositoryMissing, match="absent"):
        summarize_tags(connection, "absent")
    with pytest.raises(RepositoryMissing, match="absent"):
        asyncio.run(remove_repository(store.database, "absent"))
