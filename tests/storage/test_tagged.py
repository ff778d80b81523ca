"""The tags of a repository with their ages, in the store's own time."""

from contextlib import closing

import pytest

from storage.digest import Digest
from storage.errors import RepositoryMissing
from storage.store import Store
from storage.tagged import Tagged, repository_names, tagged
from tests.storage.conftest import Opener
from tests.storage.hands import Hands
from tests.storage.pushing import allow, push_manifest

ONE, TWO = Digest.of(b"one"), Digest.of(b"two")


def look(store: Store, repository: str = "a") -> list[Tagged]:
    with closing(store.database.scan()) as connection:
        return tagged(connection, repository)


async def test_each_tag_has_its_own_move_and_the_pull_of_its_manifest(opener: Opener) -> None:
    hands = Hands()
    store = opener(durable=False, machine=hands.machine)
    begun = store.database.clock.now()
    await push_manifest(store, "a", b"one", tags=["x", "y"])
    await push_manifest(store, "b", b"one", tags=["x"])
    hands.wait(100)
    await push_manifest(store, "a", b"two", tags=["y", "Z"])
    hands.wait(100)
    await store.names.manifests.note_pulls([("a", ONE)])
    assert look(store) == [
        Tagged("Z", TWO, begun + 100, None),
        Tagged("x", ONE, begun, begun + 200),
        Tagged("y", TWO, begun + 100, None),
    ]
    assert look(store, "b") == [Tagged("x", ONE, begun, None)]


async def test_a_repository_without_tags(store: Store) -> None:
    await push_manifest(store, "a", b"one", tags=["x"])
    await store.names.manifests.remove_tag("a", "x", check=allow)
    assert look(store) == []


async def test_repositories(store: Store) -> None:
    for name in ("b", "a/b", "a-b"):
        await push_manifest(store, name, b"one")
    with closing(store.database.scan()) as connection:
        assert repository_names(connection) == ["a-b", "a/b", "b"]
        with pytest.raises(RepositoryMissing):
            tagged(connection, "absent")
