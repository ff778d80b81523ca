"""A manifest as the index has it, and what it names."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from storage.digest import Digest

COLUMNS = (
    "manifests.digest, media_type, manifests.size, artifact_type, annotations, subject,"
    " manifests.mark IS NOT NULL"
)


class EdgeKind(IntEnum):
    CONFIG = 1
    LAYER = 2
    CHILD = 3  # of an index: a manifest, or a blob (BuildKit's cache index)


@dataclass(frozen=True, slots=True)
class Edge:
    """Content that a manifest names. One that is not `required` may be absent."""

    digest: Digest
    size: int
    kind: EdgeKind
    required: bool = True


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """A manifest as listings and HEAD need it; `annotations` is the JSON object's text, `{}` for none.

    `marked`: a collector takes it to be garbage; who shall rely on it has to `keep` it first.
    """

    digest: Digest
    media_type: str
    size: int
    artifact_type: str = ""
    annotations: str = "{}"
    subject: Digest | None = None
    marked: bool = field(default=False, compare=False)


def manifest_row(row: Sequence[object]) -> ManifestRow:
    digest, media_type, size, artifact_type, annotations, subject, marked = row
    assert isinstance(digest, bytes)
    assert isinstance(size, int)
    return ManifestRow(
        Digest.from_binary(digest),
        str(media_type),
        size,
        str(artifact_type),
        str(annotations),
        Digest.from_binary(subject) if isinstance(subject, bytes) else None,
        bool(marked),
    )
