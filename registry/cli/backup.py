"""`registry backup` and `registry restore`: a root copied into a folder, and a root made from one."""

import os

from registry.cli.content import opened
from registry.cli.text import Counter, first, size
from registry.settings import Settings
from storage.backup import backup as back_up
from storage.backup import restore as bring_back
from storage.files import Files
from storage.filling import Report
from storage.layout import Layout


def backup(settings: Settings, folder: str, *, copy: bool, verify: bool, counter: Counter) -> Report:
    """Bring `folder` up to date with the root of these settings. Raises StoreUnusable, StoreBusy."""
    target = Layout(os.path.abspath(folder))
    with opened(settings) as store:
        return back_up(
            store.layout,
            target,
            Files(target.degraded),
            copy=copy,
            verify=verify,
            begin=counter.expect,
            progress=counter.add,
        )


def restore(settings: Settings, folder: str, *, counter: Counter) -> Report:
    """Make the root of these settings from `folder`. Raises StoreUnusable, StoreBusy."""
    target = Layout(os.path.abspath(settings.root))
    source = Layout(os.path.abspath(folder))
    return bring_back(source, target, Files(target.degraded), begin=counter.expect, progress=counter.add)


def summary(report: Report, verb: str, folder: str) -> str:
    """The report for people."""
    lines = [f"{verb} {folder}: {report.blobs} blobs, {size(report.bytes)}"]
    ways = {
        "there before": report.kept,
        "linked": report.linked,
        "copied": report.copied,
        "removed": report.removed,
    }
    lines += (
        [", ".join(f"{count} {how}" for how, count in ways.items() if count)] if any(ways.values()) else []
    )
    lines += first([f"{digest}: the root has lost, and this folder still has it" for digest in report.saved])
    lines += first(
        [
            f"{digest}: a repository lists it, and its bytes are not here or bad: push it again"
            for digest in report.lost
        ]
    )
    return "\n".join(lines)
