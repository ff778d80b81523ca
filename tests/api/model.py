"""What a registry should hold, as plain dictionaries: the state machine's other half."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from storage.digest import Digest
from tests.builders import (
    DOCKER_IMAGE,
    DOCKER_INDEX,
    OCI_CONFIG,
    OCI_IMAGE,
    OCI_INDEX,
    blob,
    descriptor,
    image,
    index,
)


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes under one digest. `needs` are the blobs, `children` the manifests or blobs that must be there."""

    name: str
    data: bytes
    algorithm: str = "sha256"
    media_type: str = "application/octet-stream"
    needs: tuple[str, ...] = ()
    children: tuple[str, ...] = ()
    subject: str = ""
    artifact_type: str = ""
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", str(Digest.of(self.data, self.algorithm)))


_config, _layer, _wide = b'{"os":"linux"}', blob(300, 1), blob(200, 2)
BLOBS: Mapping[str, Content] = {
    item.name: item
    for item in (
        Content("empty", b""),
        Content("config", _config),
        Content("layer", _layer),
        Content("wide", _wide, "sha512"),
        Content("wide as sha256", _wide),
    )
}

_first = image(descriptor(_config, OCI_CONFIG), [descriptor(_layer)])
_second = image(
    descriptor(_config, OCI_CONFIG), [descriptor(_wide, algorithm="sha512")], media_type=DOCKER_IMAGE
)
_both = index([descriptor(_first, OCI_IMAGE), descriptor(_second, DOCKER_IMAGE)])
_cache = index([descriptor(_layer), descriptor(_wide)], annotations={"cache": "of blobs"})
_signature = index(subject=descriptor(_first, OCI_IMAGE), artifact_type="application/x.signature")
_sbom = image(descriptor(b"", "application/x.sbom"), subject=descriptor(_first, OCI_IMAGE))
_outer = index([descriptor(_both, OCI_INDEX)], subject=descriptor(_both, OCI_INDEX), media_type=DOCKER_INDEX)


def _digests(*names: str) -> tuple[str, ...]:
    return tuple(BLOBS[name].digest for name in names)


def _own(*raws: bytes) -> tuple[str, ...]:
    return tuple(str(Digest.of(raw)) for raw in raws)


MANIFESTS: Mapping[str, Content] = {
    item.name: item
    for item in (
        Content("first", _first, media_type=OCI_IMAGE, needs=_digests("config", "layer")),
        Content("second", _second, media_type=DOCKER_IMAGE, needs=_digests("config", "wide")),
        Content("both", _both, media_type=OCI_INDEX, children=_own(_first, _second)),
        Content("cache", _cache, media_type=OCI_INDEX, children=_digests("layer", "wide as sha256")),
        Content(
            "signature",
            _signature,
            media_type=OCI_INDEX,
            subject=_own(_first)[0],
            artifact_type="application/x.signature",
        ),
        Content(
            "sbom",
            _sbom,
            media_type=OCI_IMAGE,
            needs=_digests("empty"),
            subject=_own(_first)[0],
            artifact_type="application/x.sbom",
        ),
        Content("outer", _outer, media_type=DOCKER_INDEX, children=_own(_both), subject=_own(_both)[0]),
        Content(
            "outer as sha512", _outer, "sha512", DOCKER_INDEX, children=_own(_both), subject=_own(_both)[0]
        ),
    )
}
SUBJECTS = tuple(sorted({item.subject for item in MANIFESTS.values() if item.subject}))
BY_DIGEST: Mapping[str, Content] = {item.digest: item for item in (*BLOBS.values(), *MANIFESTS.values())}


@dataclass(slots=True)
class Repository:
    blobs: set[str] = field(default_factory=set)
    manifests: set[str] = field(default_factory=set)
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def exists(self) -> bool:
        return bool(self.blobs or self.manifests)

    def missing(self, item: Content) -> set[str]:
        """What a manifest names and the repository lacks."""
        absent = set(item.needs) - self.blobs
        return absent | (set(item.children) - self.blobs - self.manifests)

    def parents(self, digest: str) -> set[str]:
        return {
            parent
            for parent in self.manifests
            if digest in (*BY_DIGEST[parent].needs, *BY_DIGEST[parent].children)
        }

    def drop_manifest(self, digest: str) -> None:
        self.manifests.remove(digest)
        self.tags = {tag: named for tag, named in self.tags.items() if named != digest}

    def referrers(self, subject: str) -> list[str]:
        """By artifact type, then digest in its binary form, where sha256 comes before sha512."""
        found = [item for item in map(BY_DIGEST.__getitem__, self.manifests) if item.subject == subject]
        return [item.digest for item in sorted(found, key=lambda item: (item.artifact_type, item.digest))]


@dataclass(slots=True)
class Model:
    repositories: dict[str, Repository]
    uploads: dict[str, tuple[str, bytes]] = field(default_factory=dict)  # id → repository, bytes so far

    def catalog(self) -> list[str]:
        return sorted(name for name, repository in self.repositories.items() if repository.exists)
