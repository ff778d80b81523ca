"""How old what is kept may be: tables, and what one worker remembers, by a clock that stands still."""

import pytest

from registry.cache.freshness import Age, Missing, Patience, judge
from registry.upstream.settings import Upstream
from tests.auth.hands import Hand


@pytest.mark.parametrize(
    ("age", "ttl", "stale", "expected"),
    [
        (0, 60, 60, Age.FRESH),
        (59, 60, 60, Age.FRESH),
        (60, 60, 60, Age.STALE),
        (119, 60, 60, Age.STALE),
        (120, 60, 60, Age.OLD),
        (None, 60, 60, Age.OLD),
        (-1, 60, 60, Age.OLD),
        (0, 0, 60, Age.STALE),
        (0, 0, 0, Age.OLD),
        (60, 60, 0, Age.OLD),
    ],
)
def test_what_is_done_with_a_tag_of_an_age(age: int | None, ttl: int, stale: int, expected: Age) -> None:
    assert judge(age, Upstream("up.example", "https://up.example", ttl=ttl, stale=stale)) is expected


def test_what_is_missing_is_so_for_a_while() -> None:
    clock = Hand()
    missing = Missing(clock)
    missing.add("@up.example/a", "v1", 30)
    assert missing.has("@up.example/a", "v1")
    assert not missing.has("@up.example/a", "v2")
    assert not missing.has("@up.example/b", "v1")
    clock.now += 29
    assert missing.has("@up.example/a", "v1")
    clock.now += 1
    assert not missing.has("@up.example/a", "v1")


def test_what_came_is_not_missing_any_more() -> None:
    missing = Missing(Hand())
    missing.add("@up.example/a", "v1", 30)
    missing.drop("@up.example/a", "v1")
    missing.drop("@up.example/a", "never asked for")
    assert not missing.has("@up.example/a", "v1")


def test_no_client_fills_the_memory_with_what_is_missing() -> None:
    missing = Missing(Hand(), most=2)
    for tag in ("v1", "v2", "v1", "v3"):
        missing.add("@up.example/a", tag, 30)
    assert [missing.has("@up.example/a", tag) for tag in ("v1", "v2", "v3")] == [True, False, True]


def test_patience_is_lost_with_one_upstream_and_comes_back() -> None:
    clock = Hand()
    patience = Patience(clock)
    patience.lose("a.example")
    assert (patience.is_lost("a.example"), patience.is_lost("b.example")) == (True, False)
    clock.now += 10
    assert not patience.is_lost("a.example")
    patience.lose("a.example")
    patience.regain("a.example")
    patience.regain("a.example")
    assert not patience.is_lost("a.example")
