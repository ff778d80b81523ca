"""Our own image: built and run by a real Docker Engine, pushed to and pulled from through it."""

import json
import os
import random
import re
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e import base_image, reading
from tests.e2e.clients import Client
from tests.e2e.conftest import Require
from tests.e2e.images import TAG, make_layout
from tests.e2e.serving import Server

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]  # the first run makes a base image

PROJECT = Path(__file__).parents[2]
CONTEXT = (
    *("Dockerfile", ".dockerignore", "pyproject.toml", "README.md", "LICENSE"),
    *("registry", "storage", "oci_registry_testing"),
)
NAME = "oci-registry:test"
HEALTHY_SECONDS = 30.0
OWN_MEGABYTES = 60  # 16 of them are cryptography (certificates, foreign tokens), 14 aiohttp (upstreams)


@dataclass(frozen=True, slots=True)
class Image:
    name: str
    base: str


@pytest.fixture(scope="module")
def image(docker: Client, require: Require, tmp_path_factory: pytest.TempPathFactory) -> Image:
    """Just built, without a network."""
    require("debootstrap")
    docker = docker.within(DOCKER_BUILDKIT="1")
    default = re.search(r"^ARG BASE=(\S+)", (PROJECT / "Dockerfile").read_text(), re.MULTILINE)
    assert default
    base = base_image.base_image(docker, default[1])
    version = "import sys; print('%d.%d' % sys.version_info[:2])"
    python = docker("run", "--rm", "--network=none", base, "python3", "-c", version)
    context = tmp_path_factory.mktemp("context")
    for name in CONTEXT:
        copy(PROJECT / name, context / name)
    copy(base_image.wheels(PROJECT, python), context / "wheels")

    docker("build", "--network=none", f"--build-arg=BASE={base}", "--tag", NAME, context)

    return Image(NAME, base)


def copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


@dataclass(frozen=True, slots=True)
class Container:
    docker: Client
    id: str
    server: Server

    def inspect(self, field: str) -> str:
        return self.docker("inspect", f"--format={field}", self.id)

    def await_health(self) -> str:
        deadline = time.monotonic() + HEALTHY_SECONDS
        while (health := self.inspect("{{.State.Health.Status}}")) == "starting":
            if time.monotonic() > deadline:
                break
            time.sleep(0.2)
        return health


@pytest.fixture(scope="module")
def container(docker: Client, image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """Running as a careful person would: no capabilities, nothing writable but the volume and /tmp."""
    host, unused = f"127.0.0.1:{free_port()}", tmp_path_factory.mktemp("container")
    hardened = ("--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges")
    started = docker(
        "run", "--detach", "--network=host", f"--env=REGISTRY_HTTP_ADDR={host}",
        "--health-interval=1s", *hardened, image.name,
    )  # fmt: skip
    try:
        yield Container(docker, started, Server(host, unused, unused))
    finally:
        docker("rm", "--force", "--volumes", started)


def free_port() -> int:
    """One that no process is given unasked: it is taken only later, and again after a stop."""
    for port in random.SystemRandom().sample(range(20_000, 30_000), 50):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


def test_it_adds_little_to_its_base(docker: Client, image: Image, capsys: pytest.CaptureFixture[str]) -> None:
    whole, base = (
        int(docker("image", "inspect", "--format={{.Size}}", name)) / 1e6 for name in (image.name, image.base)
    )
    with capsys.disabled():
        print(f"\n{image.name}: {whole:.0f} MB, of which {base:.0f} MB are its base {image.base}")
    assert whole - base < OWN_MEGABYTES


def test_the_container_serves_as_an_ordinary_user(
    container: Container, require: Require, tmp_path: Path
) -> None:
    assert container.await_health() == "healthy", container.docker("logs", container.id)
    assert container.docker("exec", container.id, "python3", "-c", "import os; print(os.getuid())") != "0"

    source = make_layout(tmp_path / "source", platforms=("amd64", "arm64"))
    pushed = f"{container.server.host}/in/container:{TAG}"
    require("crane")("push", source.path, pushed)
    assert reading.image(container.server, "in/container", TAG) == source.blobs


def test_docker_pushes_to_it_and_pulls_from_it(container: Container, tmp_path: Path) -> None:
    assert container.await_health() == "healthy", container.docker("logs", container.id)
    docker, pushed = container.docker, f"{container.server.host}/docker/tiny:1"
    (tmp_path / "payload.bin").write_bytes(os.urandom(5000))
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY payload.bin /\n")
    docker.within(DOCKER_BUILDKIT="1")("build", "--quiet", "--tag", pushed, tmp_path)
    built = docker("image", "inspect", "--format={{.Id}}", pushed)

    docker("push", pushed)
    docker("image", "rm", pushed)
    docker("pull", pushed)

    assert docker("image", "inspect", "--format={{.Id}}", pushed) == built
    docker("image", "rm", pushed)


def test_it_stops_cleanly_and_its_volume_stays(
    container: Container, require: Require, tmp_path: Path
) -> None:
    assert container.await_health() == "healthy", container.docker("logs", container.id)
    source = make_layout(tmp_path / "source")
    require("crane")("push", source.path, f"{container.server.host}/kept:{TAG}")

    container.docker("stop", "--time=20", container.id)
    assert container.inspect("{{.State.ExitCode}}") == "0"
    container.docker("start", container.id)

    assert container.await_health() == "healthy", container.docker("logs", container.id)
    assert reading.image(container.server, "kept", TAG) == source.blobs
    volumes = json.loads(container.inspect("{{json .Mounts}}"))
    assert [volume["Destination"] for volume in volumes] == ["/var/lib/registry"]
