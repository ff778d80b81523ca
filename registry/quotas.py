"""What `[[quota]]` entries say: how much repositories may hold."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from registry.kinds import SIZE, SWITCH, Kind, Misfit, whole
from registry.patterns import matches
from registry.tables import read_tables, read_toml, texts
from storage.quotas import Limit

UPLOADS = 1000
"""Open upload sessions of a repository of which no entry says another number."""


@dataclass(frozen=True, slots=True)
class Quota:
    """One entry; what is None it does not limit. Without `repositories` it is about all of them.

    `each`: every repository may hold so much by itself; else all that match hold it together.
    """

    repositories: tuple[str, ...] = ()
    each: bool = False
    bytes: int | None = None
    tags: int | None = None
    uploads: int | None = None

    def covers(self, repository: str) -> bool:
        return not self.repositories or matches(self.repositories, repository)

    @property
    def name(self) -> str:
        """As messages call it."""
        return f"{', '.join(self.repositories)} together" if self.repositories else "the registry"

    def limit(self, repository: str) -> Limit:
        """For a repository that it covers."""
        patterns, name = ((repository,), repository) if self.each else (self.repositories, self.name)
        return Limit(name, patterns, self.bytes, self.tags, self.uploads)

    def limits(self, repositories: Sequence[str]) -> list[Limit]:
        """The limits that it is, where there are these repositories."""
        if self.each:
            return [self.limit(repository) for repository in repositories if self.covers(repository)]
        return [self.limit("")]


def limits_of(quotas: Sequence[Quota], repository: str) -> list[Limit]:
    """All that hold for it: those of every entry that covers it, and the default."""
    found = [quota for quota in quotas if quota.covers(repository)]
    limits = [quota.limit(repository) for quota in found]
    if not any(quota.each and quota.uploads is not None for quota in found):
        limits.append(Limit(repository, (repository,), uploads=UPLOADS))
    return limits


_NAME = re.compile(r"(?:[a-z0-9._/-]|\*)+", re.ASCII)
_MOST = 2**62
_KEYS: Mapping[str, Kind] = {
    "repositories": texts(_NAME.fullmatch, 'a list of patterns such as ["ci/*"], * for anything'),
    "each": SWITCH,
    "bytes": SIZE,
    "tags": whole(0, _MOST),
    "uploads": whole(0, _MOST),
}
_LIMITS = ("bytes", "tags", "uploads")


def _quotas(value: object) -> tuple[Quota, ...]:
    tables = read_tables(value, _KEYS, ())
    for number, table in enumerate(tables, 1):
        if not any(key in table for key in _LIMITS):
            raise Misfit(f"entry {number}", table, "at least one of the keys bytes, tags and uploads")
    return tuple(Quota(**table) for table in tables)


QUOTA = Kind(
    'tables such as [[quota]] with repositories = ["ci/*"] and bytes = "50GiB"; as text, '
    '[{repositories = ["ci/*"], bytes = "50GiB"}]',
    "TOML",
    _quotas,
    read_toml,
)
