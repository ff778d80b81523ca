"""What is pushed as one: a manifest with all that it names."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from oci_registry_testing.manifests import JsonObject, digest_of


@dataclass(frozen=True, slots=True)
class Content:
    """`blobs` are pushed first, then `children`, then the manifest itself, byte for byte."""

    manifest: bytes
    media_type: str
    blobs: Mapping[str, bytes] = field(default_factory=dict)  # by digest
    children: tuple["Content", ...] = ()
    platform: Mapping[str, str] | None = None
    artifact_type: str | None = None
    algorithm: str = "sha256"

    @property
    def digest(self) -> str:
        return digest_of(self.manifest, self.algorithm)

    @property
    def descriptor(self) -> JsonObject:
        """As an index, or a subject, names it."""
        named: dict[str, Any] = {
            "mediaType": self.media_type,
            "digest": self.digest,
            "size": len(self.manifest),
        }
        if self.platform:
            named["platform"] = dict(self.platform)
        if self.artifact_type:
            named["artifactType"] = self.artifact_type
        return named

    @property
    def subject(self) -> JsonObject:
        """As a referrer names it: with what is of itself alone."""
        return {name: self.descriptor[name] for name in ("mediaType", "digest", "size")}

    def without(self, *digests: str) -> "Content":
        """Sparse: the same manifest, which still names what is left out of its blobs and children here.

        Without arguments everything is left out.
        """
        gone = set(digests)
        blobs = {digest: data for digest, data in self.blobs.items() if gone and digest not in gone}
        children = tuple(child for child in self.children if gone and child.digest not in gone)
        found = {*self.blobs, *(child.digest for child in self.children)}
        if strange := sorted(gone - found):
            raise ValueError(
                f"{', '.join(strange)}: not among what {self.digest} has: {', '.join(sorted(found))}"
            )
        return replace(self, blobs=blobs, children=children)


def by_digest(*blobs: bytes) -> Mapping[str, bytes]:
    return {digest_of(data): data for data in blobs}
