"""The pytest plugin: fixtures, a marker, and the requests in the report of a test that failed.

pytest imports it in every project that has the package, so that it imports nothing more before a test asks.
"""

import sys
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from oci_registry_testing.registry import Registry

MARKER = "oci_registry"
USERS = {"ann": "secret"}

_HELP = (
    f"{MARKER}(profile, faults, isolated, users, tls, **settings): what the registry is made with, "
    "as oci_registry_testing.Registry takes it"
)
_BEGUN = pytest.StashKey[float]()
_OWN = pytest.StashKey["dict[str, Registry]"]()
_MOST = 50  # requests in a report: the last ones tell most


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", _HELP)


@pytest.fixture
def oci_registry(request: pytest.FixtureRequest) -> "Iterator[Registry]":
    """A registry of the test's own: empty, on a free port, open to everyone on this machine."""
    with _noted(request, _marked(request)) as registry:
        yield registry


@pytest.fixture
def oci_registry_auth(request: pytest.FixtureRequest) -> "Iterator[Registry]":
    """The same behind a login, which is in `.login`."""
    with _noted(request, {"users": USERS, **_marked(request)}) as registry:
        yield registry


@pytest.fixture
def oci_registry_tls(request: pytest.FixtureRequest) -> "Iterator[Registry]":
    """The same over HTTPS; `.authority` is what clients have to trust."""
    with _noted(request, {"tls": True, **_marked(request)}) as registry:
        yield registry


@pytest.fixture(scope="session")
def oci_registry_session() -> "Iterator[Registry]":
    """One registry for all tests (of a worker, under xdist)."""
    with _running({}) as registry:
        yield registry


def _marked(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What the marks say, the nearest last: on the module, the class, the test."""
    found: dict[str, Any] = {}
    for mark in reversed(list(request.node.iter_markers(MARKER))):
        if mark.args:
            raise pytest.UsageError(
                f"@pytest.mark.{MARKER} takes names with values only, not {mark.args[0]!r}"
            )
        found |= mark.kwargs
    return found


@contextmanager
def _noted(request: pytest.FixtureRequest, wish: dict[str, Any]) -> "Iterator[Registry]":
    """By its test: pytest itself tells of no fixture's value while the one that asked for it is set up."""
    with _running(wish) as registry:
        request.node.stash.setdefault(_OWN, {})[str(request.fixturename)] = registry
        yield registry


@contextmanager
def _running(wish: dict[str, Any]) -> "Iterator[Registry]":
    from oci_registry_testing.home import find_clash
    from oci_registry_testing.registry import Registry

    with Registry(**{"isolated": bool(find_clash()), **wish}) as registry:
        yield registry


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    item.stash[_BEGUN] = time.time()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and call.when != "teardown":  # then it has gone
        for name, registry in _registries(item):
            report.sections.append((f"{name}: requests", _describe(registry, item.stash.get(_BEGUN, 0.0))))
    return report


def _registries(item: pytest.Item) -> "list[tuple[str, Registry]]":
    module = sys.modules.get("oci_registry_testing.registry")
    if module is None:  # no test has asked for one
        return []
    given = item.stash.get(_OWN, {}) | getattr(item, "funcargs", {})
    return [(name, value) for name, value in given.items() if isinstance(value, module.Registry)]


def _describe(registry: "Registry", since: float) -> str:
    """What was asked since the test began: others may have used the same registry before."""
    try:
        found = [str(request) for request in registry.requests if request.time >= since]
    except Exception as error:  # a report that fails would hide the test's own failure
        return f"not known: {error}"
    shown = found[-_MOST:]
    left_out = [f"({len(found) - len(shown)} before these)"] if len(found) > len(shown) else []
    return "\n".join([*left_out, *shown]) or "none"
