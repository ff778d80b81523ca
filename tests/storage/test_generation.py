"""The number of the index's changes: the same only if nothing changed, over all that have the root open."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.digest import Digest
from storage.errors import StoreFull
from storage.files import Files
from storage.generation import Generation
from tests.storage.conftest import Opener
from tests.storage.probes import failure
from tests.storage.pushing import push_blob


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    yield descriptor
    os.close(descriptor)


def opened(lock: int, *, shared: bool = True) -> Generation:
    return Generation(lock, Files("/nowhere"), shared=shared)


async def test_every_commit_is_seen_by_all_stores_at_once(opener: Opener) -> None:
    stores = [opener(durable=False), opener(durable=False)]
    seen = {stores[0].names.generation.current}
    for number in range(6):
        await push_blob(stores[number % 2], "repo", b"%d" % number)
        numbers = {store.names.generation.current for store in stores}
        assert len(numbers) == 1
        assert None not in numbers
        assert not numbers & seen
        seen |= numbers


async def test_what_only_reads_changes_nothing(opener: Opener) -> None:
    store = opener(durable=False)
    await push_blob(store, "repo", b"x")
    before = store.names.generation.current
    await store.names.links.find("repo", Digest.of(b"x"))
    assert store.names.generation.current == before


def test_nothing_is_told_while_a_change_is_committed(lock: int) -> None:
    mine, other = opened(lock), opened(lock)
    before = mine.current
    with mine.changing():
        assert (mine.current, other.current) == (None, None)
    assert mine.current == other.current != before


def test_nor_after_one_that_did_not_come_to_its_end_until_the_next_one(lock: int) -> None:
    mine, other = opened(lock), opened(lock)
    before = other.current
    with pytest.raises(RuntimeError), mine.changing():
        raise RuntimeError
    assert other.current is None
    with other.changing():
        pass
    assert mine.current == other.current
    assert mine.current not in (None, before)


def test_it_goes_on_where_it_was(lock: int) -> None:
    first = opened(lock)
    with first.changing():
        pass
    assert opened(lock).current == first.current != 0


def test_memory_of_several_machines_tells_nothing(lock: int) -> None:
    assert opened(lock, shared=False).current is None


def test_a_closed_one_tells_nothing(lock: int) -> None:
    generation = opened(lock)
    generation.close()
    generation.close()
    assert generation.current is None


def test_without_room_for_the_number_nothing_is_committed(lock: int, monkeypatch: pytest.MonkeyPatch) -> None:
    generation, committed = opened(lock), False
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", lambda *_: _raise())
        with pytest.raises(StoreFull), generation.changing():
            committed = True
    assert not committed


def test_a_disk_that_was_full_at_the_start_keeps_nobody_from_deleting(
    lock: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without room for eight bytes nobody can have mapped them, so nobody keeps answers."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", lambda *_: _raise())
        generation, committed = opened(lock), False
        assert generation.current is None
        with generation.changing():
            committed = True
        assert committed
        assert generation.current is None
    assert opened(lock).current is not None


def test_what_is_committed_is_no_failure(lock: int, monkeypatch: pytest.MonkeyPatch) -> None:
    generation = opened(lock)
    with monkeypatch.context() as patch, generation.changing():
        patch.setattr(os, "pwrite", lambda *_: _raise())
    assert generation.current is None
    with generation.changing():
        pass
    assert generation.current is not None


def _raise() -> None:
    raise failure(errno.ENOSPC)
