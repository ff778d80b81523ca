"""skopeo: copies in its formats and compressions, and its looks at a repository."""

import gzip
import json
from pathlib import Path

import pytest

from tests.e2e import reading
from tests.e2e.clients import Client
from tests.e2e.conftest import Require
from tests.e2e.images import TAG, Layout, make_layout, read_layout, sha256
from tests.e2e.serving import Server

pytestmark = pytest.mark.e2e

TO = "--dest-tls-verify=false"
FROM = "--src-tls-verify=false"


@pytest.fixture
def skopeo(require: Require) -> Client:
    return require("skopeo")


@pytest.fixture
def source(tmp_path: Path) -> Layout:
    return make_layout(tmp_path / "source")


def test_a_folder_of_files(skopeo: Client, server: Server, source: Layout, tmp_path: Path) -> None:
    image = f"docker://{server.host}/skopeo/dir:1"
    skopeo("copy", f"oci:{source.path}:{TAG}", f"dir:{tmp_path / 'there'}")

    skopeo("copy", TO, f"dir:{tmp_path / 'there'}", image)
    skopeo("copy", FROM, image, f"dir:{tmp_path / 'back'}")

    assert files(tmp_path / "back") == files(tmp_path / "there")
    assert reading.image(server, "skopeo/dir", "1") == source.blobs


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("compression", ["zstd", "zstd:chunked"])
def test_recompressed_layers_hold_the_same_files(
    compression: str, skopeo: Client, server: Server, source: Layout, tmp_path: Path
) -> None:
    repository = f"skopeo/{compression.replace(':', '-')}"
    image = f"docker://{server.host}/{repository}:1"

    skopeo("copy", TO, f"--dest-compress-format={compression}", f"oci:{source.path}:{TAG}", image)
    skopeo("copy", FROM, "--dest-compress-format=gzip", image, f"oci:{tmp_path / 'back'}:{TAG}")

    stored = reading.manifest(server, repository, "1")
    assert {layer["mediaType"][-8:] for layer in stored["layers"]} == {"tar+zstd"}
    assert reading.image(server, repository, "1")
    assert plain_layers(tmp_path / "back") == plain_layers(source.path)


def plain_layers(layout: Path) -> list[str]:
    """The digests of the layers, uncompressed; equal to what the configuration promises."""
    top, blobs = read_layout(layout)
    manifest = json.loads(blobs[top])
    found = [sha256(gzip.decompress(blobs[layer["digest"]])) for layer in manifest["layers"]]
    assert found == json.loads(blobs[manifest["config"]["digest"]])["rootfs"]["diff_ids"]
    return found


def test_conversion_to_docker_manifests(
    skopeo: Client, server: Server, source: Layout, tmp_path: Path
) -> None:
    image = f"docker://{server.host}/skopeo/v2s2:1"

    skopeo("copy", TO, "--format=v2s2", f"oci:{source.path}:{TAG}", image)

    stored = reading.get(server, "skopeo/v2s2/manifests/1")
    assert stored.headers["Content-Type"] == "application/vnd.docker.distribution.manifest.v2+json"
    layers = [layer["digest"] for layer in stored.json()["layers"]]
    assert layers == [layer["digest"] for layer in json.loads(source.blobs[source.digest])["layers"]]


def test_one_image_of_an_index(skopeo: Client, server: Server, tmp_path: Path) -> None:
    source = make_layout(tmp_path / "index", platforms=("amd64", "arm64"))
    image = f"docker://{server.host}/skopeo/index:1"
    skopeo("copy", TO, "--all", f"oci:{source.path}:{TAG}", image)

    skopeo("--override-arch=arm64", "copy", FROM, image, f"oci:{tmp_path / 'arm64'}:{TAG}")

    digest, blobs = read_layout(tmp_path / "arm64")
    assert digest == json.loads(source.blobs[source.digest])["manifests"][1]["digest"]
    assert blobs.items() <= source.blobs.items()
    assert len(blobs) == 4


def test_inspect_list_and_delete(skopeo: Client, server: Server, source: Layout) -> None:
    name = f"docker://{server.host}/skopeo/tags"
    for tag in ("v1", "v2", "latest"):
        skopeo("copy", TO, f"oci:{source.path}:{TAG}", f"{name}:{tag}")

    seen = json.loads(skopeo("inspect", "--tls-verify=false", f"{name}:v1"))
    assert seen["Digest"] == source.digest
    assert seen["RepoTags"] == ["latest", "v1", "v2"]
    assert seen["Labels"] == {"about": "end-to-end test"}
    raw = skopeo("inspect", "--tls-verify=false", "--raw", f"{name}@{source.digest}")
    assert sha256(raw.encode()) == source.digest
    assert json.loads(skopeo("list-tags", "--tls-verify=false", name))["Tags"] == ["latest", "v1", "v2"]

    skopeo("delete", "--tls-verify=false", f"{name}:v1")  # deletes the manifest, so every tag of it goes

    assert reading.tags(server, "skopeo/tags") == []
    reading.get(server, f"skopeo/tags/manifests/{source.digest}", status=404)


def test_a_missing_image_is_an_error(skopeo: Client, server: Server) -> None:
    done = skopeo.attempt("inspect", "--tls-verify=false", f"docker://{server.host}/skopeo/none:1")

    assert done.returncode != 0
    assert b"manifest unknown" in done.stderr or b"name unknown" in done.stderr
