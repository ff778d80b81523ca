"""The command line, as a user meets it."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from oci_registry_testing.scenarios import SCENARIOS
from oci_registry_testing.scenarios.client import VERBS
from tests.oci_registry_testing.scenarios.test_running import FAKE, fake


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "registry.testing.scenarios", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def pulling(manner: str) -> tuple[str, str]:
    return "--pull", fake(manner).commands["pull"][0]


def test_help_has_examples_and_every_verb() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert "examples:" in done.stdout
    assert all(f"--{verb}" in done.stdout for verb in VERBS)


def test_the_list_runs_nothing() -> None:
    done = run("--list")
    assert [line.split("  ")[0] for line in done.stdout.splitlines()] == [each.name for each in SCENARIOS]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ((), 2, "no client: give --client"),
        (("--client", "nobody"), 2, "there is no client 'nobody'"),
        (("--pull", "x {what}"), 2, r"\{what\}"),
        (("--pull", "no-such-program"), 2, "no-such-program is not here: install it"),
        (("--pull", "/dev/null"), 2, "/dev/null is no program: Permission denied"),
        (("--list", "--jobs", "0"), 2, "expected a whole number from 1 on, not '0'"),
        (("--list", "--timeout", "nan"), 2, "expected a number of seconds above 0, not 'nan'"),
        ((*pulling("honest"), "-k", "nothing such"), 2, "no scenario has 'nothing such'"),
        ((*pulling("honest"), "-k", "other bytes"), 0, "refuses"),
        ((*pulling("careless"), "-k", "other bytes"), 1, "WRONG"),
    ],
)
def test_how_it_ends(arguments: tuple[str, ...], status: int, said: str) -> None:
    done = run(*arguments)
    assert done.returncode == status, done.stderr
    assert re.search(said, done.stdout + done.stderr)
    assert "Traceback" not in done.stderr


def test_it_runs_where_a_package_has_the_name_of_ours(tmp_path: Path) -> None:
    (tmp_path / "registry").mkdir()
    (tmp_path / "registry" / "__init__.py").touch()
    command = [sys.executable, "-m", "oci_registry_testing.scenarios", *pulling("honest"), "-k", "pull: cut"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "survives: goes on by Range" in done.stdout


def test_ctrl_c_ends_it_at_once(tmp_path: Path) -> None:
    pulls = f"{{python}} {FAKE} noted {tmp_path}/begun"
    command = [sys.executable, "-m", "registry.testing.scenarios", "--pull", pulls, "-k", "pull: late"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while not (tmp_path / "begun").exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "stopped, and the clients that ran with it\n")


def test_programs_read_it(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(f"pull = '{pulling('careless')[1]}'\n")
    done = run("--client", str(mine), "-k", "pull: short", "--json")
    assert done.returncode == 1
    (found,) = json.loads(done.stdout)
    assert (found["client"], found["scenario"], found["verdict"]) == ("mine", "pull: short", "WRONG")
    assert found["requests"] == 2  # a manifest, and its layer
    assert done.stderr == ""  # nobody looks: no progress


def test_a_page_takes_it() -> None:
    done = run(*pulling("honest"), "-k", "pull: late", "--markdown")
    assert done.stdout.splitlines()[-1] == "| pull: late | the manifest takes 3 s | survives |"
