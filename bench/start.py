"""Cold start: from `registry serve` to the first 200, on a new root and on one that exists.

python -m bench.start
"""

import os
import statistics
import tempfile
from pathlib import Path

from bench.processes import end, start

TIMES = 5


def measure(folder: Path, *, fresh: bool) -> list[float]:
    """Seconds of each of five starts, after one that is not counted."""
    environment = as_installed(folder / "bytecode")
    found = []
    for number in range(TIMES + 1):
        started = start(folder / (f"root{number}" if fresh else "root"), environment=environment)
        end(started.process)
        found.append(started.seconds)
    return found[-TIMES:]


def as_installed(bytecode: Path) -> dict[str, str]:
    """Modules are compiled once, as an installer does, whatever the environment says about a checkout."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": str(bytecode)}


if __name__ == "__main__":
    for name, new in (("a new root", True), ("a root that exists", False)):
        with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
            times = measure(Path(scratch), fresh=new)
        shown = " ".join(f"{seconds:.3f}" for seconds in times)
        print(f"{name}: median {statistics.median(times):.3f} s of {TIMES} ({shown})")
