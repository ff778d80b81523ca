"""What the SQLite index adds to the contract of sessions: boots, times, and what a power cut may take."""

import pytest

from storage.digest import Digest
from storage.sessions import SessionRow, Sessions
from storage.store import Store
from tests.storage.conftest import Opener

DIGEST = Digest.of(b"data", "sha512")


@pytest.mark.parametrize(
    ("noted_in", "found_in", "trusted"),
    [("one", "one", True), ("one", "other", False), ("", "", False), ("one", "", False), ("", "one", False)],
)
async def test_a_hash_is_trusted_in_its_own_boot_alone(
    store: Store, noted_in: str, found_in: str, trusted: bool
) -> None:
    before, after = Sessions(store.database, noted_in), Sessions(store.database, found_in)
    await before.begin("u", "a", "ann", "sha512")
    await before.note("u", DIGEST, 4)
    expected = SessionRow("sha512", DIGEST, 4) if trusted else SessionRow("sha512", None, 0)
    assert await after.find("u", "a", "ann") == expected


async def test_a_hash_noted_again_belongs_to_the_later_boot(store: Store) -> None:
    one, other = Sessions(store.database, "one"), Sessions(store.database, "other")
    await one.begin("u", "a", "ann", "sha512")
    await one.note("u", DIGEST, 4)
    await other.note("u", DIGEST, 4)
    assert (await one.find("u", "a", "ann")).hashed is None
    assert (await other.find("u", "a", "ann")).hashed == DIGEST


async def test_bookkeeping_goes_on_in_a_degraded_store(opener: Opener) -> None:
    """It may be lost on a power cut, so it waits for no disk and asks for no soundness."""
    store = opener()
    store.files.latch("a test")
    await store.names.sessions.begin("u", "a", "ann", "sha512")
    await store.names.sessions.note("u", DIGEST, 4)
    assert (await store.names.sessions.find("u", "a", "ann")).hashed == DIGEST
    await store.names.sessions.end(["u"])
    assert await store.names.sessions.ids() == []


async def test_how_long_sessions_were_idle(store: Store) -> None:
    sessions = store.names.sessions
    for upload in "abc":
        await sessions.begin(upload, "r", "", "sha256")
    assert await sessions.idleness() == {}
    await sessions.note_idleness({"a": ("as it is", 100), "b": ("as it is", 50), "gone": ("as it was", 7)})
    await sessions.note_idleness({"a": ("as it is", 60), "b": ("changed", 10)})
    assert await sessions.idleness() == {"a": ("as it is", 100), "b": ("changed", 10)}
