"""The tests that oras for Python brings along, against our fixture."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import oras
import pytest

from oci_registry_testing import Registry

# Those that need another registry or another library, and have nothing to ask ours.
ELSEWHERE = {
    "test_get_many_tags": "asks ghcr.io",
    "test_ssl_no_verify": "asks ghcr.io",
    "test_ssl_verify_fails_if_bad_ca": "asks ghcr.io",
    "test_ssl_verify_fails_fast_if_bad_ca": "asks ghcr.io",
}
# It uploads a file of 1,024 chunks, 16 GiB in all: here they are of 16 KiB.
SMALLER = "import oras.defaults\noras.defaults.default_chunksize = 2**14\n"
USER = ("myuser", "mypass")  # as its conftest has it


@pytest.mark.parametrize(("auth", "count"), [(False, 64), (True, 53)], ids=["open", "login"])
def test_its_tests_pass(tmp_path: Path, auth: bool, count: int) -> None:
    """`count`: as many as oras 0.2.43 had; with a login they speak HTTPS."""
    source = Path(oras.__file__).parent / "tests"
    tests = shutil.copytree(source, tmp_path / "tests", ignore=shutil.ignore_patterns("auth", "__pycache__"))
    (tmp_path / "smaller.py").write_text(SMALLER)
    with Registry(users=dict([USER]) if auth else {}, tls=auth) as registry:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-q", "-p", "smaller", "-p", "no:schemathesis"),
                *("-p", "no:cacheprovider", "--timeout=60", str(tests)),
                *("-k", " and ".join(f"not {name}" for name in ELSEWHERE)),
            ],
            cwd=tmp_path,
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST")},
                "HOME": str(tmp_path),  # where logins would be kept
                "PYTHONPATH": str(tmp_path),
                "ORAS_HOST": "127.0.0.1",
                "ORAS_PORT": str(registry.port),
                "ORAS_AUTH": "true" if auth else "false",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        asked = {(each.method, each.status) for each in registry.requests}
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.search(r"(\d+) passed", done.stdout)
    assert found
    assert int(found[1]) >= count
    assert {("PUT", 201), ("GET", 200)} <= asked
    assert auth or ("PATCH", 202) in asked
