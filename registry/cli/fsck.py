"""`registry fsck`: the store checked against every byte that it holds."""

import asyncio

from registry.cli.content import opened
from registry.cli.text import size
from registry.config import Settings
from registry.fsck import read
from storage.check import Progress, Report, check


def fsck(settings: Settings, *, repair: bool, progress: Progress = lambda _: None) -> Report:
    """Check the root of these settings. Raises StoreUnusable."""
    with opened(settings) as store:
        return asyncio.run(check(store, read=read, repair=repair, progress=progress))


def summary(report: Report) -> str:
    """The report for people: what was looked at, each finding, the verdict."""
    lines = [
        f"{report.blobs} blobs, {size(report.bytes)}",
        f"{report.unreferenced} of them, {size(report.unreferenced_bytes)}, are not named any more",
        f"{report.repositories} repositories, {report.manifests} manifests, {report.tags} tags",
        f"{report.uploads} uploads in progress, {report.quarantined} files in quarantine",
    ]
    for finding in report.findings:
        repaired = " (repaired)" if finding.repaired else ""
        lines.append(f"{finding.kind}: {finding.subject}: {finding.message}{repaired}")
    return "\n".join([*lines, "sound" if report.sound else f"not sound: {len(report.findings)} findings"])
