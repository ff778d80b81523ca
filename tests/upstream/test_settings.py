"""What `[[upstream]]` tables and `mirror` say, and what they may not."""

import tomllib
from typing import Any

import pytest

from registry.kinds import Misfit
from registry.upstream.settings import MIRRORS, UPSTREAMS, Upstream, join_upstreams

TOML = """
[[upstream]]
name = "docker.io"
username = "alice"
password_file = "/etc/registry/hub"
default = true

[[upstream]]
name = "ghcr.io"
token_file = "/etc/registry/ghcr"
redirects = ["pkg-containers.githubusercontent.com", "CDN.example.com:443", "other.example:8443"]

[[upstream]]
name = "registry.corp:5000"
url = "https://10.0.0.7:5000/"
realms = ["auth.corp:8443"]
ca_file = "/etc/ssl/corp.pem"
library = true
"""
HUB = Upstream(
    "docker.io",
    "https://registry-1.docker.io",
    username="alice",
    password_file="/etc/registry/hub",
    realms=("auth.docker.io",),
    library=True,
    default=True,
)
GHCR = Upstream(
    "ghcr.io",
    "https://ghcr.io",
    token_file="/etc/registry/ghcr",
    redirects=("pkg-containers.githubusercontent.com", "cdn.example.com", "other.example:8443"),
)
CORP = Upstream(
    "registry.corp:5000",
    "https://10.0.0.7:5000",
    realms=("auth.corp:8443",),
    private=True,
    library=True,
    ca_file="/etc/ssl/corp.pem",
)


def test_entries_are_read() -> None:
    assert UPSTREAMS.check(tomllib.loads(TOML)["upstream"]) == (HUB, GHCR, CORP)
    assert UPSTREAMS.check(UPSTREAMS.read('[{name = "ghcr.io"}]')) == (
        Upstream("ghcr.io", "https://ghcr.io"),
    )
    assert UPSTREAMS.check([]) == ()


@pytest.mark.parametrize(
    ("url", "private"),
    [
        *(("https://10.1.2.3", True), ("http://localhost:5000", True), ("http://127.0.0.1:5000", True)),
        *(("https://[fd00::1]", True), ("https://1.1.1.1", False), ("https://corp.internal", False)),
    ],
)
def test_private_is_what_the_url_itself_names(url: str, private: bool) -> None:
    (found,) = _checked([{"name": "a", "url": url}])
    (other,) = _checked([{"name": "a", "url": url, "private": not private}])
    assert (found.private, other.private) == (private, not private)


@pytest.mark.parametrize(
    ("upstream", "repository", "remote"),
    [
        (HUB, "alpine", "library/alpine"),
        (HUB, "library/alpine", "library/alpine"),
        (HUB, "grafana/grafana", "grafana/grafana"),
        (GHCR, "alpine", "alpine"),
    ],
)
def test_the_rule_of_library(upstream: Upstream, repository: str, remote: str) -> None:
    assert upstream.remote(repository) == remote


@pytest.mark.parametrize(
    ("entry", "where", "expected"),
    [
        ({}, "entry 1", "name among its keys"),
        ({"name": "GHCR.io"}, "entry 1: name", "such as docker.io"),
        ({"name": "a/b"}, "entry 1: name", "such as docker.io"),
        ({"name": "a:0"}, "entry 1", "such as docker.io"),
        ({"name": "1.2"}, "entry 1", "such as docker.io"),
        ({"name": "a", "url": "ghcr.io"}, "entry 1: url", "no path"),
        ({"name": "a", "url": "https://a/v2"}, "entry 1: url", "no path"),
        ({"name": "a", "url": "https://u:p@a"}, "entry 1: url", "no path"),
        ({"name": "a", "url": "https://a?x"}, "entry 1: url", "no path"),
        ({"name": "a", "realms": "b"}, "entry 1: realms", "hosts"),
        ({"name": "a", "realms": ["https://b"]}, "entry 1: realms", "hosts"),
        ({"name": "a", "redirects": ["*"]}, "entry 1: redirects", "hosts"),
        ({"name": "a", "username": "u"}, "entry 1", "together with password"),
        ({"name": "a", "password": "s3cret"}, "entry 1", "together with password"),
        ({"name": "a", "username": "u", "token_file": "/t"}, "entry 1", "with nothing else"),
        ({"name": "a", "username": "u", "password": "s3cret", "token_file": "/t"}, "entry 1", "not both"),
        ({"name": "a", "username": "u:v", "password": "s3cret"}, "entry 1: username", "without a colon"),
        ({"name": "a", "username": "u", "password": "s3cret\n"}, "entry 1: password", "printable"),
        ({"name": "a", "username": "u", "pasword": "s3cret"}, "entry 1: pasword", "did you mean password"),
        (
            {"name": "a", "username": "u", "password": "s3cret", "url": "http://b"},
            "entry 1",
            "https, or http",
        ),
        ({"username": "u", "password": "s3cret"}, "entry 1", "name among its keys"),
        ("s3cret", "entry 1", "a table"),
    ],
)
def test_what_does_not_fit(entry: object, where: str, expected: str) -> None:
    with pytest.raises(Misfit) as raised:
        UPSTREAMS.check([entry])
    assert raised.value.where == where
    assert expected in raised.value.expected
    assert "s3cret" not in repr((raised.value, raised.value.value, raised.value.expected))


def test_the_short_form() -> None:
    read = MIRRORS.read("docker.io, ghcr.io=https://mirror.example:8443 registry.gitlab.com")
    assert MIRRORS.check(read) == (
        Upstream("docker.io", "https://registry-1.docker.io", realms=("auth.docker.io",), library=True),
        Upstream("ghcr.io", "https://mirror.example:8443"),
        Upstream("registry.gitlab.com", "https://registry.gitlab.com", realms=("gitlab.com",)),
    )


@pytest.mark.parametrize(
    "value", ["docker.io", [1], ["https://ghcr.io"], ["a="], ["a=b"], ["=https://a"], [""]]
)
def test_short_forms_that_do_not_fit(value: object) -> None:
    with pytest.raises(ValueError):
        MIRRORS.check(value)


@pytest.mark.parametrize(
    ("upstreams", "mirrors", "expected"),
    [
        ([{"name": "a"}, {"name": "a"}], [], "each upstream once"),
        ([{"name": "a"}], ["a"], "each upstream once"),
        ([], ["a", "a"], "each upstream once"),
        (
            [{"name": "a", "default": True}, {"name": "b", "default": True}],
            [],
            "one default at most, which a is",
        ),
    ],
)
def test_what_does_not_go_together(
    upstreams: list[dict[str, Any]], mirrors: list[str], expected: str
) -> None:
    with pytest.raises(Misfit) as raised:
        join_upstreams(_checked(upstreams), _checked(mirrors, short=True))
    assert expected in raised.value.expected


def test_docker_hub_in_the_short_form_is_what_plain_names_mean() -> None:
    mirrors = _checked(["ghcr.io", "docker.io"], short=True)
    assert [each.default for each in join_upstreams((), mirrors)] == [False, True]
    other = _checked([{"name": "corp.example", "default": True}])
    assert [each.default for each in join_upstreams(other, mirrors)] == [True, False, False]
    tables = _checked([{"name": "docker.io"}])
    assert [each.default for each in join_upstreams(tables, mirrors[:1])] == [False, False]


def _checked(value: object, *, short: bool = False) -> tuple[Upstream, ...]:
    found = (MIRRORS if short else UPSTREAMS).check(value)
    assert isinstance(found, tuple)
    return found
