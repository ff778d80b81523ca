"""How much may be held; what is counted, tests/cache/test_bounds.py sees."""

from collections.abc import Mapping

import pytest

from registry.cache.budgets import Budget, budgets_of
from registry.upstream.settings import UPSTREAMS

TABLES: list[Mapping[str, object]] = [
    {"name": "docker.io", "size": "3kB"},
    {"name": "ghcr.io"},
    {"name": "quay.io", "size": 5},
]


def test_budgets_of_the_settings() -> None:
    upstreams = UPSTREAMS.check(TABLES)
    assert isinstance(upstreams, tuple)
    each = [Budget("@docker.io/", 3000), Budget("@quay.io/", 5)]
    assert budgets_of(upstreams, 0) == each
    assert budgets_of(upstreams, 7) == [*each, Budget("@", 7)]
    assert budgets_of((), 0) == []


@pytest.mark.parametrize(
    ("repository", "covered"),
    [("@ghcr.io/a", True), ("@ghcr.io/a/b", True), ("@ghcr.io.example/a", False), ("ghcr.io/a", False)],
)
def test_what_a_budget_covers(repository: str, covered: bool) -> None:
    assert Budget("@ghcr.io/", 1).covers(repository) is covered


@pytest.mark.parametrize(("held", "left"), [(0, 0), (1000, 1000), (1001, 950), (5000, 950)])
def test_a_little_more_goes_than_is_too_much(held: int, left: int) -> None:
    assert Budget("@", 1000).leave(held) == left
