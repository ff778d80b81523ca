"""What `[[quota]]` entries say, and which limits a repository has by them."""

import tomllib

import pytest

from registry.config import load
from registry.quotas import QUOTA, UPLOADS, Quota, limits_of
from registry.settings import ConfigError
from storage.quotas import Limit

HOME = {"HOME": "/home/ann"}
GIB = 2**30
TOML = """
[[quota]]
bytes = "2TB"

[[quota]]
repositories = ["ci/*", "cache/*"]
bytes = "50GiB"
uploads = 500

[[quota]]
repositories = ["ci/*"]
each = true
tags = 1000
uploads = 50
"""
ENTRIES = (
    Quota(bytes=2 * 10**12),
    Quota(("ci/*", "cache/*"), bytes=50 * GIB, uploads=500),
    Quota(("ci/*",), each=True, tags=1000, uploads=50),
)


def test_entries_are_read() -> None:
    assert QUOTA.check(tomllib.loads(TOML)["quota"]) == ENTRIES


EVERYTHING = Limit("the registry", bytes=2 * 10**12)
TOGETHER = Limit("ci/*, cache/* together", ("ci/*", "cache/*"), bytes=50 * GIB, uploads=500)


@pytest.mark.parametrize(
    ("repository", "limits"),
    [
        ("ci/app", [EVERYTHING, TOGETHER, Limit("ci/app", ("ci/app",), tags=1000, uploads=50)]),
        ("cache/a/b", [EVERYTHING, TOGETHER, Limit("cache/a/b", ("cache/a/b",), uploads=UPLOADS)]),
        ("prod", [EVERYTHING, Limit("prod", ("prod",), uploads=UPLOADS)]),
    ],
)
def test_every_entry_that_matches_holds(repository: str, limits: list[Limit]) -> None:
    assert limits_of(ENTRIES, repository) == limits


def test_without_entries_sessions_are_limited_all_the_same() -> None:
    assert limits_of((), "a") == [Limit("a", ("a",), uploads=1000)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[{repositories = ['ci/*']}]", r"entry 1 = .*expected at least one of the keys bytes, tags and"),
        ("[{bytes = '50 GiB of it'}]", r"entry 1: bytes = '50 GiB of it'.*such as \"500MB\" or \"50GiB\""),
        ("[{bytes = -1}]", "entry 1: bytes = -1"),
        ("[{bytes = 1, tags = true}]", "entry 1: tags = True.*whole number"),
        ("[{bytes = 1, repositories = 'ci/*'}]", "entry 1: repositories.*a list of patterns"),
        ("[{bytes = 1, repositories = ['CI']}]", "entry 1: repositories.*a list of patterns"),
        ("[{byte = 1}]", r"entry 1: byte = 1.*did you mean bytes\?"),
        ("[1]", "entry 1 = 1.*a table with keys out of repositories, each"),
        ("5", r"quota = 5 \(environment REGISTRY_QUOTA\): expected tables such as \[\[quota\]\]"),
    ],
)
def test_mistakes(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load({}, {**HOME, "REGISTRY_QUOTA": text})
