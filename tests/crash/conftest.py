"""Runs the sweeps beside the tests, two at a time, and prints what they counted."""

import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor

import pytest

from tests.crash import disks, syscalls
from tests.crash.operations import OPERATIONS
from tests.crash.sweep import Report, Submit, Sweep
from tests.missing import absent

COUNTED = pytest.StashKey[dict[str, list[Report]]]()
LINES = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[COUNTED], config.stash[LINES] = {}, []


@pytest.fixture(scope="session")
def submit() -> Iterator[Submit]:
    """Run a sweep in a process that may fork: it has no threads, whatever this one has started.

    In memory if possible: what a killed process has written is there on any file system.
    """
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    context = multiprocessing.get_context("forkserver")
    sweeps = ("failures", "first_start", "losing", "copies", "lives", "power")
    context.set_forkserver_preload([f"tests.crash.{name}" for name in sweeps])
    with tempfile.TemporaryDirectory(prefix="crash-", dir=memory) as folder:
        pool = ProcessPoolExecutor(2, mp_context=context)
        try:
            yield lambda sweep, *arguments: pool.submit(sweep, folder, *arguments)
        finally:
            pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="session")
def report_of(submit: Submit, request: pytest.FixtureRequest) -> Callable[[str, Sweep, str], Report]:
    """The report of a sweep of one operation; the first call begins those of all of them."""
    begun: dict[str, dict[str, Future[Report]]] = {}

    def wait(title: str, sweep: Sweep, operation: str) -> Report:
        if title not in begun:
            begun[title] = {name: submit(sweep, name) for name in OPERATIONS}
        report = begun[title][operation].result()
        request.config.stash[COUNTED].setdefault(title, []).append(report)
        return report

    return wait


@pytest.fixture(scope="session")
def images() -> None:
    """File systems in files can be mounted here, and the power of one be cut."""
    if lacking := disks.lacking():
        absent(lacking)


@pytest.fixture(scope="session")
def strace() -> None:
    if lacking := syscalls.lacking():
        absent(lacking)


@pytest.fixture
def say(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Add a line to the summary."""
    return request.config.stash[LINES].append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    counted = config.stash.get(COUNTED, {})
    lines = [_total(title, reports) for title, reports in counted.items()] + config.stash.get(LINES, [])
    if lines:
        terminalreporter.section("crash suite")
        for line in lines:
            terminalreporter.line(line)


def _total(title: str, reports: list[Report]) -> str:
    cases, calls = sum(each.cases for each in reports), sum(each.calls for each in reports)
    acked, problems = sum(each.acked for each in reports), sum(len(each.problems) for each in reports)
    return (
        f"{title}: {len(reports)} operations, {calls} calls, {cases} cases, {acked} of them acknowledged; "
        f"lost, dangling, half-visible or unrepeatable: {problems}"
    )
