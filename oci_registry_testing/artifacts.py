"""Artifacts: anything with a type, and what is said of an image by referring to it."""

import json
from collections.abc import Mapping, Sequence

from oci_registry_testing.content import Content, by_digest
from oci_registry_testing.manifests import (
    EMPTY,
    EMPTY_JSON,
    OCI_IMAGE,
    JsonObject,
    descriptor,
    image,
)

ARTIFACT = "application/vnd.example.artifact"
SIGNATURE = "application/vnd.dev.cosign.artifact.sig.v1+json"
SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
SPDX = "application/spdx+json"

_TITLE = "org.opencontainers.image.title"
_EPOCH = "1970-01-01T00:00:00Z"

Files = Mapping[str, str | bytes]


def make_artifact(
    files: Files | None = None,
    artifact_type: str = ARTIFACT,
    *,
    media_type: str = "application/octet-stream",
    subject: Content | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Content:
    """As `oras push` and `oras attach` make it: a layer for each file, its name in the title.

    Without files its only layer is `{}`, as the image specification asks.
    """
    data = {name: text.encode() if isinstance(text, str) else text for name, text in (files or {}).items()}
    layers = [descriptor(each, media_type, annotations={_TITLE: name}) for name, each in data.items()]
    return _artifact(artifact_type, list(data.values()), layers, subject, annotations)


def make_signature(subject: Content, *, reference: str = "", signature: str = "") -> Content:
    """Shaped as cosign's, and signed by nobody: `signature` is what it says, in base64."""
    payload = json.dumps(
        {
            "critical": {
                "identity": {"docker-reference": reference},
                "image": {"docker-manifest-digest": subject.digest},
                "type": "cosign container image signature",
            },
            "optional": None,
        }
    ).encode()
    said = {"dev.cosignproject.cosign/signature": signature or "AAAA"}
    return _artifact(SIGNATURE, [payload], [descriptor(payload, SIMPLE_SIGNING, annotations=said)], subject)


def make_sbom(subject: Content, packages: Mapping[str, str] | None = None) -> Content:
    """An SPDX document that lists these packages, by name with their versions."""
    document = json.dumps(
        {
            "spdxVersion": "SPDX-2.3",
            "dataLicense": "CC0-1.0",
            "SPDXID": "SPDXRef-DOCUMENT",
            "name": subject.digest,
            "documentNamespace": f"https://example.org/{subject.digest}",
            "creationInfo": {"created": _EPOCH, "creators": ["Tool: oci-registry"]},
            "packages": [
                {
                    "SPDXID": f"SPDXRef-{number}",
                    "name": name,
                    "versionInfo": version,
                    "downloadLocation": "NOASSERTION",
                }
                for number, (name, version) in enumerate((packages or {}).items())
            ],
        }
    ).encode()
    return _artifact(SPDX, [document], [descriptor(document, SPDX)], subject)


def fallback_tag(subject: Content, suffix: str = "") -> str:
    """The tag of the referrers tag schema; with `.sig`, `.att` or `.sbom`, cosign's."""
    return subject.digest.replace(":", "-") + suffix


def _artifact(
    artifact_type: str,
    blobs: Sequence[bytes],
    layers: Sequence[JsonObject],
    subject: Content | None,
    annotations: Mapping[str, str] | None = None,
) -> Content:
    raw = image(
        descriptor(EMPTY, EMPTY_JSON),
        layers or [descriptor(EMPTY, EMPTY_JSON)],
        subject=subject.subject if subject else None,
        artifact_type=artifact_type,
        annotations=annotations,
    )
    return Content(raw, OCI_IMAGE, by_digest(EMPTY, *blobs), artifact_type=artifact_type)
