"""Images from files: what skopeo, docker and others write."""

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from oci_registry_testing import Content, Registry, make_image, make_index
from oci_registry_testing.images import Layer, make_layer
from oci_registry_testing.layouts import LayoutInvalid, read_images
from oci_registry_testing.manifests import (
    DOCKER_CONFIG,
    DOCKER_IMAGE,
    OCI_LAYER,
    descriptor,
    digest_of,
    image,
    index,
)

REF, IMAGE_NAME = "org.opencontainers.image.ref.name", "io.containerd.image.name"


def path_of(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def files_of(content: Content) -> dict[str, bytes]:
    found = {path_of(content.digest): content.manifest}
    found |= {path_of(digest): data for digest, data in content.blobs.items()}
    for child in content.children:
        found |= files_of(child)
    return found


def layout(*named: tuple[Content, Mapping[str, str]]) -> dict[str, bytes]:
    """An OCI layout's files."""
    files = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}'}
    for content, _ in named:
        files |= files_of(content)
    entries = [{**content.descriptor, "annotations": dict(annotations)} for content, annotations in named]
    return {**files, "index.json": json.dumps({"schemaVersion": 2, "manifests": entries}).encode()}


def write(folder: Path, files: Mapping[str, bytes], form: str) -> Path:
    place = folder / f"Some.{form}"
    if form == "dir":
        for name, data in files.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(data)
        return place
    with tarfile.open(place, "w:gz" if form == "tgz" else "w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(f"./{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return place


@pytest.mark.parametrize("form", ["dir", "tar", "tgz"])
def test_a_layout_is_served_byte_for_byte(tmp_path: Path, form: str) -> None:
    one, many = make_image(), make_index()
    files = layout(
        (one, {REF: "v1"}), (many, {IMAGE_NAME: "docker.io/team/many:v2", REF: "v2"}), (make_image(b"x"), {})
    )
    with Registry() as registry:
        pushed = registry.seed(write(tmp_path, files, form))
        assert [each.reference.place for each in pushed] == [
            "some:v1",
            "team/many:v2",
            f"some@{make_image(b'x').digest}",
        ]
        stored = {tag: each.manifest for each in registry.manifests() for tag in each.tags}
        assert stored == {"v1": one.manifest, "v2": many.manifest}
        assert len(registry.manifests()) == 5
        assert registry.seed(tmp_path / f"Some.{form}", "other")[0].repository == "other"


def test_a_layout_may_be_sparse_have_sha512_and_blobs_in_an_index(tmp_path: Path) -> None:
    """As BuildKit's cache is, and what foreign layers leave behind."""
    layer = b"a layer"
    long = image(layers=[descriptor(layer, algorithm="sha512"), descriptor(b"elsewhere")])
    cache = index(
        [descriptor(layer, OCI_LAYER, algorithm="sha512"), descriptor(long, "", algorithm="sha512")]
    )
    cache = cache.replace(b'"mediaType": ""', b'"mediaType": "application/vnd.oci.image.manifest.v1+json"')
    top = Content(cache, "application/vnd.oci.image.index.v1+json")
    files = layout((top, {REF: "v1"}))
    for data in (layer, long):
        files[path_of(digest_of(data, "sha512"))] = data
    files[path_of(digest_of(b"{}"))] = b"{}"
    [(reference, content)] = read_images(write(tmp_path, files, "dir"))
    assert (reference.tag, len(content.blobs), len(content.children)) == ("v1", 1, 1)
    with Registry() as registry:
        registry.push("app:v1", content)
        assert registry.blob(digest_of(long, "sha512")) == long
        assert registry.blob(digest_of(layer, "sha512")) == layer


@pytest.mark.parametrize("names", [["team/app:v1", "docker.io/app:v2"], None])
def test_what_docker_saves_is_served_in_its_types(tmp_path: Path, names: list[str] | None) -> None:
    layers: list[Layer] = [make_layer({"a": "b"}), make_layer({"c": "d"}, compressed=True)]
    config = b'{"architecture": "amd64", "os": "linux"}'
    entry = {"Config": "c.json", "RepoTags": names, "Layers": ["0/layer.tar", "1/layer.tar"]}
    files = {f"{number}/layer.tar": layer.data for number, layer in enumerate(layers)}
    files |= {"c.json": config, "manifest.json": json.dumps([entry]).encode()}
    found = read_images(write(tmp_path, files, "tar"))
    assert [reference.repository for reference, _ in found] == (["team/app", "app"] if names else ["some"])
    content = found[0][1]
    manifest = json.loads(content.manifest)
    assert (content.media_type, manifest["config"]["mediaType"]) == (DOCKER_IMAGE, DOCKER_CONFIG)
    assert [each["mediaType"].rpartition(".")[2] for each in manifest["layers"]] == ["tar", "gzip"]
    with Registry() as registry:
        assert len(registry.seed(tmp_path / "Some.tar")) == len(found)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"index.json": None, "oci-layout": None}, "neither index.json"),
        ({"index.json": None}, "index.json is not there"),
        ({"index.json": b"{"}, "index.json is not JSON"),
        ({path_of(make_image().digest): None}, "is not there"),
        ({path_of(make_image().digest): b"{}"}, "has other bytes"),
    ],
)
def test_a_layout_that_is_not_whole_says_so(
    tmp_path: Path, change: Mapping[str, bytes | None], said: str
) -> None:
    files = {**layout((make_image(), {})), **change}
    with pytest.raises(LayoutInvalid, match=said):
        read_images(write(tmp_path, {name: data for name, data in files.items() if data is not None}, "dir"))
