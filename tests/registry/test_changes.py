"""Changes are values: what a listener keeps stays what it was told."""

import dataclasses

import pytest

from registry.changes import BlobAdded, BlobRemoved, Change, ManifestAdded, ManifestRemoved, TagMoved
from registry.names import RepositoryName, Tag
from storage.digest import Digest

NAME, DIGEST = RepositoryName("team/app"), Digest.of(b"x")
CHANGES: list[Change] = [
    BlobAdded(NAME, DIGEST, 1),
    BlobAdded(NAME, DIGEST, 1, mounted=True),
    BlobRemoved(NAME, DIGEST),
    ManifestAdded(NAME, DIGEST, "application/x", 1),
    ManifestRemoved(NAME, DIGEST),
    TagMoved(NAME, Tag("latest"), None, DIGEST),
    TagMoved(NAME, Tag("latest"), DIGEST, None),
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: type(change).__name__)
def test_a_change_is_a_value(change: Change) -> None:
    assert change == dataclasses.replace(change)
    with pytest.raises(dataclasses.FrozenInstanceError):
        change.repository = RepositoryName("other")  # type: ignore[misc]
    assert not hasattr(change, "__dict__")


def test_all_changes_differ() -> None:
    assert len(set(CHANGES)) == len(CHANGES)
    assert {type(change) for change in CHANGES} == set(Change.__args__)
