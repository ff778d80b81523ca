"""Every tool that reads OCI layouts pushes one and pulls it back: the same blobs, byte for byte."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e import reading
from tests.e2e.conftest import Require
from tests.e2e.images import TAG, make_layout, read_layout
from tests.e2e.serving import Server, serve

pytestmark = pytest.mark.e2e

# tool -> its push and its pull; {image} is HOST/REPOSITORY:TAG, {folder} a layout
COPIES = {
    "skopeo": (
        "copy --all --dest-tls-verify=false oci:{folder}:t docker://{image}",
        "copy --all --src-tls-verify=false docker://{image} oci:{folder}:t",
    ),
    "crane": ("push {folder} {image}", "pull --format=oci {image} {folder}"),
    "oras": (
        "cp --from-oci-layout --to-plain-http {folder}:t {image}",
        "cp --from-plain-http --to-oci-layout {image} {folder}:t",
    ),
    "regctl": (
        "--host reg={host},tls=disabled image copy ocidir://{folder}:t {image}",
        "--host reg={host},tls=disabled image copy {image} ocidir://{folder}:t",
    ),
}
WORKERS = ("1", "4")
SHAPES: dict[str, tuple[str, ...]] = {"image": (), "index": ("amd64", "arm64", "riscv64")}


@pytest.fixture(scope="module", params=WORKERS, ids="{} workers".format)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve(tmp_path_factory.mktemp("server"), "--workers", request.param) as running:
        yield running


def words(template: str, **values: object) -> list[str]:
    return [word.format(**values) for word in template.split()]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("tool", COPIES)
def test_a_layout_comes_back_as_it_was(
    tool: str, shape: str, server: Server, require: Require, tmp_path: Path
) -> None:
    client, (push, pull) = require(tool), COPIES[tool]
    source = make_layout(tmp_path / "source", platforms=SHAPES[shape])
    names = {"host": server.host, "image": f"{server.host}/{tool}/{shape}:{TAG}"}

    client(*words(push, folder=source.path, **names))
    client(*words(pull, folder=tmp_path / "target", **names))

    assert reading.image(server, f"{tool}/{shape}", TAG) == source.blobs
    assert read_layout(tmp_path / "target") == (source.digest, source.blobs)


@pytest.mark.parametrize("tool", COPIES)
def test_the_same_image_pushed_by_many_at_once(
    tool: str, server: Server, require: Require, tmp_path: Path
) -> None:
    client, (push, _) = require(tool), COPIES[tool]
    source = make_layout(tmp_path / "source", layers=4, size=200_000)
    command = words(push, folder=source.path, host=server.host, image=f"{server.host}/{tool}/many:{TAG}")

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: client(*command), range(6)))

    assert reading.image(server, f"{tool}/many", TAG) == source.blobs
    assert reading.tags(server, f"{tool}/many") == [TAG]


def test_different_images_pushed_to_one_tag_at_once(server: Server, require: Require, tmp_path: Path) -> None:
    skopeo, (push, _) = require("skopeo"), COPIES["skopeo"]
    sources = [make_layout(tmp_path / str(number)) for number in range(6)]
    image = f"{server.host}/race/one:{TAG}"

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda source: skopeo(*words(push, folder=source.path, image=image)), sources))

    assert reading.image(server, "race/one", TAG) in [source.blobs for source in sources]
    for source in sources:  # those that lost the tag are still there by digest
        assert reading.image(server, "race/one", source.digest) == source.blobs


def test_a_second_push_stores_nothing_new(server: Server, require: Require, tmp_path: Path) -> None:
    skopeo, (push, _) = require("skopeo"), COPIES["skopeo"]
    source = make_layout(tmp_path / "source")
    skopeo(*words(push, folder=source.path, image=f"{server.host}/dedup/one:{TAG}"))
    before = server.stored()

    skopeo(*words(push, folder=source.path, image=f"{server.host}/dedup/two:other"))

    assert server.stored() == before
    assert reading.image(server, "dedup/two", "other") == source.blobs


def test_a_large_layer_survives(server: Server, require: Require, tmp_path: Path) -> None:
    crane, (push, pull) = require("crane"), COPIES["crane"]
    source = make_layout(tmp_path / "source", layers=1, size=24 << 20)
    image = f"{server.host}/large/layer:{TAG}"

    crane(*words(push, folder=source.path, image=image))
    crane(*words(pull, folder=tmp_path / "target", image=image))

    assert read_layout(tmp_path / "target") == (source.digest, source.blobs)
    assert reading.image(server, "large/layer", TAG) == source.blobs
