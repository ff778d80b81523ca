"""The Docker Engine: build, push, remove, pull; the classic image store, where an id is a config's digest."""

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e import reading
from tests.e2e.clients import Client
from tests.e2e.serving import Server

pytestmark = pytest.mark.e2e

ENGINES = {"classic builder": "0", "BuildKit": "1"}


@dataclass(frozen=True, slots=True)
class Bench:
    """A docker command, a server, and a folder to build in."""

    docker: Client
    server: Server
    folder: Path

    def build(self, image: str, base: str = "scratch", size: int = 3000) -> str:
        """Builds one layer of new random bytes on the base; the id of the image."""
        (self.folder / "payload.bin").write_bytes(os.urandom(size))
        recipe = f'FROM {base}\nCOPY payload.bin /{os.urandom(4).hex()}.bin\nCMD ["/payload.bin"]\n'
        (self.folder / "Dockerfile").write_text(recipe)
        self.docker("build", "--quiet", "--tag", image, self.folder)
        return self.id(image)

    def name(self, repository: str, tag: str = "1") -> str:
        return f"{self.server.host}/{repository}:{tag}"

    def id(self, image: str) -> str:
        return self.docker("image", "inspect", "--format", "{{.Id}}", image)

    def layers(self, image: str) -> list[str]:
        found: list[str] = json.loads(
            self.docker("image", "inspect", "--format", "{{json .RootFS.Layers}}", image)
        )
        return found

    def remove_all(self) -> None:
        self.docker("image", "prune", "--all", "--force")
        assert not self.docker("image", "ls", "--quiet")


@pytest.fixture
def bench(docker: Client, server: Server, tmp_path: Path) -> Iterator[Bench]:
    table = Bench(docker.within(DOCKER_BUILDKIT="1"), server, tmp_path)
    yield table
    table.remove_all()


@pytest.mark.parametrize("engine", ENGINES)
def test_build_push_remove_pull(engine: str, bench: Bench) -> None:
    docker = bench.docker.within(DOCKER_BUILDKIT=ENGINES[engine])
    bench = Bench(docker, bench.server, bench.folder)
    repository = f"docker/{engine.split()[0].lower()}"
    image = bench.name(repository)
    built = bench.build(image)

    docker("push", image)
    bench.remove_all()
    docker("pull", image)

    assert bench.id(image) == built
    assert reading.config_digest(bench.server, repository, "1") == built
    assert built in reading.image(bench.server, repository, "1")


def test_a_second_tag_is_the_same_manifest_and_stores_nothing(bench: Bench) -> None:
    image, other = bench.name("docker/retag"), bench.name("docker/retag", "stable")
    bench.build(image)
    bench.docker("push", image)
    before = bench.server.stored()

    bench.docker("tag", image, other)
    bench.docker("push", other)

    assert bench.server.stored() == before
    assert reading.tags(bench.server, "docker/retag") == ["1", "stable"]
    first, second = (reading.digest_of(bench.server, "docker/retag", tag) for tag in ("1", "stable"))
    assert first == second


def test_an_image_built_on_ours_sends_only_its_own_layer(bench: Bench) -> None:
    base, image = bench.name("docker/base"), bench.name("docker/child")
    bench.build(base)
    layers = bench.layers(base)
    bench.docker("push", base)
    bench.remove_all()
    before = bench.server.stored()

    bench.build(image, base=base)  # pulls the base from us
    told = bench.docker("push", image)

    assert "Mounted from docker/base" in told
    new = bench.server.stored() - before
    manifest = reading.manifest(bench.server, "docker/child", "1")
    expected = [manifest["config"]["digest"], manifest["layers"][1]["digest"]]
    expected.append(reading.digest_of(bench.server, "docker/child", "1"))
    assert new == {digest.removeprefix("sha256:") for digest in expected}
    assert bench.layers(image)[:1] == layers


def test_a_rebuild_pushed_to_the_same_repository_reuses_the_layers(bench: Bench) -> None:
    first, second = bench.name("docker/again"), bench.name("docker/again", "2")
    bench.build(first)
    bench.docker("push", first)

    bench.build(second, base=first)

    assert "Layer already exists" in bench.docker("push", second)
    layers = [reading.manifest(bench.server, "docker/again", tag)["layers"] for tag in ("1", "2")]
    assert layers[1][:1] == layers[0]


def test_pull_by_digest(bench: Bench) -> None:
    image = bench.name("docker/digest")
    built = bench.build(image)
    bench.docker("push", image)
    digest = reading.digest_of(bench.server, "docker/digest", "1")
    bench.build(image)  # the tag moves on
    bench.docker("push", image)
    bench.remove_all()

    pinned = f"{bench.server.host}/docker/digest@{digest}"
    bench.docker("pull", pinned)

    assert bench.id(pinned) == built


def test_pull_all_tags(bench: Bench) -> None:
    names = {tag: bench.name("docker/all", tag) for tag in ("1", "2", "v10", "latest")}
    built = {tag: bench.build(name) for tag, name in names.items()}
    bench.docker("push", "--all-tags", f"{bench.server.host}/docker/all")
    bench.remove_all()

    bench.docker("pull", "--all-tags", f"{bench.server.host}/docker/all")

    assert {tag: bench.id(name) for tag, name in names.items()} == built


def test_pushes_at_the_same_time(bench: Bench) -> None:
    shared = bench.name("docker/shared")
    bench.build(shared, size=300_000)
    images = {f"docker/many{number}": bench.name(f"docker/many{number}") for number in range(4)}
    built = {repository: bench.build(name, base=shared) for repository, name in images.items()}
    copies = [bench.name("docker/many0", f"copy{number}") for number in range(3)]
    for copy in copies:
        bench.docker("tag", images["docker/many0"], copy)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: bench.docker("push", name), [*images.values(), *copies]))
    bench.remove_all()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: bench.docker("pull", name), images.values()))

    assert {repository: bench.id(name) for repository, name in images.items()} == built
    assert reading.tags(bench.server, "docker/many0") == ["1", "copy0", "copy1", "copy2"]


def test_manifest_inspect_shows_what_is_stored(bench: Bench) -> None:
    image = bench.name("docker/inspect")
    bench.build(image)
    bench.docker("push", image)

    told = json.loads(bench.docker("manifest", "inspect", "--insecure", image))

    assert told == reading.manifest(bench.server, "docker/inspect", "1")


def test_a_manifest_list_of_two_images(bench: Bench) -> None:
    parts = [bench.name("docker/list", tag) for tag in ("amd64", "arm64")]
    built = [bench.build(part) for part in parts]
    for part in parts:
        bench.docker("push", part)
    whole = bench.name("docker/list", "all")

    bench.docker("manifest", "create", "--insecure", whole, *parts)
    bench.docker("manifest", "annotate", whole, parts[1], "--arch", "arm64")
    bench.docker("manifest", "push", "--insecure", whole)
    bench.remove_all()
    bench.docker("pull", whole)  # chooses the one of this machine's kind

    assert bench.id(whole) in built
    listed = reading.manifest(bench.server, "docker/list", "all")
    digests = [reading.digest_of(bench.server, "docker/list", tag) for tag in ("amd64", "arm64")]
    assert [child["digest"] for child in listed["manifests"]] == digests
    assert len(reading.image(bench.server, "docker/list", "all")) == 7
