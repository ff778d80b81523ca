"""docs/testing.md, as a project that has never heard of us would run it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"
HEAD = """
import urllib.error
import urllib.request

import pytest

from oci_registry_testing import Registry

"""


@pytest.mark.parametrize("own", ["", "registry"])
def test_what_the_page_shows_runs(tmp_path: Path, own: str) -> None:
    """Also where the project's own packages have the names of ours."""
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    if own:
        (tmp_path / own).mkdir()
        (tmp_path / own / "__init__.py").write_text("MINE = 1\n")
        examples = [example for example in examples if "Registry(" not in example]
        examples.append(f"def test_own():\n    import {own}\n    assert {own}.MINE == 1\n")
    (tmp_path / "test_page.py").write_text(HEAD + "\n\n".join(examples))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_page.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(examples)} passed" in done.stdout
