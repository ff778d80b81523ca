"""How long a test waits for a registry of its own, and what the pytest plugin costs who has none.

python -m bench.fixture
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from oci_registry_testing import Registry

TIMES = 10


def measure_start(*, isolated: bool, times: int = TIMES) -> list[float]:
    """Seconds until it answers, after one start that is not counted: it imports the server."""
    found = []
    for _ in range(times + 1):
        registry = Registry(isolated=isolated)
        begun = time.perf_counter()
        registry.start()
        found.append(time.perf_counter() - begun)
        registry.stop()
    return found[-times:]


def measure_use(*, times: int = TIMES) -> list[float]:
    """Seconds of a start, a push, a reset and a stop."""
    found = []
    for _ in range(times):
        begun = time.perf_counter()
        with Registry() as registry:
            registry.push_image("app:v1")
            registry.reset()
        found.append(time.perf_counter() - begun)
    return found


def measure_program(*arguments: str, folder: str, times: int = TIMES) -> list[float]:
    """Seconds of a Python, after one that compiles."""
    found = []
    for _ in range(times + 1):
        begun = time.perf_counter()
        subprocess.run([sys.executable, *arguments], cwd=folder, check=True, capture_output=True)
        found.append(time.perf_counter() - begun)
    return found[-times:]


def measure_plugin(folder: str, *, times: int = TIMES) -> tuple[list[float], list[float]]:
    """A project's pytest with the plugin and without, in turn."""
    Path(folder, "test_nothing.py").write_text("def test_nothing(): pass\n")
    others = ("cacheprovider", "schemathesis", "hypothesispytest")
    pytest = ("-m", "pytest", "-q", *(part for name in others for part in ("-p", f"no:{name}")))
    having, lacking = [], []
    for _ in range(times):
        having += measure_program(*pytest, folder=folder, times=1)
        lacking += measure_program(*pytest, "-p", "no:oci_registry", folder=folder, times=1)
    return having, lacking


def report(what: str, times: list[float]) -> None:
    print(f"{what}: median {statistics.median(times) * 1000:.0f} ms of {len(times)}")


def main() -> None:
    rows: list[tuple[str, Callable[[], list[float]]]] = [
        ("ready, in this process", lambda: measure_start(isolated=False)),
        ("ready, in a process of its own", lambda: measure_start(isolated=True)),
        ("start, push, reset and stop, in this process", measure_use),
    ]
    for what, act in rows:
        report(what, act())
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        served = "import registry.testing.starting"
        report("a Python that imports the server", measure_program("-c", served, folder=folder))
        report("a Python that imports nothing", measure_program("-c", "pass", folder=folder))
        having, lacking = measure_plugin(folder)
        report("pytest of one empty test, with the plugin", having)
        report("the same without it", lacking)


if __name__ == "__main__":
    main()
