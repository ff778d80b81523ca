"""podman pulls zstd:chunked layers in pieces: of a new version it fetches only the files that it lacks."""

import os
from pathlib import Path

import pytest

from tests.e2e import daemons, reading
from tests.e2e.conftest import Require
from tests.e2e.images import tar
from tests.e2e.serving import Server
from tests.e2e.test_podman import Bench, with_store
from tests.missing import absent

pytestmark = pytest.mark.e2e

FILES = 300
SIZE = 20_000  # bytes in each file


@pytest.fixture
def bench(require: Require, server: Server, tmp_path: Path, scratch: Path) -> Bench:
    podman = require("podman")
    if not daemons.overlay_works(tmp_path / "probed"):
        absent("no overlay mounts here (root, Linux), and vfs cannot pull in pieces")
    podman = with_store(podman, scratch / "overlay", "overlay")
    return Bench(podman, server, tmp_path)


def test_a_new_version_is_fetched_in_many_ranges(bench: Bench) -> None:
    contents = {f"{number:04}.bin": os.urandom(SIZE) for number in range(FILES)}
    changed = {name: os.urandom(SIZE) for name in list(contents)[::10]}
    ids = {}
    for tag, files in (("1", contents), ("2", contents | changed)):
        image = f"{bench.server.host}/lazy/pull:{tag}"
        (bench.folder / "files.tar").write_bytes(tar(files))
        (bench.folder / "Containerfile").write_text("FROM scratch\nADD files.tar /\n")
        bench.client("build", "--tag", image, bench.folder)
        ids[tag] = bench.id(image)
        bench.push(image, "--compression-format=zstd:chunked")
    bench.pull_anew(f"{bench.server.host}/lazy/pull:1")
    before = len(bench.server.requests())

    bench.client("pull", "--tls-verify=false", f"{bench.server.host}/lazy/pull:2")

    assert bench.id(f"{bench.server.host}/lazy/pull:2") == ids["2"]
    (layer,) = reading.manifest(bench.server, "lazy/pull", "2")["layers"]
    replies = [one for one in bench.server.requests(before) if layer["digest"] in one["target"]]
    assert {one["status"] for one in replies} == {206}
    assert len(changed) * SIZE <= sum(one["bytes"] for one in replies) < layer["size"] / 4
    # what it put together is what was pushed
    mounted = Path(bench.client("image", "mount", f"{bench.server.host}/lazy/pull:2"))
    assert {path.name: path.read_bytes() for path in mounted.iterdir()} == contents | changed
    bench.client("image", "unmount", f"{bench.server.host}/lazy/pull:2")
