"""Which upstream a name leads to, and by which name rights are asked for: a table."""

import pytest

from registry.access import ANONYMOUS, Action, Operation
from registry.cache.routing import NamespaceUnknown, Routing, Way
from registry.errors import Denied
from registry.names import RepositoryName
from registry.policies.upstream_names import UpstreamNames
from registry.upstream.settings import UPSTREAMS, Upstream

DEFAULT = ({"name": "docker.io", "default": True}, {"name": "ghcr.io"}, {"name": "corp.example:5000"})
NONE_DEFAULT = ({"name": "docker.io"}, {"name": "ghcr.io"})
LOCAL = ("team/*", "docker.io/ours/*", "ghcr.io/ours")


def routing(*tables: object, local: tuple[str, ...] = LOCAL) -> Routing:
    checked = UPSTREAMS.check(list(tables))
    assert isinstance(checked, tuple)
    upstreams = [each for each in checked if isinstance(each, Upstream)]
    return Routing(upstreams, local, "https://registry.example:8443")


def shown(way: Way) -> tuple[str, str | None, str | None]:
    """The names that rights are asked for; what is kept under which name; what was pushed under which."""
    return " ".join(way.names), way.remote.kept if way.remote else None, way.local


@pytest.mark.parametrize(
    ("name", "namespace", "expected"),
    [
        # Docker's registry-mirrors: the default upstream, then what was pushed.
        ("library/alpine", "", ("library/alpine", "@docker.io/library/alpine", "library/alpine")),
        ("alpine", "", ("alpine", "@docker.io/library/alpine", "alpine")),
        ("other/app", "", ("other/app", "@docker.io/other/app", "other/app")),
        ("team/app", "", ("team/app", None, "team/app")),
        # By path.
        (
            "docker.io/library/alpine",
            "",
            ("docker.io/library/alpine", "@docker.io/library/alpine", None),
        ),
        (
            "docker.io/alpine",
            "",
            ("docker.io/alpine docker.io/library/alpine", "@docker.io/library/alpine", None),
        ),
        ("ghcr.io/a/b/c", "", ("ghcr.io/a/b/c", "@ghcr.io/a/b/c", None)),
        ("ghcr.io/alpine", "", ("ghcr.io/alpine", "@ghcr.io/alpine", None)),
        ("docker.io/ours/app", "", ("docker.io/ours/app", None, "docker.io/ours/app")),
        ("ghcr.io/ours", "", ("ghcr.io/ours", None, "ghcr.io/ours")),
        ("ghcr.io/team/app", "", ("ghcr.io/team/app", "@ghcr.io/team/app", None)),
        # The name of an upstream alone is no repository of it.
        ("ghcr.io", "", ("ghcr.io", "@docker.io/library/ghcr.io", "ghcr.io")),
        # By namespace; whatever the path has, it is that registry's.
        ("library/alpine", "docker.io", ("docker.io/library/alpine", "@docker.io/library/alpine", None)),
        ("team/app", "docker.io", ("docker.io/team/app", "@docker.io/team/app", None)),
        ("ours/app", "docker.io", ("docker.io/ours/app", None, "docker.io/ours/app")),
        ("a/b", "corp.example:5000", ("corp.example:5000/a/b", "@corp.example:5000/a/b", None)),
        ("ghcr.io/a", "docker.io", ("docker.io/ghcr.io/a", "@docker.io/ghcr.io/a", None)),
        # By both.
        ("ghcr.io/a/b", "ghcr.io", ("ghcr.io/a/b", "@ghcr.io/a/b", None)),
        # This registry itself, by the names that it goes by.
        ("team/app", "registry.example:8443", ("team/app", None, "team/app")),
        ("team/app", "localhost:5001", ("team/app", None, "team/app")),
        ("team/app", "127.0.0.1:5001", ("team/app", None, "team/app")),
        ("team/app", "[::1]:5001", ("team/app", None, "team/app")),
        ("team/app", "k3d-registry.localhost:5000", ("team/app", None, "team/app")),
        ("a/b", "localhost", ("a/b", "@docker.io/a/b", "a/b")),
    ],
)
def test_where_a_name_leads(name: str, namespace: str, expected: tuple[str, str | None, str | None]) -> None:
    assert shown(routing(*DEFAULT).find(RepositoryName(name), namespace)) == expected


@pytest.mark.parametrize(
    "namespace",
    ["quay.io", "DOCKER.IO", "registry.example", "169.254.169.254", "[::1", "localhost.evil.example"],
)
def test_another_namespace_is_nobodys(namespace: str) -> None:
    with pytest.raises(NamespaceUnknown, match="not kept here"):
        routing(*DEFAULT).find(RepositoryName("a/b"), namespace)


def test_without_a_default_plain_names_are_our_own() -> None:
    found = routing(*NONE_DEFAULT)
    assert shown(found.find(RepositoryName("library/alpine"))) == ("library/alpine", None, "library/alpine")
    assert shown(found.find(RepositoryName("ghcr.io/a"))) == ("ghcr.io/a", "@ghcr.io/a", None)


@pytest.mark.parametrize(("name", "namespace"), [("docker.io/a", ""), ("a", "docker.io"), ("a", "quay.io")])
def test_without_upstreams_nothing_else_changes(name: str, namespace: str) -> None:
    assert shown(Routing().find(RepositoryName(name), namespace)) == (name, None, name)


@pytest.mark.parametrize("action", [Action.PUSH, Action.MOVE, Action.DELETE])
@pytest.mark.parametrize(
    ("name", "denied"),
    [
        *(("docker.io/a/b", True), ("docker.io/alpine", True), ("ghcr.io/a", True)),
        *(("docker.io/ours/app", False), ("library/alpine", False), ("team/app", False), ("ghcr.io", False)),
    ],
)
def test_nothing_is_pushed_under_an_upstreams_name(action: Action, name: str, denied: bool) -> None:
    policy = UpstreamNames(routing(*DEFAULT))
    operation = Operation(action, RepositoryName(name))
    if not denied:
        policy.allow(ANONYMOUS, operation)
        return
    with pytest.raises(Denied, match=f"{name} comes from .* list this one in `local`"):
        policy.allow(ANONYMOUS, operation)


@pytest.mark.parametrize(
    "operation", [Operation(Action.PULL, RepositoryName("docker.io/a/b")), Operation(Action.LIST)]
)
def test_everything_else_is_not_the_policys_matter(operation: Operation) -> None:
    UpstreamNames(routing(*DEFAULT)).allow(ANONYMOUS, operation)
