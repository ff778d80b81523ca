"""The official conformance suite against every profile: `python -m tests.profile_conformance [PROFILE...]`.

A profile fails exactly where its switches say: tests/profile_failures.toml has the names.
"""

import re
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from registry.patterns import matches
from registry.testing.profiles import load, names
from tests import distribution_2_8
from tests.conformance import find_runner, launch, read_counts
from tests.e2e.serving import serve

FAILURES = Path(__file__).with_name("profile_failures.toml")
TABLE = tomllib.loads(FAILURES.read_text())
ENDS = ("FAIL", "Error", "Skip", "Disabled")
PREFIX = "OCI Conformance Test/"

# What a registry claims to be; the others claim 1.1.
VERSIONS = {"dev": "dev", "1.0": "1.0"}

_LINE = re.compile(r"^( *)(OCI Conformance Test.*): (Pass|Skip|FAIL|Error|Disabled)$")


@dataclass(frozen=True, slots=True)
class Outcome:
    name: str
    how: str


def main(wanted: Sequence[str]) -> int:
    runner = find_runner()
    if runner is None:
        return 1
    good = True
    for profile in wanted or names():
        started = time.monotonic()
        counts, unexpected = check(profile, runner)
        said = ", ".join(f"{number} {name.lower()}" for name, number in counts.items())
        verdict = "NOT as its switches say" if unexpected else "as its switches say"
        print(f"{profile}: {said} in {time.monotonic() - started:.1f} s: {verdict}", flush=True)
        for line in unexpected:
            print(f"  {line}", flush=True)
        good = good and not unexpected
        if profile == "distribution-2.8" and distribution_2_8.is_installed():
            different = distribution_2_8.differences()
            print(f"  beside {distribution_2_8.PROGRAM}: {different or 'the same, but for what is known'}")
            good = good and not different
    return 0 if good else 1


def check(profile: str, runner: str) -> tuple[dict[str, int], list[str]]:
    """The totals, and what is not as it should be."""
    version = VERSIONS.get(profile, "1.1")
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        results = Path(folder) / "results"
        results.mkdir()
        with serve(Path(folder), "--profile", profile, "--no-access-log") as server:
            output = launch(runner, server.host, {"OCI_VERSION": version}, results)
        if "Traceback" in (log := server.log.read_text()):
            return {}, [f"the server has failed: {log[-2000:]}"]
    counts = read_counts(output)
    if not counts.get("Total"):
        return counts, [f"the suite did not get as far as its report: {output[-500:]}"]
    wrong = compare(list(read_outcomes(output)), expected(profile, version))
    if counts["Pass"] != TABLE["passes"][profile]:
        wrong.append(f"{counts['Pass']} pass, and not {TABLE['passes'][profile]}")
    return counts, wrong


def read_outcomes(output: str) -> Iterator[Outcome]:
    """Of the tests that did not pass, those alone that have none below them: the others only add them up."""
    rows = [found.groups() for line in output.splitlines() if (found := _LINE.match(line))]
    for place, (indent, name, how) in enumerate(rows):
        is_leaf = place + 1 == len(rows) or len(rows[place + 1][0]) <= len(indent)
        if is_leaf and how != "Pass":
            yield Outcome(name.removeprefix(PREFIX), how)


def expected(profile: str, version: str) -> list[Outcome]:
    """Patterns of names, and how they end."""
    said: Mapping[str, list[str]] = TABLE["versions"][version]
    seen = [name for name in load(profile).switches if name not in said.get("unseen", [])]
    parts = [said, *(TABLE["switches"][name] for name in seen)]
    return [Outcome(name, how) for part in parts for how in ENDS for name in part.get(how, [])]


def compare(seen: Sequence[Outcome], patterns: Sequence[Outcome]) -> list[str]:
    def fits(pattern: Outcome, outcome: Outcome) -> bool:
        return pattern.how == outcome.how and matches([pattern.name], outcome.name)

    strange = [each for each in seen if not any(fits(pattern, each) for pattern in patterns)]
    unmet = [each for each in patterns if not any(fits(each, outcome) for outcome in seen)]
    return [
        *(f"{each.name} ended with {each.how}, which no switch says" for each in strange),
        *(f"nothing ended with {each.how} of {each.name}, as a switch says" for each in unmet),
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
