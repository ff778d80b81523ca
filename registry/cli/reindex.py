"""`registry reindex`: the index made anew from the blobs, and what they do not tell."""

import os

from registry.cli.content import require_root
from registry.cli.text import first, size
from registry.names import RepositoryName
from registry.reindex import READER
from registry.settings import Settings
from storage.files import Files
from storage.layout import Layout
from storage.recovery import Report
from storage.reindex import reindex as rebuild
from storage.transfer import Progress

UNKNOWN = (
    "the names of repositories",
    "tags, but for those that a manifest claims in its annotations",
    "upload sessions",
    "what had been deleted: it is back if its bytes were still here",
)
"""What no blob tells."""


def reindex(settings: Settings, into: str, *, dry_run: bool, progress: Progress = lambda _: None) -> Report:
    """Raises StoreUnusable, StoreBusy, NameInvalid."""
    require_root(settings)
    layout = Layout(os.path.abspath(settings.root))
    name = RepositoryName(into)
    return rebuild(
        layout,
        Files(layout.degraded),
        READER,
        into=name,
        dry_run=dry_run,
        allow_network=settings.allow_network_fs,
        progress=progress,
    )


def summary(report: Report, into: str, *, dry_run: bool) -> str:
    """The report for people."""
    lines = [
        f"{report.blobs} blobs, {size(report.bytes)}; {report.manifests} of them are manifests",
        f"{report.recovered} manifests that no repository listed are in {into} now, by digest",
    ]
    if report.replaced:
        lines.insert(0, f"the index is made anew: {report.replaced}")
    if report.aside:
        lines.append(f"the old index is {report.aside}")
    lines += first([f"{into}:{tag} is {digest}" for tag, digest in report.tags.items()])
    lines += first([f"{digest}: lacks {', '.join(lacks)}" for digest, lacks in report.incomplete.items()])
    lines += first([f"{digest}: its references are written anew" for digest in report.rewritten])
    lines += first([f"{digest}: its bytes are bad" for digest in report.bad])
    lines.append(
        f"{report.nothing} blobs, {size(report.nothing_bytes)}, belong to nothing: a collection removes them"
    )
    lines.append(f"not known: {'; '.join(UNKNOWN)}")
    return "\n".join([*lines, *(["nothing was changed: this was a dry run"] if dry_run else [])])
