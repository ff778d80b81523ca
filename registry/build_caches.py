"""What `[[build_cache]]` entries say: repositories that builders write their caches to, again and again."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from registry.kinds import SIZE, Kind, seconds
from registry.patterns import matches
from registry.tables import read_tables, read_toml, texts
from storage.rows import is_fetched


@dataclass(frozen=True, slots=True)
class BuildCache:
    """One entry. `grace`: how many seconds what was superseded stays. `size`: the bytes that all the
    repositories of the entry may hold together; 0 for any number.
    """

    repositories: tuple[str, ...]
    grace: int = 600
    size: int = 0


def find_cache(caches: Sequence[BuildCache], repository: str) -> BuildCache | None:
    """The first that matches."""
    if is_fetched(repository):
        return None
    return next((cache for cache in caches if matches(cache.repositories, repository)), None)


def superseded_of(caches: Sequence[BuildCache]) -> Callable[[str], int | None]:
    """How many seconds what was superseded stays in a repository; None where there is no such rule."""

    def superseded(repository: str) -> int | None:
        cache = find_cache(caches, repository)
        return cache.grace if cache else None

    return superseded


_NAME = re.compile(r"(?:[a-z0-9._/-]|\*)+", re.ASCII)
_KEYS: Mapping[str, Kind] = {
    "repositories": texts(_NAME.fullmatch, 'a list of patterns such as ["cache/*"], * for anything'),
    "grace": seconds(1),
    "size": SIZE,
}


def _caches(value: object) -> tuple[BuildCache, ...]:
    return tuple(BuildCache(**entry) for entry in read_tables(value, _KEYS, ["repositories"]))


BUILD_CACHES = Kind(
    'tables such as [[build_cache]] with repositories = ["cache/*"] and size = "50GiB"; as text, '
    '[{repositories = ["cache/*"], size = "50GiB"}]',
    "TOML",
    _caches,
    read_toml,
)
