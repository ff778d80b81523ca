"""What is built: byte for byte the same everywhere, and what clients take for whole."""

import gzip
import io
import json
import tarfile

import pytest

from oci_registry_testing import (
    KINDS,
    Content,
    Registry,
    fallback_tag,
    make_artifact,
    make_broken,
    make_image,
    make_index,
    make_layer,
    make_sbom,
    make_signature,
)
from oci_registry_testing.broken import BLOBS
from oci_registry_testing.content import by_digest
from oci_registry_testing.manifests import DOCKER_IMAGE, DOCKER_INDEX, EMPTY, OCI_INDEX, blob, digest_of
from oci_registry_testing.names import Reference, parse_reference
from tests.oci_registry_testing.asking import ask

IMAGE = make_image({"etc/motd": "hello\n"}, config={"Env": ["A=B"]})

# What another machine or version may not make otherwise: others have written these digests into their tests.
PINNED = {
    "image": IMAGE,
    "docker image": make_image({"etc/motd": "hello\n"}, docker=True),
    "compressed": make_image(make_layer({"a": blob(200_000)}, compressed=True), platform="linux/arm/v7"),
    "index": make_index(),
    "docker index": make_index(docker=True),
    "artifact": make_artifact({"a.txt": "a"}, subject=IMAGE),
    "signature": make_signature(IMAGE, reference="example.org/app"),
    "sbom": make_sbom(IMAGE, {"musl": "1.2.5"}),
}
DIGESTS = {
    "image": "sha256:f4d91fc6ccf64e40783515d9153ce57600623cd8a813f0351c7a83701e7597ff",
    "docker image": "sha256:59cc3413a73fba4748a8dcedb7e63d7c91019328f2d6c9b375386c4191583bb3",
    "compressed": "sha256:498eb5d21cb9e8b85f906ec3fbed408dd0e1532005d73487053120381cd51d5c",
    "index": "sha256:7db3f7d4246f9447cdc3f7660fdec72681dd92eea068f077b9a93ca2286819ab",
    "docker index": "sha256:4adfca166ef39df8698a63fcb4ccedeaa8897620b160bb9130afc0325533c775",
    "artifact": "sha256:0c0e6b20be6d06a2f9b2b19ab8fcf2b904ba88d7afb08fc07acc497b34aa363a",
    "signature": "sha256:fab4c84b6303c139fa50f84b88bc2e98c08d6e9a057f794e3a8cade5307188ba",
    "sbom": "sha256:27b9558dd2a99e1dd96238afad5c9cb3c95503532c1ee9cc8dd4d0d1139c5bfb",
}


@pytest.mark.parametrize("name", PINNED)
def test_the_same_arguments_make_the_same_bytes(name: str) -> None:
    assert PINNED[name].digest == DIGESTS[name]


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("files", [{}, {"etc/motd": "hello\n", "bin/app": blob(200_000), "empty": b""}])
def test_a_layer_is_the_archive_of_its_files(files: dict[str, str | bytes], compressed: bool) -> None:
    layer = make_layer(files, compressed=compressed)
    inner = gzip.decompress(layer.data) if compressed else layer.data
    assert digest_of(inner) == layer.diff_id
    with tarfile.open(fileobj=io.BytesIO(inner)) as archive:
        found = {member.name: archive.extractfile(member) for member in archive}
        assert {name: file.read() for name, file in found.items() if file} == {
            name: text.encode() if isinstance(text, str) else text for name, text in files.items()
        }


def layers(content: Content) -> list[str]:
    return [each["digest"] for each in json.loads(content.manifest)["layers"]]


def test_an_image_says_what_its_layers_are() -> None:
    compressed = make_layer({"c": "d"}, compressed=True)
    image = make_image({"a": "b"}, b"bytes as they are", compressed, platform="linux/arm/v7")
    manifest = json.loads(image.manifest)
    inner = json.loads(image.blobs[manifest["config"]["digest"]])
    assert (inner["os"], inner["architecture"], inner["variant"]) == ("linux", "arm", "v7")
    assert inner["rootfs"]["diff_ids"][1] == digest_of(b"bytes as they are") == layers(image)[1]
    assert [each["mediaType"].rpartition(".")[2] for each in manifest["layers"]] == ["tar", "tar", "tar+gzip"]
    with pytest.raises(ValueError, match="is no platform"):
        make_image(platform="linux")


def test_an_index_names_platforms() -> None:
    named = json.loads(make_index().manifest)["manifests"]
    assert [each["platform"]["architecture"] for each in named] == ["amd64", "arm64"]
    assert make_index().media_type == OCI_INDEX
    docker = make_index(docker=True)
    assert {docker.media_type, *(each.media_type for each in docker.children)} == {DOCKER_INDEX, DOCKER_IMAGE}


def test_referrers_refer() -> None:
    referrers = (
        make_signature(IMAGE),
        make_sbom(IMAGE),
        make_artifact(subject=IMAGE),
        make_index(subject=IMAGE),
    )
    assert [json.loads(each.manifest)["subject"] for each in referrers] == [IMAGE.subject] * 4
    assert fallback_tag(IMAGE, ".sig") == f"sha256-{IMAGE.digest[7:]}.sig"
    assert layers(make_artifact()) == [digest_of(EMPTY)]


def test_content_can_lack_what_it_names() -> None:
    layer = layers(IMAGE)[0]
    assert set(IMAGE.without(layer).blobs) == set(IMAGE.blobs) - {layer}
    assert IMAGE.without().blobs == {}
    index = make_index()
    assert index.without(index.children[0].digest).children == index.children[1:]
    assert index.without().digest == index.digest
    with pytest.raises(ValueError, match="not among what"):
        IMAGE.without("sha256:0")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("app", Reference("app")),
        ("app:v1", Reference("app", "v1")),
        ("a/b/c:v1@sha256:0", Reference("a/b/c", "v1", "sha256:0")),
        ("registry.example:5000/app", Reference("app")),
        ("localhost/app@sha256:0", Reference("app", "", "sha256:0")),
    ],
)
def test_references_are_read_as_people_write_them(text: str, expected: Reference) -> None:
    assert parse_reference(text) == expected


def test_a_reference_names_a_repository() -> None:
    with pytest.raises(ValueError, match="names no repository"):
        parse_reference(":v1")


def test_every_broken_manifest_is_refused_and_served_when_planted() -> None:
    with Registry() as registry:
        for digest, data in by_digest(*BLOBS).items():
            ask("POST", f"{registry.url}/v2/app/blobs/uploads/?digest={digest}", content=data)
        refused, served = {}, {}
        for kind in KINDS:
            broken = make_broken(kind)
            url, typed = f"{registry.url}/v2/app/manifests/{kind}", {"Content-Type": broken.media_type}
            refused[kind] = ask("PUT", url, content=broken.manifest, headers=typed).status_code
            registry.plant(f"app:{kind}", broken)
            found = ask("GET", url)
            served[kind] = found.content == broken.manifest, found.headers["Content-Type"]
    assert refused == {**dict.fromkeys(KINDS, 400), "too-large": 413}
    assert served == {kind: (True, make_broken(kind).media_type) for kind in KINDS}
    assert len({make_broken(kind).digest for kind in KINDS}) == len(KINDS)
    with pytest.raises(ValueError, match="is no kind of broken manifest"):
        make_broken("fine")
