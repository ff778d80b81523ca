"""An image like no other: what is in its only file is looked for where it should arrive."""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from oci_registry_testing.content import Content, by_digest
from oci_registry_testing.images import Layer, make_image, make_layer
from oci_registry_testing.manifests import OCI_IMAGE

NAME = "payload"
"""Of the image in its layout."""

_REF_NAME = "org.opencontainers.image.ref.name"
_TITLE = "org.opencontainers.image.title"
_DEEPEST = 4  # archives in archives: an image's archive, its layer, its file


@dataclass(frozen=True, slots=True)
class Payload:
    """`data` are the bytes of the file; `content` the image that holds it in its only layer."""

    content: Content
    data: bytes
    layer: Layer


def make_payload(size: int) -> Payload:
    """Of random bytes: no client has seen any of it."""
    data = os.urandom(size)
    layer = make_layer({NAME: data}, compressed=True)
    made = make_image(layer)
    manifest = json.loads(made.manifest)
    manifest["layers"][0]["annotations"] = {
        _TITLE: f"{NAME}.tar.gz"
    }  # clients of artifacts store nothing else
    raw = json.dumps(manifest).encode()
    return Payload(Content(raw, OCI_IMAGE, made.blobs, platform=made.platform), data, layer)


def write_layout(payload: Payload, folder: Path) -> None:
    """As OCI's image layout has it."""
    content = payload.content
    for digest, data in {**content.blobs, **by_digest(content.manifest)}.items():
        algorithm, _, encoded = digest.partition(":")
        path = folder / "blobs" / algorithm / encoded
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    listed = [content.descriptor | {"annotations": {_REF_NAME: NAME}}]
    index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": listed}
    (folder / "index.json").write_text(json.dumps(index))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def write_archive(payload: Payload, image: str, path: Path) -> None:
    """As `docker save` writes it, under the name `image`."""
    config = json.loads(payload.content.manifest)["config"]["digest"]
    plain = make_layer({NAME: payload.data}).data
    listed = [{"Config": f"{config[7:]}.json", "RepoTags": [image], "Layers": ["layer.tar"]}]
    with tarfile.open(path, "w") as archive:
        for name, data in (
            ("layer.tar", plain),
            (f"{config[7:]}.json", payload.content.blobs[config]),
            ("manifest.json", json.dumps(listed).encode()),
        ):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


def is_in(data: bytes, folder: Path) -> bool:
    """Whether a file with these bytes is below the folder, as it is or in archives."""
    wanted = hashlib.sha256(data).digest()
    return any(
        hashlib.sha256(found).digest() == wanted
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
        for found in unpack(path.read_bytes())
    )


def unpack(raw: bytes, depth: int = 0) -> Iterator[bytes]:
    """The bytes, and what is in them if they are an archive, compressed or not."""
    yield raw
    if depth == _DEEPEST:
        return
    try:
        with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
            for member in archive:
                if member.isfile() and (file := archive.extractfile(member)):
                    yield from unpack(file.read(), depth + 1)
    except (tarfile.TarError, EOFError, OSError, ValueError):
        return  # no archive, or a broken one: then what is behind the break is not there


def is_held(data: bytes, blobs: Iterator[bytes]) -> bool:
    """Whether one of the blobs has these bytes, as it is or in archives."""
    return any(data == found for blob in blobs for found in unpack(blob))
