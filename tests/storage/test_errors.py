"""Facts: each says what was found and what was expected, and keeps both for whoever renders it."""

import pytest

from storage import errors
from storage.errors import (
    BlobReferenced,
    DigestMismatch,
    InvalidDigest,
    PreconditionFailed,
    ReferencesMissing,
    StorageError,
    UploadMissing,
    WrongLength,
    WrongOffset,
)


@pytest.mark.parametrize(
    ("fact", "said"),
    [
        (WrongOffset("u", expected=5, actual=3), ["begins at byte 3", "goes on at byte 5"]),
        (WrongLength(expected=5, actual=3), ["has 3 bytes, 5 were announced"]),
        (WrongLength(expected=3, actual=5), ["has 5 bytes or more, 3 were announced"]),
        (DigestMismatch(expected="a:1", actual="b:2"), ["have digest b:2", "says a:1"]),
        (PreconditionFailed("tag t", wanted="none", found=None), ["tag t is absent", "allows none"]),
        (PreconditionFailed("tag t", wanted="none", found="a:1"), ["tag t is a:1", "allows none"]),
        (BlobReferenced("a:1", ["b:2", "c:3"]), ["a:1", "b:2, c:3", "delete that first"]),
        (ReferencesMissing([("a:1", "why"), ("b:2", "why not")]), ["a:1: why; b:2: why not"]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_messages(fact: StorageError, said: list[str]) -> None:
    assert [part for part in said if part not in str(fact)] == []


@pytest.mark.parametrize("fact", [InvalidDigest("x" * 10_000, "why"), UploadMissing("x" * 10_000)])
def test_long_input_is_not_repeated_at_length(fact: StorageError) -> None:
    assert len(str(fact)) < 400


def test_every_fact_has_one_base() -> None:
    facts = [value for value in vars(errors).values() if getattr(value, "__module__", "") == errors.__name__]
    assert len(facts) > 15
    assert [fact for fact in facts if not issubclass(fact, StorageError)] == []
