"""`registry gc`: one pass by hand, or a look at what it would take."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import nullcontext

from registry.cli import text
from registry.cli.content import opened
from registry.kinds import NEVER
from registry.settings import Settings
from storage.collect import collect, expected_rows, foresee
from storage.garbage import Item, Report, Rules
from storage.locks import held

_SERVED = "a server runs on this root: stop it before `registry gc --now`, or leave --now out"


def run(settings: Settings, rules: Rules, *, tell: Callable[[Item], None], counter: text.Counter) -> Report:
    """One pass. Raises StoreUnusable, StoreBusy, and what stops a collection."""
    with opened(settings) as store:
        alone = held(store.layout.serving_lock, _SERVED) if rules.at_once else nullcontext()
        with alone:
            counter.expect(expected_rows(store))
            return asyncio.run(collect(store, rules, tell=tell, progress=counter.add))


def look_ahead(settings: Settings, rules: Rules) -> tuple[list[Item], list[Item], Report]:
    """What would go now, what when its grace is over, and both together. Raises StoreUnusable."""
    with opened(settings) as store:
        return asyncio.run(foresee(store, rules))


def line(item: Item) -> str:
    """What goes, or would, and why."""
    return f"{item.kind} {item.repository} {item.name}: {item.why}"


def summary(report: Report, settings: Settings, *, would: bool = False) -> str:
    """The report for people, and the rule that was gone by."""
    verb = "would go" if would else "went"
    freed = f"{report.files} files, {text.size(report.freed)} {'to free' if would else 'freed'}"
    lines = [f"{report.manifests} manifests, {report.blobs} blobs and {report.tags} tags {verb}; {freed}"]
    if report.repositories:
        lines.append(f"{report.repositories} repositories {verb}, as they hold nothing any more")
    if report.strays:
        lines.append(f"{report.strays} of the files were left by crashes")
    if report.waiting:
        lines.append(f"{report.waiting} more, {text.size(report.waiting_bytes)}, wait for their grace to end")
    if report.returned:
        lines.append(f"{report.returned} blobs that had been missing are there again")
    if report.held_up:
        lines.append(f"uploads hold up: {', '.join(report.held_up[:10])}")
    kept = "for ever" if settings.untagged == NEVER else text.duration(int(settings.untagged))
    lines.append(f"content without a tag is kept {kept} (untagged)")
    return "\n".join(lines)


def listing(now: Sequence[Item], later: Sequence[Item]) -> str:
    """What would go, by repository."""
    sums: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    for when, items in (("now", now), ("after its grace", later)):
        for item in items:
            row = sums[item.repository, when]
            row[0] += item.kind == "manifest"
            row[1] += item.kind == "blob"
            row[2] += item.size
    rows = [
        (name, when, str(manifests), str(blobs), text.size(size))
        for (name, when), (manifests, blobs, size) in sorted(sums.items())
    ]
    return text.table(("REPOSITORY", "GOES", "MANIFESTS", "BLOBS", "SIZE"), rows)
