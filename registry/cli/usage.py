"""`registry du`: the space that repositories and tags take."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict

from registry.cli import text
from registry.cli.content import opened
from registry.config import Settings
from registry.names import RepositoryName
from registry.retention_rules import untagged_of
from storage.usage import RepositoryUsage, TagUsage, TotalUsage, measure, measure_tags


def repositories(settings: Settings) -> tuple[list[RepositoryUsage], TotalUsage]:
    untagged = untagged_of(settings.retention, settings.untagged)
    with opened(settings) as store, closing(store.database.scan()) as connection:
        return measure(connection, untagged, store.database.clock.now())


def tags(settings: Settings, repository: RepositoryName) -> list[TagUsage]:
    """Raises RepositoryMissing."""
    untagged = untagged_of(settings.retention, settings.untagged)
    with opened(settings) as store, closing(store.database.scan()) as connection:
        return measure_tags(connection, repository, untagged, store.database.clock.now())


def as_object(found: Sequence[RepositoryUsage], total: TotalUsage) -> dict[str, object]:
    return {"repositories": [asdict(each) for each in found], "total": asdict(total)}


def table(found: Sequence[RepositoryUsage], total: TotalUsage) -> str:
    head = ("REPOSITORY", "TAGS", "LOGICAL", "STORED", "ONLY HERE", "SHARED", "RECLAIMABLE")
    rows = [_row(each.name, each) for each in found]
    rest = f"\n{text.size(total.unheld)} of it in no repository: reclaimable, too" if total.unheld else ""
    return text.table(head, [*rows, _row("all, on disk", total)]) + rest


def _row(name: str, usage: RepositoryUsage | TotalUsage) -> tuple[str, ...]:
    sizes = (usage.logical, usage.stored, usage.only_here, usage.shared, usage.reclaimable)
    return (name, str(usage.tags), *map(text.size, sizes))


def tags_as_objects(found: Sequence[TagUsage]) -> list[dict[str, object]]:
    return [{**asdict(each), "digest": str(each.digest)} for each in found]


def tag_table(found: Sequence[TagUsage]) -> str:
    rows = [(each.name, *map(text.size, (each.size, each.only, each.shared))) for each in found]
    return text.table(("TAG", "SIZE", "ONLY", "SHARED"), rows)
