"""What storage's fsck can't know: what a manifest's bytes say, and how a position is written down."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from registry.errors import RegistryError
from registry.manifests import read_manifest
from registry.repository import describe
from storage.findings import Finding, Latch, Position, Report
from storage.manifest_rows import Edge, ManifestRow


def read(raw: bytes, row: ManifestRow) -> tuple[ManifestRow, Sequence[Edge]]:
    """What the index should hold of a manifest. Raises ValueError if the bytes are none."""
    try:
        return describe(read_manifest(raw, row.media_type, row.digest), sparse=False)
    except RegistryError as error:
        raise ValueError(str(error)) from error


def encode(position: Position) -> str:
    return json.dumps(asdict(position))


def decode(text: str) -> Position | None:
    """None for what no check has written, or one of another version."""
    try:
        found = json.loads(text)
        report = found["report"]
        findings = [Finding(**each) for each in report.pop("findings")]
        degraded = Latch(**found["degraded"]) if found["degraded"] else None
        return Position(found["after"], Report(**report, findings=findings), degraded, int(found["begun"]))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
