import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.e2e import daemons
from tests.e2e.clients import Client, closed_environment, find
from tests.e2e.serving import Server, serve
from tests.missing import absent

Require = Callable[[str], Client]
Builder = Callable[..., AbstractContextManager[Client]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    """A folder that goes away at the end: image stores are large, and sockets need a short path."""
    with tempfile.TemporaryDirectory(prefix="e2e-") as folder:
        yield Path(folder)
        daemons.unmount_below(Path(folder))


@pytest.fixture(scope="session")
def require(scratch: Path) -> Require:
    environment = closed_environment(scratch / "home")

    def client(tool: str) -> Client:
        program = find(tool)
        if program is None:
            absent(f"{tool} is not installed")
        return Client(program or tool, environment)

    return client


@pytest.fixture(scope="session")
def docker(require: Require, scratch: Path) -> Iterator[Client]:
    """A docker command on a private engine."""
    for tool in ("dockerd", "containerd", "runc"):
        require(tool)
    if os.geteuid() != 0:
        absent("the Docker Engine needs root")
    command = daemons.docker_command()
    if command is None:
        absent("no docker command of dockerd's version is installed")
    client = require(command or "docker")
    with daemons.docker_engine(require("dockerd"), scratch / "docker") as host:
        yield client.within(DOCKER_HOST=host)


@pytest.fixture(scope="session")
def ctr(require: Require, scratch: Path) -> Iterator[Client]:
    """A ctr command on a private containerd."""
    require("runc")
    if os.geteuid() != 0:
        absent("containerd needs root")
    with daemons.containerd(require("containerd"), scratch / "containerd") as address:
        yield require("ctr").within(CONTAINERD_ADDRESS=address, CONTAINERD_SNAPSHOTTER="native")


@pytest.fixture(scope="session")
def builder(require: Require, scratch: Path) -> Builder:
    """A buildctl command on a private BuildKit with settings of its own for registries."""

    @contextlib.contextmanager
    def start(name: str, registries: str = "", **environment: str) -> Iterator[Client]:
        require("runc")
        client = require("buildctl")
        if os.geteuid() != 0:
            absent("BuildKit needs root")
        program = require("buildkitd").within(**environment)
        with daemons.buildkit(program, scratch / name, registries) as address:
            yield client.within(BUILDKIT_HOST=address)

    return start
