"""What `[[build_cache]]` entries say, and whom they concern."""

import tomllib

import pytest

from registry.build_caches import BUILD_CACHES, BuildCache, find_cache, superseded_of
from registry.config import load
from registry.settings import ConfigError

HOME = {"HOME": "/home/ann"}
GIB = 2**30
TOML = """
[[build_cache]]
repositories = ["cache/big/*"]
grace = "1h"
size = "50GiB"

[[build_cache]]
repositories = ["cache/*", "*/buildcache"]
"""
ENTRIES = (BuildCache(("cache/big/*",), 3600, 50 * GIB), BuildCache(("cache/*", "*/buildcache"), 600, 0))


def test_entries_are_read() -> None:
    assert BUILD_CACHES.check(tomllib.loads(TOML)["build_cache"]) == ENTRIES


@pytest.mark.parametrize(
    ("repository", "entry"),
    [
        ("cache/big/app", 0),
        ("cache/app", 1),
        ("team/app/buildcache", 1),
        ("app", None),
        ("@docker.io/cache/buildcache", None),
    ],
)
def test_the_first_that_matches_decides(repository: str, entry: int | None) -> None:
    found = find_cache(ENTRIES, repository)
    assert found == (None if entry is None else ENTRIES[entry])
    assert superseded_of(ENTRIES)(repository) == (found and found.grace)


def test_a_star_is_about_nothing_that_was_fetched() -> None:
    assert find_cache([BuildCache(("*",))], "@docker.io/library/alpine") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[{}]", "repositories among its keys"),
        ('[{repositories = ["cache/*"], grace = 0}]', "1 at least"),
        ('[{repositories = ["Cache/*"]}]', 'a list of patterns such as ["cache/*"]'),
        ('[{repositories = ["a"], size = "much"}]', "50GiB"),
        ('[{repositories = ["a"], sise = 1}]', "did you mean size?"),
    ],
)
def test_what_is_no_entry(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load({"build_cache": text}, HOME)
    assert message in str(refused.value)
