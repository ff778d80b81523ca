"""The official suite against two of the profiles; `make profiles` has them all."""

import re
import shutil
import tomllib
from pathlib import Path

import pytest

from registry.testing.profiles import SWITCHES, load, names
from tests.e2e.clients import search_path
from tests.missing import absent
from tests.profile_conformance import FAILURES, Outcome, check, compare, read_outcomes

PAGE = Path(__file__).parents[2] / "docs" / "profiles.md"


@pytest.mark.parametrize("profile", ["1.0", "ghcr"])
def test_a_profile_fails_exactly_where_its_switches_say(profile: str) -> None:
    runner = shutil.which("conformance", path=search_path())
    if runner is None:
        absent("the official conformance runner")
    counts, unexpected = check(profile, runner)
    assert unexpected == [], counts


def test_every_profile_is_written_down() -> None:
    table = tomllib.loads(FAILURES.read_text())
    assert set(table["passes"]) == set(names())
    used = {switch for name in names() for switch in load(name).switches}
    assert used <= set(table["switches"]) <= set(SWITCHES)


def test_the_page_has_the_results() -> None:
    passes = tomllib.loads(FAILURES.read_text())["passes"]
    row = re.compile(r"^\| `([a-z0-9.-]+)` \| (\d+) \| \d+ \| \d+ \| \d+ \|$", re.MULTILINE)
    assert {name: int(count) for name, count in row.findall(PAGE.read_text())} == passes


def test_only_the_last_of_nested_names_count() -> None:
    output = "\n".join(
        [
            "OCI Conformance Test: FAIL",
            "  OCI Conformance Test/ping: Pass",
            "  OCI Conformance Test/a: FAIL",
            "    OCI Conformance Test/a/b: Skip",
            "    OCI Conformance Test/a/c: FAIL",
            "  OCI Conformance Test/d: Disabled",
        ]
    )
    seen = [Outcome("a/b", "Skip"), Outcome("a/c", "FAIL"), Outcome("d", "Disabled")]
    assert list(read_outcomes(output)) == seen


@pytest.mark.parametrize(
    ("pattern", "wrong"),
    [
        (Outcome("a/*", "FAIL"), []),
        (Outcome("a/b", "Skip"), ["a/b ended with FAIL", "nothing ended with Skip"]),
        (Outcome("b", "FAIL"), ["a/b ended with FAIL", "nothing ended with FAIL"]),
    ],
)
def test_what_is_strange_and_what_is_missing_is_said(pattern: Outcome, wrong: list[str]) -> None:
    said = compare([Outcome("a/b", "FAIL")], [pattern])
    assert len(said) == len(wrong)
    assert all(line.startswith(begins) for line, begins in zip(said, wrong, strict=True))
