"""Small images made of random bytes, as OCI layouts on disk."""

import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
REF_NAME = "org.opencontainers.image.ref.name"
TAG = "t"  # the name of the image inside its layout

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Layout:
    path: Path
    digest: str  # of the image or index named TAG
    blobs: Mapping[str, bytes]  # digest -> bytes; manifests too


def make_layout(path: Path, *, platforms: tuple[str, ...] = (), layers: int = 2, size: int = 4000) -> Layout:
    """An image, or with platforms an index of one image each, whose layers hold `size` random bytes each."""
    blobs: dict[str, bytes] = {}
    if platforms:
        children = [
            add_image(blobs, arch, layers, size) | {"platform": {"os": "linux", "architecture": arch}}
            for arch in platforms
        ]
        top = add_json(blobs, INDEX, {"schemaVersion": 2, "mediaType": INDEX, "manifests": children})
    else:
        top = add_image(blobs, "amd64", layers, size)
    (path / "blobs" / "sha256").mkdir(parents=True)
    for digest, content in blobs.items():
        (path / "blobs" / "sha256" / digest.removeprefix("sha256:")).write_bytes(content)
    named = top | {"annotations": {REF_NAME: TAG}}
    (path / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))
    (path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [named]}))
    return Layout(path, top["digest"], blobs)


def add_image(blobs: dict[str, bytes], architecture: str, layers: int, size: int) -> Json:
    tars = [tar({f"{architecture}-{number}.bin": os.urandom(size)}) for number in range(layers)]
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": {"Labels": {"about": "end-to-end test"}},
        "rootfs": {"type": "layers", "diff_ids": [sha256(content) for content in tars]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": add_json(blobs, CONFIG, config),
        "layers": [add_blob(blobs, LAYER, gzip.compress(content, mtime=0)) for content in tars],
    }
    return add_json(blobs, MANIFEST, manifest)


def add_json(blobs: dict[str, bytes], media_type: str, value: Json) -> Json:
    return add_blob(blobs, media_type, json.dumps(value).encode())


def add_blob(blobs: dict[str, bytes], media_type: str, content: bytes) -> Json:
    blobs[sha256(content)] = content
    return {"mediaType": media_type, "digest": sha256(content), "size": len(content)}


def tar(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        end = archive.offset
    # Two zero blocks end an archive, as in Go's; a longer padding would not survive zstd:chunked.
    return out.getvalue()[: end + 2 * tarfile.BLOCKSIZE]


def read_layout(path: Path) -> tuple[str, dict[str, bytes]]:
    """The digest of the image named TAG, or of the only one, in a client's layout; every blob, checked."""
    listed = json.loads((path / "index.json").read_bytes())["manifests"]
    named = [one for one in listed if one.get("annotations", {}).get(REF_NAME) == TAG]
    (top,) = named or listed
    blobs = {f"sha256:{file.name}": file.read_bytes() for file in (path / "blobs" / "sha256").iterdir()}
    for digest, content in blobs.items():
        assert sha256(content) == digest
    return top["digest"], blobs


def sha256(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()
