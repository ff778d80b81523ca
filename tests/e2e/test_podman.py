"""podman and buildah: build, push, remove, pull, with image stores of their own."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e import reading
from tests.e2e.clients import Client
from tests.e2e.conftest import Require
from tests.e2e.serving import Server

pytestmark = pytest.mark.e2e

BUILD = {"podman": ("build",), "buildah": ("bud", "--isolation=chroot")}


@dataclass(frozen=True, slots=True)
class Bench:
    client: Client
    server: Server
    folder: Path

    def build(self, image: str, *command: str, base: str = "scratch") -> str:
        payload = os.urandom(4).hex() + ".bin"
        (self.folder / payload).write_bytes(os.urandom(5000))
        (self.folder / "Containerfile").write_text(f"FROM {base}\nCOPY {payload} /\n")
        self.client(*command, "--tls-verify=false", "--tag", image, self.folder)
        return self.id(image)

    def id(self, image: str) -> str:
        return "sha256:" + self.client("inspect", "--type=image", f"--format={ID[self.tool]}", image)

    @property
    def tool(self) -> str:
        return Path(self.client.program).name

    def push(self, image: str, *flags: str) -> None:
        self.client("push", "--tls-verify=false", *flags, image)

    def pull_anew(self, image: str) -> None:
        self.client("rmi", "--all", "--force")
        self.client("pull", "--tls-verify=false", image)


ID = {"podman": "{{.Id}}", "buildah": "{{.FromImageID}}"}


@pytest.fixture(params=BUILD)
def bench(
    request: pytest.FixtureRequest, require: Require, server: Server, tmp_path: Path, scratch: Path
) -> Bench:
    return Bench(with_store(require(request.param), scratch / "containers", "vfs"), server, tmp_path)


def with_store(client: Client, folder: Path, driver: str) -> Client:
    folder.mkdir(exist_ok=True)
    settings = folder / "storage.conf"
    settings.write_text(
        f"""[storage]
driver = "{driver}"
graphroot = "{folder}/root"
runroot = "{folder}/run"
[storage.options]
pull_options = {{enable_partial_images = "true", use_hard_links = "false", ostree_repos = ""}}
"""
    )
    return client.within(CONTAINERS_STORAGE_CONF=str(settings))


def test_build_push_remove_pull(bench: Bench) -> None:
    image = f"{bench.server.host}/{bench.tool}/one:1"
    built = bench.build(image, *BUILD[bench.tool])

    bench.push(image)
    bench.pull_anew(image)

    assert bench.id(image) == built == reading.config_digest(bench.server, f"{bench.tool}/one", "1")
    assert built in reading.image(bench.server, f"{bench.tool}/one", "1")


def test_an_image_built_on_ours_keeps_its_layers(bench: Bench) -> None:
    base, child = (f"{bench.server.host}/{bench.tool}/{name}:1" for name in ("base", "child"))
    bench.build(base, *BUILD[bench.tool])
    bench.push(base)
    bench.pull_anew(base)

    bench.build(child, *BUILD[bench.tool], base=base)
    bench.push(child)

    layers = [
        reading.manifest(bench.server, f"{bench.tool}/{name}", "1")["layers"] for name in ("base", "child")
    ]
    assert layers[1][:1] == layers[0]
    assert len(layers[1]) == 2


# Docker's manifests have no media type for zstd.
@pytest.mark.parametrize(
    ("media_type", "compression"),
    [("oci", "gzip"), ("v2s2", "gzip"), ("oci", "zstd"), ("oci", "zstd:chunked")],
)
def test_formats_and_compressions(
    media_type: str, compression: str, require: Require, server: Server, tmp_path: Path, scratch: Path
) -> None:
    bench = Bench(with_store(require("podman"), scratch / "containers", "vfs"), server, tmp_path)
    repository = f"podman/{media_type}-{compression.replace(':', '-')}"
    image = f"{server.host}/{repository}:1"
    built = bench.build(image, *BUILD["podman"])

    bench.push(image, f"--format={media_type}", f"--compression-format={compression}")
    bench.pull_anew(image)

    (layer,) = reading.manifest(server, repository, "1")["layers"]
    kind = "gzip" if compression == "gzip" else "zstd"
    assert layer["mediaType"].endswith(kind)
    assert bench.id(image) == built


def test_search_finds_a_repository(require: Require, server: Server, tmp_path: Path, scratch: Path) -> None:
    bench = Bench(with_store(require("podman"), scratch / "containers", "vfs"), server, tmp_path)
    for repository in ("podman/findme", "podman/other"):
        bench.build(f"{server.host}/{repository}:1", *BUILD["podman"])
        bench.push(f"{server.host}/{repository}:1")

    found = bench.client(
        "search", "--tls-verify=false", "--format={{.Name}}", f"{server.host}/findme"
    ).splitlines()
    tags = bench.client(
        "search", "--tls-verify=false", "--list-tags", f"{server.host}/podman/findme"
    ).splitlines()

    assert found == [f"{server.host}/podman/findme"]
    assert [line.split() for line in tags[1:]] == [[f"{server.host}/podman/findme", "1"]]
