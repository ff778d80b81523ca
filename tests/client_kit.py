"""`python -m tests.client_kit`: seven clients through all scenarios, into docs/clients.md.

Each with an engine and a store of its own. As root, podman and skopeo note in /var/lib/containers/cache where
blobs are; nothing else of the user's is touched.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from oci_registry_testing.scenarios import Client, Outcome, load, report, run_all
from oci_registry_testing.scenarios.__main__ import progress
from oci_registry_testing.scenarios.table import SCENARIOS
from oci_registry_testing.scenarios.verdict import Verdict
from tests.e2e.clients import Client as Program
from tests.e2e.clients import closed_environment, search_path
from tests.e2e.daemons import docker_command, docker_engine, unmount_below

PAGE = Path(__file__).parent.parent / "docs" / "clients.md"
BEGIN, END = "<!-- scenarios: written by make clients -->\n", "<!-- end of scenarios -->\n"
# How each says its version. oras for Python is a package.
CLIENTS: Mapping[str, tuple[str, ...]] = {
    "docker": ("docker", "--version"),
    "podman": ("podman", "--version"),
    "skopeo": ("skopeo", "--version"),
    "crane": ("crane", "version"),
    "oras": ("oras", "version"),
    "regctl": ("regctl", "version"),
    "oras-py": (sys.executable, "-c", "import oras.version; print(oras.version.__version__)"),
}
_STORE = """[storage]
driver = "vfs"
graphroot = "{folder}/podman"
runroot = "{folder}/podman-run"
"""


@contextmanager
def clients(names: Sequence[str]) -> Iterator[list[Client]]:
    with tempfile.TemporaryDirectory(prefix="kit-") as made:
        folder = Path(made)
        (folder / "bin").mkdir()
        (folder / "storage.conf").write_text(_STORE.format(folder=folder))
        variables = closed_environment(folder / "home") | {
            "CONTAINERS_STORAGE_CONF": f"{folder}/storage.conf"
        }
        variables["PATH"] = f"{folder}/bin:{search_path()}"
        os.environ.update(variables)
        try:
            if "docker" not in names:
                yield [load(name) for name in names]
                return
            command = docker_command()
            if command is None:
                raise SystemExit("there is no docker command of dockerd's version: make tools")
            (folder / "bin" / "docker").symlink_to(command)
            with docker_engine(Program("dockerd", variables), folder / "docker") as address:
                host = {"DOCKER_HOST": address}
                found = [load(name) for name in names]
                yield [replace(each, environment={**each.environment, **host}) for each in found]
        finally:
            unmount_below(folder)


def version(name: str) -> str:
    told = subprocess.run(CLIENTS[name], capture_output=True, text=True, check=True).stdout
    found = re.search(r"\d+\.\d+\.\d+", told)
    return f"{name} {found[0]}" if found else name


def page(outcomes: Sequence[Outcome], versions: Sequence[str]) -> str:
    """What stands between the marks."""
    return f"{BEGIN}{report.as_markdown(outcomes)}\n\n{', '.join(versions)}.\n{END}"


def write(text: str, part: str) -> str:
    """The page with that in it."""
    before, _, rest = text.partition(BEGIN)
    return before + part + rest.partition(END)[2]


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.client_kit", description=__doc__)
    parser.add_argument("clients", nargs="*", default=[], metavar="CLIENT", help=", ".join(CLIENTS))
    parser.add_argument("-k", default="", metavar="WORDS", help="only scenarios with this in their names")
    parser.add_argument("--jobs", type=int, default=6)
    parser.add_argument("--json", type=Path, metavar="FILE", help="all outcomes, with what clients said")
    options = parser.parse_args()
    names = options.clients or list(CLIENTS)
    scenarios = [each for each in SCENARIOS if options.k in each.name]
    with clients(names) as found:
        count = len(found) * len(scenarios)
        outcomes = run_all(found, scenarios, jobs=options.jobs, heard=progress(count))
        versions = [version(name) for name in names]
    print(report.as_text(outcomes))
    if options.json:
        options.json.write_text(report.as_json(outcomes))
    if names == list(CLIENTS) and scenarios == list(SCENARIOS):
        PAGE.write_text(write(PAGE.read_text(), page(outcomes, versions)))
    wrong = [
        each
        for each in outcomes
        if each.scenario.plain and each.verdict not in (Verdict.SURVIVES, Verdict.CANNOT)
    ]
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
