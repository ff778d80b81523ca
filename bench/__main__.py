"""`python -m bench`: our server beside the others that this machine has, round by round."""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import process, small, transfers
from bench.accounting import Figures, machine
from bench.kinds import KINDS, PROJECT, Found, find
from bench.payloads import make_payloads
from bench.report import document
from bench.scenario import Material, Scenario
from bench.servers import Failed

SCENARIOS = {each.name: each for each in (*transfers.SCENARIOS, small.SCENARIO, *process.SCENARIOS)}
_STREAMS = 8
_QUIET = 0.3  # a load average above it disturbs


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    if options.read:
        print(document(json.loads(Path(options.read).read_text())))
        return 0
    found = _found(options.servers)
    environment = machine()
    if float(str(environment["load_before"])) > _QUIET:
        _say(f"the machine is not idle (load {environment['load_before']}): times mean little")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    run: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "commit": _commit(),
        "machine": environment,
        "settings": {name: getattr(options, name) for name in ("rounds", "size_mib", "seconds")},
        "servers": {each.kind.name: each.version for each in found.values()},
    }
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.json.parent) as folder:
        run |= _perform(options, found, Path(folder))
    options.json.write_text(json.dumps(run, indent=1))
    print(document(run) if options.markdown else f"\n{document(run)}\n\nAll rounds: {options.json}")
    return 1 if any(failure.startswith("ours") for failure in run["failures"]) else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--json", type=Path, default=PROJECT / "results" / "bench.json", metavar="FILE")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size-mib", type=int, default=1024, help="of the large blob; eight have a quarter")
    parser.add_argument("--seconds", type=int, default=3, help="of each small request in each round")
    parser.add_argument("--only", type=_names, default=list(SCENARIOS), help=", ".join(SCENARIOS))
    parser.add_argument("--servers", type=_names, default=[], help="names or families; default: all found")
    parser.add_argument("--markdown", action="store_true", help="print what docs/performance.md shows, alone")
    parser.add_argument("--read", metavar="FILE", help="measure nothing: print the table of an earlier run")
    options = parser.parse_args(arguments)
    unknown = set(options.only) - set(SCENARIOS)
    unknown |= set(options.servers) - {name for kind in KINDS for name in (kind.name, kind.family)}
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    return options


def _names(text: str) -> list[str]:
    return text.split(",")


def _found(wanted: Sequence[str]) -> dict[str, Found]:
    kinds = [kind for kind in KINDS if not wanted or {kind.name, kind.family} & set(wanted)]
    found = {kind.name: each for kind in kinds if (each := find(kind))}
    absent = [kind.name for kind in kinds if kind.name not in found]
    if absent:
        _say(f"not on this machine: {', '.join(absent)} (`bash tests/tools.sh bench` installs what it can)")
    return found


def _perform(options: argparse.Namespace, found: dict[str, Found], folder: Path) -> dict[str, Any]:
    size = options.size_mib * 2**20
    _say(f"making {options.size_mib} MiB and as much again")
    large = make_payloads(folder, size)[0]
    several = tuple(make_payloads(folder, size // 4, _STREAMS))
    material = Material(large, several, options.seconds)
    rounds: dict[str, dict[str, list[Figures]]] = {}
    bases: dict[str, str] = {}
    failures: list[str] = []
    for name in options.only:
        scenario = SCENARIOS[name]
        servers = [found[server] for server in scenario.servers if server in found]
        for number in range(options.rounds):
            for each in _turned(servers, number):
                _round(scenario, each, folder, material, rounds, failures)
        for row in rounds:
            bases.setdefault(row, scenario.servers[0])
    return {"rounds": rounds, "bases": bases, "failures": failures}


def _turned(servers: Sequence[Found], number: int) -> list[Found]:
    """Each round begins with another server, so that no place in the order is one server's."""
    cut = number % len(servers) if servers else 0
    return [*servers[cut:], *servers[:cut]]


def _round(
    scenario: Scenario,
    found: Found,
    folder: Path,
    material: Material,
    rounds: dict[str, dict[str, list[Figures]]],
    failures: list[str],
) -> None:
    name = found.kind.name
    if any(failure.startswith(f"{name}, {scenario.name}:") for failure in failures):
        return
    place = folder / scenario.name / name.replace(" ", "-")
    try:
        rows = scenario.measure(found, place, material)
    except (Failed, OSError) as error:
        failures.append(f"{name}, {scenario.name}: {error}")
        _say(failures[-1])
        return
    for row, figures in rows.items():
        rounds.setdefault(row, {}).setdefault(name, []).append(dict(figures))
    first = next(iter(rows.values()))
    shown = ", ".join(f"{measure} {value:.3f}" for measure, value in first.items())
    _say(f"{scenario.name}, {name}: {shown}")


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
