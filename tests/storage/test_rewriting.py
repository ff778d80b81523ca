"""Manifests of which the index says something else than their bytes."""

import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace

import pytest

from storage.check import check
from storage.database import Connection
from storage.digest import Digest
from storage.manifest_rows import Edge, EdgeKind, ManifestRow
from storage.rewriting import rewrite
from storage.store import Store
from tests.crash.evidence import look
from tests.storage.pushing import edge, push_blob, push_manifest

CONFIG, LAYER, IMAGE, OTHER = b"{}", b"layer bytes", b"image", b"other image"
CONTENT: dict[bytes, list[Edge]] = {
    IMAGE: [edge(CONFIG, EdgeKind.CONFIG), edge(LAYER), edge(b"foreign", required=False)],
    OTHER: [edge(CONFIG, EdgeKind.CONFIG)],
}
ID = f"(SELECT id FROM blobs WHERE digest = x'{Digest.of(IMAGE).binary.hex()}')"
LAYER_ID = f"(SELECT id FROM blobs WHERE digest = x'{Digest.of(LAYER).binary.hex()}')"
OTHER_ID = f"(SELECT id FROM blobs WHERE digest = x'{Digest.of(OTHER).binary.hex()}')"


def read(raw: bytes, manifest: ManifestRow) -> tuple[ManifestRow, Sequence[Edge]]:
    if raw not in CONTENT:
        raise ValueError("no manifest at all")
    return replace(manifest, size=len(raw), annotations="{}", artifact_type="", subject=None), CONTENT[raw]


@pytest.fixture
async def filled(store: Store) -> Store:
    for data in (CONFIG, LAYER):
        await push_blob(store, "a", data)
    for raw, edges in CONTENT.items():
        await push_manifest(store, "a", raw, edges, ["t" + str(len(raw))])
    return store


async def run(store: Store) -> list[str]:
    with closing(store.database.scan()) as connection:
        return await rewrite(store, connection, read)


async def sql(store: Store, statement: str) -> None:
    def change(connection: Connection) -> None:
        connection.execute(statement)

    await store.database.write(change)


async def test_what_agrees_is_left(filled: Store) -> None:
    generation = filled.database.generation.current
    assert await run(filled) == []
    assert filled.database.generation.current == generation


LIES = {
    "an edge too few": f"DELETE FROM edges WHERE parent = {ID} AND child = {LAYER_ID}",
    "all edges": f"DELETE FROM edges WHERE parent = {ID}",
    "an edge too many": f"INSERT INTO edges SELECT repository, {ID}, {OTHER_ID}, 3, 0 FROM manifests LIMIT 1",
    "another kind": f"UPDATE edges SET kind = 1 WHERE parent = {ID} AND child = {LAYER_ID}",
    "annotations": f"UPDATE manifests SET annotations = '[]' WHERE blob = {ID}",
    "a size": f"UPDATE manifests SET size = 1 WHERE blob = {ID}",
    "a subject": f"UPDATE manifests SET subject = digest WHERE blob = {ID}",
    "an artifact type": f"UPDATE manifests SET artifact_type = 'a/b' WHERE blob = {ID}",
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
async def test_what_disagrees_is_written_anew(
    filled: Store, lie: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.rows._STEP", 1)
    before = look(filled.layout.root).names
    await sql(filled, lie)
    assert look(filled.layout.root).names != before
    assert await run(filled) == [str(Digest.of(IMAGE))]
    assert look(filled.layout.root).names == before
    assert (await check(filled, read=read)).sound
    assert await run(filled) == []


async def test_what_the_repository_lacks_becomes_optional_and_not_linked(filled: Store) -> None:
    """Bytes that others have pushed do not become its own by a manifest that names them."""
    await push_blob(filled, "b", LAYER)
    await sql(filled, f"DELETE FROM links WHERE blob = {LAYER_ID} AND repository = 1")
    await sql(filled, f"DELETE FROM edges WHERE parent = {ID}")
    links = look(filled.layout.root).names.links
    assert await run(filled) == [str(Digest.of(IMAGE))]
    assert look(filled.layout.root).names.links == links
    assert (await check(filled, read=read)).sound


async def test_what_cannot_be_read_is_left_to_fsck(filled: Store) -> None:
    await sql(filled, "DELETE FROM edges")
    os.unlink(filled.layout.blob(Digest.of(IMAGE)))
    path = filled.layout.blob(Digest.of(OTHER))
    os.chmod(path, 0o600)
    with open(path, "wb") as file:
        file.write(b"OTHER IMAGE")
    assert await run(filled) == []


async def test_a_manifest_that_is_deleted_meanwhile_stays_deleted(filled: Store) -> None:
    await sql(filled, f"DELETE FROM edges WHERE parent = {ID}")
    real = filled.database.write

    async def delete_first(*arguments: object) -> object:
        await real(lambda connection: connection.execute(f"DELETE FROM tags WHERE manifest = {ID}"))
        await real(lambda connection: connection.execute(f"DELETE FROM manifests WHERE blob = {ID}"))
        return await real(*arguments)  # type: ignore[arg-type]

    filled.database.write = delete_first  # type: ignore[method-assign, assignment]
    await run(filled)
    assert not [row for row in look(filled.layout.root).names.edges if row[1] == str(Digest.of(IMAGE))]
