"""A cache of ours before two upstreams, and engines that pull through it."""

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.engines import BuildKit, Crane, Ctr, Docker, DockerBuild, Engine, Oras, Podman, Skopeo
from tests.e2e.serving import Server, serve
from tests.e2e.test_podman import with_store
from tests.e2e.upstreams import Origin

Take = Callable[[pytest.FixtureRequest, Server, Path], Engine]


@dataclass(frozen=True, slots=True)
class Bed:
    cache: Server
    origins: Mapping[str, Origin]


@contextlib.contextmanager
def caching(folder: Path, *origins: Origin, more: str = "") -> Iterator[Bed]:
    """`more` is put before the upstreams' tables. What was kept is sound in the end."""
    folder.mkdir()
    settings = folder / "registry.toml"
    settings.write_text("\n".join([more, *(origin.table for origin in origins)]))
    settings.chmod(0o600)
    with serve(folder, "--config", str(settings)) as server:
        yield Bed(server, {origin.name: origin for origin in origins})
    check = [sys.executable, "-m", "registry", "fsck", "--root", str(server.root)]
    told = subprocess.run(check, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout + told.stderr


def tool(name: str, kind: type[Engine]) -> Take:
    def take(request: pytest.FixtureRequest, cache: Server, folder: Path) -> Engine:
        return kind(request.getfixturevalue("require")(name), cache, folder)

    return take


def stored(name: str) -> Take:
    def take(request: pytest.FixtureRequest, cache: Server, folder: Path) -> Engine:
        store = request.getfixturevalue("scratch") / "containers"
        return Podman(with_store(request.getfixturevalue("require")(name), store, "vfs"), cache, folder)

    return take


def daemon(fixture: str, kind: type[Engine]) -> Take:
    def take(request: pytest.FixtureRequest, cache: Server, folder: Path) -> Engine:
        return kind(request.getfixturevalue(fixture), cache, folder)

    return take


ENGINES: dict[str, tuple[type[Engine], Take]] = {
    "docker": (Docker, daemon("mirrored_docker", Docker)),
    "docker-build": (DockerBuild, daemon("mirrored_docker", DockerBuild)),
    "ctr": (Ctr, daemon("ctr", Ctr)),
    "podman": (Podman, stored("podman")),
    "buildah": (Podman, stored("buildah")),
    "skopeo": (Skopeo, tool("skopeo", Skopeo)),
    "buildkit": (BuildKit, daemon("buildctl", BuildKit)),
    "crane": (Crane, tool("crane", Crane)),
    "oras": (Oras, tool("oras", Oras)),
}
