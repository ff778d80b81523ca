"""Sums of space: against what a reader counts by hand, and against what goes when it is collected."""

import random
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

import pytest

from storage.collect import collect
from storage.digest import Digest
from storage.errors import RepositoryMissing
from storage.garbage import Rules
from storage.manifest_rows import EdgeKind
from storage.store import Store
from storage.usage import RepositoryUsage, TagUsage, TotalUsage, measure, measure_tags
from tests.storage.conftest import Opener
from tests.storage.hands import Hands
from tests.storage.pushing import allow, edge, push_blob, push_manifest, row

SHARED, OWN, LOOSE = b"s" * 1000, b"o" * 500, b"l" * 70
IMAGE, OTHER, INDEX, SIGNATURE = b"image", b"other image", b"an index", b"a signature"
AT_ONCE = Rules(untagged=lambda _: 0, at_once=True)


def at_once(_: str) -> int | None:
    return 0


def look(store: Store) -> tuple[list[RepositoryUsage], TotalUsage]:
    with closing(store.database.scan()) as connection:
        return measure(connection, at_once, store.database.clock.now())


def look_at_tags(store: Store, repository: str = "a") -> list[TagUsage]:
    with closing(store.database.scan()) as connection:
        return measure_tags(connection, repository, at_once, store.database.clock.now())


async def push_image(
    store: Store,
    repository: str,
    raw: bytes,
    layers: Sequence[bytes],
    *tags: str,
    subject: Digest | None = None,
) -> None:
    for layer in layers:
        await push_blob(store, repository, layer)
    edges = [edge(layer) for layer in layers]
    await push_manifest(store, repository, raw, edges, tags, manifest=row(raw, subject=subject))


# -- by hand ---------------------------------------------------------------------------------------------


async def test_two_repositories_that_share_a_layer(store: Store) -> None:
    await push_image(store, "a", IMAGE, [SHARED, OWN], "x", "y")
    await push_image(store, "a", OTHER, [SHARED], "z")
    await push_blob(store, "a", LOOSE)
    await push_image(store, "b", IMAGE, [SHARED, OWN], "x")
    found, total = look(store)
    image, other = len(SHARED + OWN + IMAGE), len(SHARED + OTHER)
    assert found == [
        RepositoryUsage(
            "a",
            tags=3,
            logical=image + other,
            stored=image + len(OTHER + LOOSE),
            only_here=len(OTHER + LOOSE),
            shared=image,
            reclaimable=len(LOOSE),
        ),
        RepositoryUsage("b", 1, logical=image, stored=image, only_here=0, shared=image, reclaimable=0),
    ]
    assert total == TotalUsage(
        4,
        logical=2 * image + other,
        stored=image + len(OTHER + LOOSE),
        only_here=len(OTHER + LOOSE),
        shared=image,
        unheld=0,
        reclaimable=len(LOOSE),
    )


async def test_an_index_counts_what_its_images_share_once(store: Store) -> None:
    await push_image(store, "a", IMAGE, [SHARED])
    await push_image(store, "a", OTHER, [SHARED, OWN])
    children = [edge(IMAGE, EdgeKind.CHILD), edge(OTHER, EdgeKind.CHILD)]
    await push_manifest(store, "a", INDEX, children, ["all"])
    size = len(SHARED + OWN + IMAGE + OTHER + INDEX)
    assert look(store)[0] == [RepositoryUsage("a", 1, size, size, size, 0, 0)]
    assert look_at_tags(store) == [TagUsage("all", Digest.of(INDEX), size, only=size, shared=0)]


async def test_lost_bytes_take_no_space(store: Store) -> None:
    await push_image(store, "a", IMAGE, [SHARED, OWN], "x")
    await store.names.links.lose(Digest.of(SHARED), lambda: True)
    size = len(OWN + IMAGE)
    assert look(store)[1] == TotalUsage(1, size, size, size, 0, 0, 0)
    assert look_at_tags(store) == [TagUsage("x", Digest.of(IMAGE), size, size, 0)]


async def test_what_no_repository_holds(store: Store) -> None:
    await push_blob(store, "a", OWN)
    await store.database.write(lambda connection: connection.execute("DELETE FROM links"))
    assert look(store)[1] == TotalUsage(0, 0, len(OWN), 0, 0, len(OWN), len(OWN))


TAGS: dict[str, tuple[int, int]] = {
    "alone": (len(OWN + OTHER), len(SHARED)),
    "also": (0, len(SHARED + IMAGE)),
    "elsewhere": (0, len(LOOSE + INDEX)),
    "same": (0, len(SHARED + IMAGE)),
}


async def test_tags(store: Store) -> None:
    """(only, shared): with a second tag, with another image, with another repository."""
    await push_image(store, "a", IMAGE, [SHARED], "same", "also")
    await push_image(store, "a", OTHER, [SHARED, OWN], "alone")
    for repository in ("a", "b"):
        await push_image(store, repository, INDEX, [LOOSE], "elsewhere")
    found = look_at_tags(store)
    assert {each.name: (each.only, each.shared) for each in found} == TAGS
    assert [each.name for each in found] == sorted(TAGS)
    assert all(each.size == each.only + each.shared for each in found)


@pytest.mark.parametrize(
    ("seconds", "kept", "reclaimable"),
    [(0, 100, 0), (100, 100, 0), (101, 100, len(OWN + IMAGE)), (10**9, None, 0), (1, 0, len(OWN + IMAGE))],
)
async def test_what_lost_its_tag_is_needed_for_a_while(
    opener: Opener, seconds: int, kept: int | None, reclaimable: int
) -> None:
    hands = Hands()
    store = opener(durable=False, machine=hands.machine)
    await push_image(store, "a", IMAGE, [OWN], "x")
    await store.names.manifests.remove_tag("a", "x", check=allow)
    hands.wait(seconds)
    with closing(store.database.scan()) as connection:
        found, total = measure(connection, lambda _: kept, store.database.clock.now())
    assert (found[0].reclaimable, total.reclaimable) == (reclaimable, reclaimable)


def test_unknown_repositories(store: Store) -> None:
    with pytest.raises(RepositoryMissing):
        look_at_tags(store, "absent")


# -- against what goes -----------------------------------------------------------------------------------


@dataclass(slots=True)
class Chance:
    """Pushes and deletes by chance into three repositories; `referrers`: what refers to manifests, too."""

    store: Store
    random: random.Random
    referrers: bool
    count: int = 0

    def some(self, prefix: str, most: int) -> list[bytes]:
        numbers = self.random.sample(range(12), self.random.randint(0, most))
        return [f"{prefix} {number}".encode() * (number * 7 + 1) for number in numbers]

    async def step(self) -> None:
        repository = self.random.choice("abc")
        tags = [f"t{self.random.randrange(6)}"] if self.random.random() < 0.7 else []
        match self.random.randrange(8):
            case 0:
                for data in self.some("layer", 2):
                    await push_blob(self.store, repository, data)
            case 1:
                await self._push_index(repository, tags)
            case 2 if self.referrers and (manifests := self._manifests(repository)):
                subject = self.random.choice(manifests)
                await push_image(self.store, repository, self._raw(), self.some("layer", 1), subject=subject)
            case 3 if self.referrers and (manifests := self._manifests(repository)):
                tags = [f"sha256-{self.random.choice(manifests).encoded}.sig"]
                await push_image(self.store, repository, self._raw(), self.some("layer", 1), *tags)
            case 4 if found := await self._tags(repository):
                await self.store.names.manifests.remove_tag(
                    repository, self.random.choice(found), check=allow
                )
            case _:
                await push_image(self.store, repository, self._raw(), self.some("layer", 4), *tags)

    def _raw(self) -> bytes:
        # One in three was pushed before, perhaps to another repository.
        again = self.count and self.random.random() < 0.3
        number = self.random.randrange(self.count) if again else self.count
        self.count = max(self.count, number + 1)
        return f"manifest {number} ".encode() * 3

    async def _push_index(self, repository: str, tags: list[str]) -> None:
        manifests = self._manifests(repository)
        some = self.random.sample(manifests, min(len(manifests), 2))
        rows = [await self.store.names.manifests.find(repository, digest) for digest in some]
        edges = [edge(await self.store.blobs.read(row.digest), EdgeKind.CHILD) for row in rows]
        await push_manifest(self.store, repository, self._raw() + b"index", edges, tags)

    def _manifests(self, repository: str) -> list[Digest]:
        sql = (
            "SELECT manifests.digest FROM manifests JOIN repositories ON id = repository WHERE name = ?"
            " ORDER BY 1"
        )
        with closing(self.store.database.scan()) as connection:
            rows = connection.execute(sql, (repository,)).fetchall()
        return [Digest.from_binary(digest) for (digest,) in rows]

    async def _tags(self, repository: str) -> list[str]:
        if repository not in await self.store.names.listings.repositories(after="", limit=9):
            return []
        return await self.store.names.listings.tags(repository, after="", limit=100)


def on_disk(store: Store) -> int:
    return sum(entry.stat().st_size for _, entry in store.blobs.walk())


@pytest.mark.parametrize("seed", range(4))
async def test_sums_add_up_and_foretell_what_goes(opener: Opener, seed: int) -> None:
    hands = Hands()
    store = opener(durable=False, machine=hands.machine)
    chance = Chance(store, random.Random(seed), referrers=True)
    for _ in range(40):
        await chance.step()
    hands.wait(10)

    found, total = look(store)
    assert total.stored == on_disk(store) == total.only_here + total.shared + total.unheld
    assert total.only_here == sum(each.only_here for each in found)
    assert all(each.stored == each.only_here + each.shared for each in found)
    assert 0 < total.reclaimable < total.stored

    await collect(store, AT_ONCE, walk=False)
    assert on_disk(store) == total.stored - total.reclaimable
    found, total = look(store)
    assert (total.reclaimable, sum(each.reclaimable for each in found)) == (0, 0)


@pytest.mark.parametrize("seed", range(2))
async def test_a_tag_frees_what_is_only_its_own(opener: Opener, seed: int) -> None:
    hands = Hands()
    store = opener(durable=False, machine=hands.machine)
    chance = Chance(store, random.Random(seed), referrers=False)
    for _ in range(60):
        await chance.step()
    hands.wait(10)
    freed = set()
    while found := [(each.name, tag) for each in look(store)[0] for tag in look_at_tags(store, each.name)]:
        await collect(store, AT_ONCE, walk=False)
        name, tag = chance.random.choice(found)
        before = on_disk(store)
        await store.names.manifests.remove_tag(name, tag.name, check=allow)
        hands.wait(10)
        await collect(store, AT_ONCE, walk=False)
        assert before - on_disk(store) == tag.only, (name, tag)
        freed.add(tag.only > 0)
    assert freed == {False, True}
