"""Which tags a pattern holds in place, and against what."""

import time

import pytest

from registry.changes import TagMoved
from registry.errors import TagImmutable
from registry.guards.immutable_tags import ImmutableTags
from registry.names import RepositoryName, Tag
from storage.digest import Digest

ONE, TWO = Digest.of(b"one"), Digest.of(b"two")


def moved(name: str, old: Digest | None = ONE, new: Digest | None = TWO) -> TagMoved:
    repository, _, tag = name.partition(":")
    return TagMoved(RepositoryName(repository), Tag(tag), old, new)


def refused(pattern: str, change: TagMoved) -> bool:
    try:
        ImmutableTags(["other/*:none", pattern]).check(change)
    except TagImmutable as fact:
        return repr(pattern) in str(fact)
    return False


@pytest.mark.parametrize(
    ("pattern", "held", "free"),
    [
        ("app:v1", ["app:v1"], ["app:v1.0", "app:v2", "my/app:v1", "app2:v1"]),
        ("*:v*", ["app:v1", "team/app:v", "a/b/c:v1.2.3-rc"], ["app:1v", "v:latest", "app:V1"]),
        ("prod/*:*", ["prod/app:latest", "prod/a/b:x"], ["prod:latest", "my/prod/app:x", "production/a:x"]),
        ("*/app:*-release", ["team/app:1-release", "a/b/app:2-release"], ["app:1-release"]),
        ("a.b:v1.0", ["a.b:v1.0"], ["axb:v1.0", "a.b:v1x0"]),
        ("*:*", ["a:b", "a/b:c"], []),
    ],
)
def test_patterns(pattern: str, held: list[str], free: list[str]) -> None:
    assert [name for name in held if not refused(pattern, moved(name))] == []
    assert [name for name in free if refused(pattern, moved(name))] == []


@pytest.mark.parametrize(
    ("old", "new", "is_refused"),
    [
        (None, ONE, False),
        (ONE, ONE, False),
        (ONE, TWO, True),
        (ONE, None, True),
    ],
)
def test_what_an_immutable_tag_may_do(old: Digest | None, new: Digest | None, is_refused: bool) -> None:
    assert refused("*:v*", moved("app:v1", old, new)) is is_refused


def test_no_pattern_takes_long() -> None:
    """It runs under the write lock."""
    guard = ImmutableTags(["a*" * 40 + "b:" + "*1" * 40 + "x"])
    begun = time.thread_time()  # what others take of the machine does not count
    guard.check(moved("a" * 255 + ":" + "1" * 128))
    assert time.thread_time() - begun < 0.5
