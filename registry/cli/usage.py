"""`registry du`: the space that repositories and tags take."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace

from registry.cli import text
from registry.cli.content import kept_as, opened, shown
from registry.names import RepositoryName
from registry.retention_rules import untagged_of
from registry.settings import Settings
from storage.holdings import count_bytes
from storage.quotas import Amount, Limit, held
from storage.rows import is_fetched
from storage.usage import RepositoryUsage, TagUsage, TotalUsage, measure, measure_tags


@dataclass(frozen=True, slots=True)
class Usage:
    """`repositories` are those that were asked for; of the bytes of all, `fetched` are upstreams'."""

    repositories: Sequence[RepositoryUsage]
    total: TotalUsage
    fetched: int


def repositories(settings: Settings, *, cached: bool = False) -> Usage:
    """Of those that were pushed to, or of those of upstreams."""
    untagged = untagged_of(settings.retention, settings.untagged)
    with opened(settings) as store, closing(store.database.scan()) as connection:
        found, total = measure(connection, untagged, store.database.clock.now())
        fetched = count_bytes(connection, is_fetched, is_fetched)
    chosen = [replace(each, name=shown(each.name)) for each in found if is_fetched(each.name) is cached]
    return Usage(chosen, total, fetched)


def tags(settings: Settings, repository: RepositoryName, *, cached: bool = False) -> list[TagUsage]:
    """Raises RepositoryMissing."""
    untagged = untagged_of(settings.retention, settings.untagged)
    with opened(settings) as store, closing(store.database.scan()) as connection:
        name = kept_as(repository, cached=cached)
        return measure_tags(connection, name, untagged, store.database.clock.now())


@dataclass(frozen=True, slots=True)
class QuotaUsage:
    """`used` and `limit` by kind: bytes, tags, uploads; of those kinds that are limited."""

    name: str
    limit: Mapping[str, int]
    used: Mapping[str, int]

    @property
    def fullness(self) -> float:
        return max(self.used[kind] / max(self.limit[kind], 1) for kind in self.limit)


def quotas(settings: Settings) -> list[QuotaUsage]:
    """Every quota that is set, the fullest first."""
    if not settings.quota:
        return []
    with opened(settings) as store, closing(store.database.scan()) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM repositories ORDER BY name")]
        limits = [limit for quota in settings.quota for limit in quota.limits(names)]
        found = [_quota_usage(limit, held(connection, limit)) for limit in limits]
    return sorted(found, key=lambda each: -each.fullness)


def _quota_usage(limit: Limit, amount: Amount) -> QuotaUsage:
    most = {kind: getattr(limit, kind) for kind in ("bytes", "tags", "uploads")}
    limited = {kind: number for kind, number in most.items() if number is not None}
    return QuotaUsage(limit.name, limited, {kind: getattr(amount, kind) for kind in limited})


def quota_table(found: Sequence[QuotaUsage]) -> str:
    head = ("QUOTA OF", "KIND", "USED", "LIMIT")
    rows = [
        (each.name, kind, _amount(kind, each.used[kind]), _amount(kind, each.limit[kind]))
        for each in found
        for kind in each.limit
    ]
    lines = text.table(head, rows).splitlines()
    return "\n".join([lines[0], *text.first(lines[1:])])


def _amount(kind: str, number: int) -> str:
    return text.size(number) if kind == "bytes" else text.number(number)


def as_object(usage: Usage, quotas: Sequence[QuotaUsage]) -> dict[str, object]:
    return {
        "repositories": [asdict(each) for each in usage.repositories],
        "total": {**asdict(usage.total), "fetched": usage.fetched},
        "quotas": [asdict(each) for each in quotas],
    }


def table(usage: Usage, quotas: Sequence[QuotaUsage]) -> str:
    head = ("REPOSITORY", "TAGS", "LOGICAL", "STORED", "ONLY HERE", "SHARED", "RECLAIMABLE")
    rows = [_row(each.name, each) for each in usage.repositories]
    lines = [text.table(head, [*rows, _row("all, on disk", usage.total)])]
    if usage.total.unheld:
        lines.append(f"{text.size(usage.total.unheld)} of it in no repository: reclaimable, too")
    if usage.fetched:
        lines.append(f"{text.size(usage.fetched)} of it is of other registries: see registry cache status")
    limits = f"\n\n{quota_table(quotas)}" if quotas else ""
    return "\n".join(lines) + limits


def _row(name: str, usage: RepositoryUsage | TotalUsage) -> tuple[str, ...]:
    sizes = (usage.logical, usage.stored, usage.only_here, usage.shared, usage.reclaimable)
    return (name, str(usage.tags), *map(text.size, sizes))


def tags_as_objects(found: Sequence[TagUsage]) -> list[dict[str, object]]:
    return [{**asdict(each), "digest": str(each.digest)} for each in found]


def tag_table(found: Sequence[TagUsage]) -> str:
    rows = [(each.name, *map(text.size, (each.size, each.only, each.shared))) for each in found]
    return text.table(("TAG", "SIZE", "ONLY", "SHARED"), rows)
