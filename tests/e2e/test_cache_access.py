"""Who may pull what a cache keeps: rights are by REGISTRY/NAME, and engines find their way to a login."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cache import ENGINES, Bed, caching
from tests.e2e.clients import Client
from tests.e2e.conftest import Builder
from tests.e2e.engines import OUTSIDE, Engine, snippet
from tests.e2e.guarded import password_of, write_users
from tests.e2e.images import Layout, make_layout
from tests.e2e.taking import done, refused
from tests.e2e.upstreams import HUB, ours

pytestmark = pytest.mark.e2e

# Docker sends no login to a mirror; podman and buildah are skopeo's library, and try again for seconds.
CLIENTS = ("ctr", "skopeo", "buildkit", "crane", "oras")
RULES = """
[[access]]
repositories = ["docker.io/library/*"]
users = ["alice"]
actions = ["pull"]
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    return make_layout(tmp_path_factory.mktemp("source") / "layout")


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory, source: Layout) -> Iterator[Bed]:
    folder = tmp_path_factory.mktemp("bed")
    write_users(folder / "users", {user: password_of(user) for user in ("alice", "bob")})
    more = f'htpasswd = "{folder}/users"\n{RULES}'
    with ours(folder / "ours") as hub, caching(folder / "cache", hub, more=more) as made:
        hub.push("library/app", source)
        yield made


@pytest.fixture(scope="module")
def buildctl(bed: Bed, builder: Builder) -> Iterator[Client]:
    (text,) = snippet("buildkit", bed.cache.host).values()
    with builder("guarded-buildkit", text, **OUTSIDE) as client:
        yield client


@pytest.fixture(params=CLIENTS)
def engine(request: pytest.FixtureRequest, bed: Bed, tmp_path: Path) -> Iterator[Engine]:
    _, take = ENGINES[request.param]
    taken = take(request, bed.cache, tmp_path)
    yield taken
    taken.forget()


def test_who_may_pull_does(engine: Engine, source: Layout) -> None:
    assert not engine.pull(HUB, "library/app").ok
    engine.log_in("alice", password_of("alice"))

    done(engine.pull(HUB, "library/app"))

    assert engine.pulled() == engine.image(source)


# BuildKit goes on with the token that somebody else's build has brought it.
@pytest.mark.parametrize("engine", [name for name in CLIENTS if name != "buildkit"], indirect=True)
def test_who_may_not_pull_does_not(engine: Engine) -> None:
    engine.log_in("bob", password_of("bob"))
    refused(engine.pull(HUB, "library/app"), "forbidden", "bob may not pull docker.io/library/app", "denied")
