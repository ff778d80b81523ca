"""The plugin in other projects' pytest: what it offers, what it leaves, what it costs those who don't ask."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
EXAMPLES = PROJECT / "examples"

# Each test adds a line: its worker's pid, and what that had open, in threads and in descriptors.
MANY = """
import os, threading, urllib.request
import pytest

@pytest.mark.parametrize("number", range(200))
def test_one_of_many(oci_registry, number):
    assert oci_registry.manifests() == []
    oci_registry.push_image("app:v1", {"number": str(number)})
    with urllib.request.urlopen(f"{oci_registry.url}/v2/app/manifests/v1") as answer:
        assert answer.status == 200
    assert len(oci_registry.requests) == 1

@pytest.fixture(autouse=True)
def noted():  # set up first, and so torn down when the registry has gone
    yield
    with open(os.environ["NOTES"], "a") as notes:
        open_here = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
        notes.write(f"{os.getpid()} {threading.active_count()} {open_here}\\n")
"""
FAILING = """
import urllib.request

def test_before(oci_registry_session):
    urllib.request.urlopen(f"{oci_registry_session.url}/v2/").close()

def test_failing(oci_registry, oci_registry_session):
    urllib.request.urlopen(f"{oci_registry.url}/v2/?number=1").close()
    for number in range(60):
        urllib.request.urlopen(f"{oci_registry.url}/v2/_catalog?n={number + 1}").close()
    assert not oci_registry.requests

def test_fine(oci_registry):
    urllib.request.urlopen(f"{oci_registry.url}/v2/").close()
"""
MISMARKED = """
import pytest

@pytest.mark.oci_registry("ghcr")
def test_wrong_mark(oci_registry): ...

@pytest.mark.oci_registry(profile="gchr")
def test_wrong_profile(oci_registry): ...
"""
UNREADY = """
import urllib.request
import pytest

@pytest.fixture
def image(oci_registry):
    urllib.request.urlopen(f"{oci_registry.url}/v2/?in=setup").close()
    raise RuntimeError("no image")

def test_of_an_image(image): ...

def test_asking_late(request):
    registry = request.getfixturevalue("oci_registry")
    urllib.request.urlopen(f"{registry.url}/v2/?in=test").close()
    assert not registry.requests
"""
NOTHING = "def test_nothing(): pass\n"


def run(
    folder: Path, *arguments: str, temporary: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """pytest in a project of others; with the plugin that any project has installed, and no other."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV"))}
    place = {"TMPDIR": str(temporary)} if temporary else {}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:schemathesis", *arguments],
        cwd=folder,
        env={**kept, **place, **environment, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pytest.ini").write_text("[pytest]\n")
    return folder


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


@pytest.mark.parametrize(("example", "count"), [("deployer", 7), ("clashing", 2)])
def test_the_examples_pass(tmp_path: Path, temporary: Path, example: str, count: int) -> None:
    """Somewhere else: beside our own packages they would find those."""
    folder = shutil.copytree(EXAMPLES / example, tmp_path / example)
    done = run(folder, "-q", temporary=temporary)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{count} passed" in done.stdout
    assert [name for name in os.listdir(temporary) if name.startswith("registry-")] == []


def test_two_hundred_in_many_processes_neither_clash_nor_leak(
    project: Path, temporary: Path, tmp_path: Path
) -> None:
    (project / "test_many.py").write_text(MANY)
    notes = tmp_path / "notes"
    done = run(project, "-q", "-n", "3", temporary=temporary, NOTES=str(notes))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "200 passed" in done.stdout
    workers: dict[str, list[tuple[str, ...]]] = {}
    for line in notes.read_text().splitlines():
        pid, *counts = line.split()
        workers.setdefault(pid, []).append(tuple(counts))
    assert len(workers) == 3
    # The first test of each worker imports what stays.
    assert {pid: len(set(counts[1:])) for pid, counts in workers.items()} == dict.fromkeys(workers, 1)
    assert [name for name in os.listdir(temporary) if name.startswith("registry-")] == []


def test_a_failed_test_shows_its_requests_and_no_other(project: Path) -> None:
    (project / "test_failing.py").write_text(FAILING)
    done = run(project)
    assert "1 failed, 2 passed" in done.stdout
    found = re.findall(r"-+ (oci_registry\w*): requests -+\n(.*?)(?=\n[-=]{8})", done.stdout, re.DOTALL)
    sections = dict(found)
    assert len(found) == len(sections) == 2
    head, *shown = sections["oci_registry"].splitlines()
    assert head == "(11 before these)"
    assert len(shown) == 50
    assert shown[-1].startswith("GET /v2/_catalog?n=60 → 200, ")
    assert sections["oci_registry_session"] == "none"


def test_a_fixture_that_fails_shows_its_requests_too(project: Path) -> None:
    (project / "test_unready.py").write_text(UNREADY)
    done = run(project)
    assert "1 failed, 1 error" in done.stdout
    found = re.findall(r"-+ oci_registry: requests -+\n(.*?), ", done.stdout)
    assert found == ["GET /v2/?in=setup → 200", "GET /v2/?in=test → 200"]


def test_a_wrong_mark_says_what_is_wrong(project: Path) -> None:
    (project / "test_marks.py").write_text(MISMARKED)
    done = run(project, "--strict-markers")
    assert "2 errors" in done.stdout
    assert "takes names with values only, not 'ghcr'" in done.stdout
    assert "did you mean ghcr?" in done.stdout
    assert (
        "oci_registry(profile, faults, isolated, users, tls, **settings)" in run(project, "--markers").stdout
    )


def test_who_does_not_ask_pays_for_one_small_module(project: Path) -> None:
    (project / "test_nothing.py").write_text(NOTHING)
    (project / "conftest.py").write_text(
        "import sys\n\ndef pytest_unconfigure():\n"
        "    print('LOADED', *sorted(name for name in sys.modules if name.split('.')[0] in"
        " ('oci_registry_testing', 'registry', 'storage', 'uvicorn', 'starlette', 'asyncio', 'http')))\n"
    )
    done = run(project, "-p", "no:anyio", "-p", "no:xdist", "-p", "no:hypothesispytest")
    assert "1 passed" in done.stdout
    loaded = re.search(r"^LOADED (.*)$", done.stdout, re.MULTILINE)
    assert loaded
    ours = [name for name in loaded[1].split() if not name.startswith(("asyncio", "http"))]
    assert ours == ["oci_registry_testing", "oci_registry_testing.plugin"]
