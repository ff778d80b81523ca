"""Runs the official OCI conformance suite against fresh servers: `python -m tests.conformance`.

The runner exits 0 even when it skipped tests, so its counts decide here.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.serving import serve

HERE = Path(__file__).parent
RESULTS = HERE.parent / "results"
RUN_SECONDS = 300
COUNT = re.compile(r"^ {2}(Disabled|Skip|Pass|FAIL|Error|Total)\.*: +(\d+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Run:
    name: str
    flags: tuple[str, ...]
    settings: Mapping[str, str]
    expected: int  # passes; fewer would mean that the runner left tests out


# `dev` switches on everything that came after 1.1 but sparse data, which only a server in sparse mode may
# accept: 986 and 1032 are the runner's own totals for these settings at the pinned version.
RUNS = (
    Run("default", (), {"OCI_VERSION": "dev"}, 986),
    Run("sparse", ("--sparse",), {"OCI_VERSION": "dev", "OCI_DATA_SPARSE": "true"}, 1032),
)


def main() -> int:
    runner = find_runner()
    if runner is None:
        return 1
    verdicts = [perform(run, runner) for run in RUNS]
    return 0 if all(verdicts) else 1


def find_runner() -> str | None:
    """The runner at its pinned version; installed first where that is needed."""
    if subprocess.run(["bash", str(HERE / "tools.sh"), "conformance"], check=False).returncode != 0:
        return None
    found = shutil.which("conformance", path=go_bin())
    if found is None:
        print("conformance: the runner was installed but is not in " + go_bin(), file=sys.stderr)
    return found


def go_bin() -> str:
    asked = ["go", "env", "GOBIN", "GOPATH"]
    own, path = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split("\n")[:2]
    return own or str(Path(path) / "bin")


def perform(run: Run, runner: str) -> bool:
    results = RESULTS / run.name
    results.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        with serve(Path(folder), *run.flags) as server:
            output = launch(runner, server.host, run.settings, results)
        shutil.copy(server.log, results / "serve.log")
    (results / "output.txt").write_text(output)
    counts = read_counts(output)
    good = complete(counts, run.expected)
    print(
        f"conformance, {run.name}: "
        + ", ".join(f"{number} {name.lower()}" for name, number in counts.items())
        + f" (expected {run.expected} pass and nothing else) in {time.monotonic() - started:.1f} s: "
        + ("good" if good else f"NOT GOOD, see {results.relative_to(HERE.parent)}/report.html"),
        flush=True,
    )
    if not good:
        print(output.partition("Configuration:")[0][:20_000] or output[-4_000:], file=sys.stderr)
    return good


def launch(runner: str, host: str, settings: Mapping[str, str], results: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OCI_")}
    environment |= {"OCI_REGISTRY": host, "OCI_TLS": "disabled", "OCI_RESULTS_DIR": str(results)}
    environment.update(settings)
    return subprocess.run(
        [runner],
        env=environment,
        cwd=results,  # the runner reads a settings file from its working folder
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    ).stdout


def read_counts(output: str) -> dict[str, int]:
    """The totals by outcome; empty when the runner did not get as far as its report."""
    report = output.partition("OCI Conformance Result:")[2].partition("API conformance:")[0]
    return {name: int(number) for name, number in COUNT.findall(report)}


def complete(counts: Mapping[str, int], expected: int) -> bool:
    return counts.get("Pass", 0) >= expected and counts.get("Total") == counts["Pass"]


if __name__ == "__main__":
    sys.exit(main())
