"""Fixtures of the tests in one process: a store without fsync, the registry over it, a client of its API.

And the mark `fault("F7", soak=25, each=1)`: an example of a fault of docs/reliability.md, which the long tier
repeats `soak` times; each test counts for `each` faults in the summary.
"""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, settings

from registry.registry import Registry
from storage.store import Store
from tests.crash import tiers
from tests.inprocess import connect, opened

# An example takes as long as the others on the same cores let it: 0.2 s, Hypothesis's own, fail it at random.
settings.register_profile(
    "unhurried", settings.default, deadline=timedelta(seconds=5), suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unhurried")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    mark = metafunc.definition.get_closest_marker("fault")
    if mark and tiers.SOAK:
        metafunc.fixturenames.append("turn")
        metafunc.parametrize("turn", range(mark.kwargs["soak"]), indirect=True)


@pytest.fixture
def turn(request: pytest.FixtureRequest) -> int:
    """The number of the repetition."""
    return int(request.param)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if mark := item.get_closest_marker("fault"):
            item.user_properties.append(("fault", (mark.args[0], mark.kwargs.get("each", 1))))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    counts: dict[str, Counter[str]] = {"passed": Counter(), "failed": Counter()}
    for outcome, count in counts.items():
        for report in terminalreporter.stats.get(outcome, []):
            for name, value in report.user_properties:
                if name == "fault":
                    count[value[0]] += value[1]
    for fault in sorted(counts["passed"] | counts["failed"], key=lambda fault: int(fault[1:])):
        passed, failed = (counts[outcome][fault] for outcome in counts)
        terminalreporter.line(f"{fault}: {passed + failed} faults; lost, refused or not recovered: {failed}")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path) as store:
        yield store


@pytest.fixture
def registry(store: Store) -> Registry:
    return Registry(store.names, store.blobs, store.uploads)


@pytest.fixture
async def client(store: Store) -> AsyncIterator[httpx.AsyncClient]:
    async with connect(store) as client:
        yield client
