"""What storage's fsck can't know: what a manifest's bytes say."""

from collections.abc import Sequence

from registry.errors import RegistryError
from registry.manifests import read_manifest
from registry.repository import describe
from storage.manifests import Edge, ManifestRow


def read(raw: bytes, row: ManifestRow) -> tuple[ManifestRow, Sequence[Edge]]:
    """What the index should hold of a manifest. Raises ValueError if the bytes are none."""
    try:
        return describe(read_manifest(raw, row.media_type, row.digest), sparse=False)
    except RegistryError as error:
        raise ValueError(str(error)) from error
