"""What else looks at the index finds nothing wrong with what was fetched: fsck, its repairs, retention."""

from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from registry.fsck import read
from registry.retention import affected
from registry.retention_rules import Rule as Retention
from storage.check import check
from storage.database import Connection
from storage.digest import Digest
from storage.rewriting import rewrite
from tests.cache.places import UP, Place, caching, landed, new_name, push
from tests.upstream.proxy import Fault, Rule


@pytest.fixture
async def place(tmp_path: Path, upstream: str) -> AsyncIterator[Place]:
    async with caching(tmp_path, upstream) as place:
        yield place


async def findings(place: Place) -> list[str]:
    return [found.message for found in (await check(place.store, read=read)).findings]


async def optional(place: Place) -> set[int]:
    return await place.store.database.read(
        lambda connection: {each for (each,) in connection.execute("SELECT optional FROM edges").fetchall()}
    )


async def test_a_check_takes_half_an_image_for_whole(place: Place) -> None:
    image = await push(place.origin, new_name())
    client, base = place.client, f"/v2/{UP}/{image.name}"
    assert (await client.get(f"{base}/manifests/v1")).content == image.manifest
    assert await findings(place) == []
    assert (await client.get(f"{base}/blobs/{Digest.of(image.layer)}")).content == image.layer
    assert await findings(place) == []


async def test_a_check_lets_pass_what_no_reader_of_ours_reads(place: Place) -> None:
    place.proxy.rules.append(Rule(Fault(200, {"Content-Type": "application/x"}, b"odd"), "/manifests/"))
    assert (await place.client.get(f"/v2/{UP}/{new_name()}/manifests/v1")).content == b"odd"
    assert await findings(place) == []


async def test_an_index_that_is_mended_needs_nothing_of_it(place: Place) -> None:
    image = await push(place.origin, new_name())
    for rest in ("manifests/v1", f"blobs/{Digest.of(image.layer)}"):
        assert (await place.client.get(f"/v2/{UP}/{image.name}/{rest}")).status_code == 200

    def spoil(connection: Connection) -> None:
        connection.execute("DELETE FROM edges")

    await place.store.database.write(spoil)
    assert "the index holds something else" in (await findings(place))[0]
    with closing(place.store.database.scan()) as connection:
        assert await rewrite(place.store, connection, read) == [str(Digest.of(image.manifest))]
    assert await optional(place) == {1}
    assert await findings(place) == []


async def test_a_blob_that_is_lost_comes_again_with_the_next_pull(place: Place) -> None:
    image = await push(place.origin, new_name())
    layer = f"/v2/{UP}/{image.name}/blobs/{Digest.of(image.layer)}"
    await landed(place, layer)
    Path(place.store.layout.blob(Digest.of(image.layer))).unlink()
    await check(place.store, read=read, repair=True)
    assert any("the next pull fetches it again" in message for message in await findings(place))
    assert (await place.client.get(layer)).content == image.layer
    assert await findings(place) == []


async def test_retention_is_of_what_was_pushed(place: Place) -> None:
    image = await push(place.origin, new_name())
    await place.client.get(f"/v2/{UP}/{image.name}/manifests/v1")
    ours = await push(place.client, new_name())
    assert affected(place.store, (Retention(("*",), keep_last=1),)) == [ours.name]
