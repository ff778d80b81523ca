"""docs/testing.md does what it says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from oci_registry_testing import Registry
from oci_registry_testing.plugin import pytest_configure

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
TESTS = [block for block in BLOCKS if "def test_" in block]
PROGRAMS = [block for block in BLOCKS if "def test_" not in block]


def test_its_tests_pass(tmp_path: Path) -> None:
    for number, block in enumerate(TESTS):
        (tmp_path / f"test_{number}.py").write_text(block)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:schemathesis"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "4 passed" in done.stdout


@pytest.mark.parametrize("number", range(len(PROGRAMS)))
def test_its_programs_run(number: int) -> None:
    exec(compile(PROGRAMS[number], str(PAGE), "exec"), {})


def test_it_has_every_fixture_and_every_verb() -> None:
    text = PAGE.read_text()
    plugin = Path(pytest_configure.__code__.co_filename).read_text()
    fixtures = re.findall(r"^def (oci_registry\w*)", plugin, re.MULTILINE)
    assert re.findall(r"^\| `(oci_registry\w*)` \|", text, re.MULTILINE) == fixtures
    offered = {name for name in vars(Registry) if not name.startswith("_")} - {"start", "stop"}
    assert {name for name in offered if not re.search(rf"\b{name}\b", text)} == set()
    assert len(TESTS) == len(PROGRAMS) == 2


def test_its_first_example_is_ten_lines_at_most() -> None:
    assert len(TESTS[0].strip().splitlines()) <= 10
