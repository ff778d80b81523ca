"""What `[[retention]]` entries say, and whom they concern."""

import tomllib

import pytest

from registry.patterns import matches
from registry.retention_rules import RETENTION, Rule, find_rule, untagged_of

DAY = 86_400
TOML = """
[[retention]]
repositories = ["ci/*", "cache/*"]
keep_last = 10
keep_newer = "14d"
keep_pulled = "1w"
keep_tags = ["v*", "latest"]
untagged = "1d"

[[retention]]
repositories = ["*"]
untagged = false
"""


def test_entries_are_read() -> None:
    assert RETENTION.check(tomllib.loads(TOML)["retention"]) == (
        Rule(
            ("ci/*", "cache/*"),
            keep_last=10,
            keep_newer=14 * DAY,
            keep_pulled=7 * DAY,
            keep_tags=("v*", "latest"),
            untagged=DAY,
        ),
        Rule(("*",), untagged="never"),
    )


@pytest.mark.parametrize(
    ("patterns", "name", "fits"),
    [
        (["ci/*"], "ci/app", True),
        (["ci/*"], "ci/team/app", True),
        (["ci/*"], "ci", False),
        (["ci/*"], "my/ci/app", False),
        (["*/ci"], "a/b/ci", True),
        (["*"], "a/b", True),
        (["a.b"], "aab", False),
        (["v*"], "v1.0", True),
        (["v*-rc*"], "v1-rc2", True),
        (["latest"], "Latest", False),
        (["x", "y*"], "yes", True),
        ([], "x", False),
    ],
)
def test_patterns(patterns: list[str], name: str, fits: bool) -> None:
    assert matches(patterns, name) is fits


RULES = (Rule(("ci/keep",), untagged="never"), Rule(("ci/*",), keep_last=1, untagged=0), Rule(("*",)))


def test_the_first_that_matches_counts() -> None:
    assert [find_rule(RULES, name) for name in ("ci/keep", "ci/other", "app")] == list(RULES)
    assert find_rule(RULES[:2], "app") is None


@pytest.mark.parametrize(
    ("name", "default", "kept"),
    [
        ("ci/keep", DAY, None),
        ("ci/other", DAY, 0),
        ("app", DAY, DAY),
        ("app", 0, 0),
        ("app", "never", None),
    ],
)
def test_untagged(name: str, default: int | str, kept: int | None) -> None:
    assert untagged_of(RULES, default)(name) == kept


@pytest.mark.parametrize(
    ("rule", "removes"),
    [
        (Rule(("*",)), False),
        (Rule(("*",), untagged=0), False),
        (Rule(("*",), keep_last=1), True),
        (Rule(("*",), keep_newer=1), True),
        (Rule(("*",), keep_pulled=1), True),
        (Rule(("*",), keep_tags=("v*",)), True),
    ],
)
def test_only_an_entry_that_says_what_it_keeps_removes(rule: Rule, removes: bool) -> None:
    assert rule.removes is removes
