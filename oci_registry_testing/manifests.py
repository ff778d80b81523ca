"""Manifests and their parts, byte by byte: the same arguments make the same bytes, everywhere and always."""

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from typing import Any

OCI_IMAGE = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json"
DOCKER_IMAGE = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
EMPTY_JSON = "application/vnd.oci.empty.v1+json"

EMPTY = b"{}"

JsonObject = dict[str, Any]


def blob(size: int, seed: int = 0) -> bytes:
    """Bytes that cannot be compressed; the same for the same arguments."""
    return random.Random(f"{seed}/{size}").randbytes(size)  # noqa: S311 (nobody has to be unable to guess it)


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def descriptor(
    data: bytes, /, media_type: str = OCI_LAYER, *, algorithm: str = "sha256", **extra: object
) -> JsonObject:
    """A descriptor of `data`; `extra` are further keys, such as `annotations` or `artifactType`."""
    return {"mediaType": media_type, "digest": digest_of(data, algorithm), "size": len(data), **extra}


def image(
    config: JsonObject | None = None,
    layers: Sequence[JsonObject] = (),
    *,
    subject: JsonObject | None = None,
    artifact_type: str | None = None,
    annotations: Mapping[str, str] | None = None,
    media_type: str = OCI_IMAGE,
    **extra: object,
) -> bytes:
    """An image manifest; without `config`, one whose config is `{}`, as artifacts have."""
    members = {"config": config or descriptor(EMPTY, EMPTY_JSON), "layers": list(layers)}
    return _manifest(media_type, members, subject, artifact_type, annotations, extra)


def index(
    children: Sequence[JsonObject] = (),
    *,
    subject: JsonObject | None = None,
    artifact_type: str | None = None,
    annotations: Mapping[str, str] | None = None,
    media_type: str = OCI_INDEX,
    **extra: object,
) -> bytes:
    members = {"manifests": list(children)}
    return _manifest(media_type, members, subject, artifact_type, annotations, extra)


def _manifest(
    media_type: str,
    members: JsonObject,
    subject: JsonObject | None,
    artifact_type: str | None,
    annotations: Mapping[str, str] | None,
    extra: Mapping[str, object],
) -> bytes:
    optional = {"artifactType": artifact_type, "subject": subject, "annotations": annotations}
    body = {
        "schemaVersion": 2,
        "mediaType": media_type,
        **members,
        **{key: value for key, value in optional.items() if value is not None},
        **extra,
    }
    return json.dumps(body).encode()
