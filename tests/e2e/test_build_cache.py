"""BuildKit's registry cache, kept here: exported, imported by an empty builder, exported again and again."""

import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.crash.tiers import SOAK
from tests.e2e import reading
from tests.e2e.clients import Client
from tests.e2e.conftest import Builder
from tests.e2e.images import INDEX, MANIFEST
from tests.e2e.serving import Server, serve

pytestmark = pytest.mark.e2e

CONFIG = "application/vnd.buildkit.cacheconfig.v0"
LAYERS = 10
SIZE = 200_000
ROUNDS = 100 if SOAK else 8
GRACE = 1


@dataclass(frozen=True, slots=True)
class Project:
    """Ten files, each copied in a stage of its own, which mode=max exports alone, and then into the image."""

    buildctl: Client
    folder: Path

    def write(self) -> None:
        for number in range(LAYERS):
            self.change(number)
        stages = (f"FROM scratch AS stage{n}\nCOPY {n}.bin /made\n" for n in range(LAYERS))
        copies = (f"COPY --from=stage{n} /made /{n}.bin\n" for n in range(LAYERS))
        (self.folder / "Dockerfile").write_text("".join([*stages, "FROM scratch\n", *copies]))

    def change(self, number: int) -> None:
        (self.folder / f"{number}.bin").write_bytes(os.urandom(SIZE))

    def build(self, *flags: str) -> int:
        """How many of its steps it has not had to take."""
        places = [flag for kind in ("context", "dockerfile") for flag in ("--local", f"{kind}={self.folder}")]
        done = self.buildctl.attempt("build", "--progress=plain", "--frontend=dockerfile.v0", *places, *flags)
        told = (done.stdout + done.stderr).decode(errors="replace")
        assert done.returncode == 0, told
        return len(re.findall(r"^#\d+ CACHED$", told, re.MULTILINE))

    def export(self, ref: str, *options: str) -> None:
        self.build("--export-cache", ",".join(("type=registry", f"ref={ref}", "mode=max", *options)))

    def build_anew(self, ref: str) -> int:
        """With nothing at hand but the cache."""
        self.buildctl("prune", "--all")
        return self.build("--import-cache", f"type=registry,ref={ref}")


@pytest.fixture(scope="module")
def buildctl(builder: Builder) -> Iterator[Client]:
    with builder("buildkit") as client:
        yield client


@pytest.fixture
def project(buildctl: Client, tmp_path: Path) -> Iterator[Project]:
    made = Project(buildctl, tmp_path)
    made.write()
    yield made
    buildctl("prune", "--all")


@pytest.mark.parametrize(
    ("options", "kind"),
    [((), MANIFEST), (("image-manifest=false", "oci-mediatypes=true"), INDEX)],
    ids=["image manifest", "index of layers"],
)
def test_an_empty_builder_takes_every_step_from_the_cache(
    options: tuple[str, ...], kind: str, project: Project, server: Server
) -> None:
    repository = f"cache/{len(options)}"
    ref = f"{server.host}/{repository}:main"

    project.export(ref, *options)

    manifest = reading.manifest(server, repository, "main")
    assert manifest["mediaType"] == kind
    assert CONFIG in media_types(manifest)
    assert project.build_anew(ref) == 2 * LAYERS


def media_types(manifest: Mapping[str, Any]) -> set[str]:
    listed = [manifest["config"]] if "config" in manifest else manifest["manifests"]
    return {descriptor["mediaType"] for descriptor in listed}


@pytest.mark.parametrize("pace", [0.4, 0.0], ids=["one in 0.4 s", "back to back"])
def test_exports_without_end_stay_bounded(pace: float, project: Project, tmp_path: Path) -> None:
    """One file in ten changes each time; what the new manifest shares stays, the rest goes.

    All that was superseded within a grace and a pass is still there, so that the pace counts.
    """
    settings = tmp_path / "registry.toml"
    settings.write_text(f'[[build_cache]]\nrepositories = ["cache/*"]\ngrace = {GRACE}\n')
    (tmp_path / "server").mkdir()
    with serve(tmp_path / "server", "--config", str(settings)) as server:
        ref = f"{server.host}/cache/app:main"
        project.export(ref)
        most = one = held(server)
        last, shared = named_by(server), one
        for _ in range(ROUNDS):
            begun = time.monotonic()
            project.change(LAYERS - 1)
            project.export(ref)
            most = max(most, held(server))
            before, last = last, named_by(server)
            shared = min(shared, sum(before[digest] for digest in before.keys() & last.keys()))
            time.sleep(max(0.0, begun + pace - time.monotonic()))
        print(
            f"{ROUNDS} exports of {one} bytes, {shared / one:.2f} shared: {most / one:.2f} at most,"
            f" {held(server) / one:.2f} in the end"
        )
        assert most <= 2 * one + (0 if pace else shared)
        assert project.build_anew(ref) == 2 * LAYERS
        await_at_most(server, one + one // LAYERS)


def named_by(server: Server) -> dict[str, int]:
    """The sizes of the blobs that the manifest names, by digest."""
    manifest = reading.manifest(server, "cache/app", "main")
    return {each["digest"]: each["size"] for each in (manifest["config"], *manifest["layers"])}


def held(server: Server) -> int:
    """Bytes of all blobs; files go while they are counted."""
    total = 0
    for path in (server.root / "blobs").glob("*/*/*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total


def await_at_most(server: Server, size: int) -> None:
    deadline = time.monotonic() + 10 * GRACE
    while held(server) > size:
        assert time.monotonic() < deadline, f"{held(server)} bytes, expected at most {size}"
        time.sleep(0.1)
