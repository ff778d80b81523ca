"""Engines pull through the cache, set up by `registry snippet`: what is cold, warm, moved, missing."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import engines
from tests.e2e.cache import ENGINES, Bed, caching
from tests.e2e.clients import Client
from tests.e2e.conftest import Builder, Require
from tests.e2e.engines import OUTSIDE, Crane, Ctr, Engine, kept_in, snippet
from tests.e2e.images import TAG, make_layout
from tests.e2e.serving import Server
from tests.e2e.taking import done
from tests.e2e.test_podman import with_store
from tests.e2e.upstreams import DEADLINE, DEBIAN, HUB, debian, ours
from tests.upstream.proxy import Fault

pytestmark = pytest.mark.e2e

WAYS = [(name, upstream) for name, (kind, _) in ENGINES.items() for upstream in kind.upstreams]


def repository_of(upstream: str, name: str) -> str:
    """One component at Docker Hub, which keeps it below library/."""
    return name if upstream == HUB else f"team/{name}"


def kept_as(upstream: str, name: str) -> str:
    return f"library/{name}" if upstream == HUB else f"team/{name}"


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory, require: Require) -> Iterator[Bed]:
    folder = tmp_path_factory.mktemp("bed")
    repositories = [kept_as(DEBIAN, name) for name in ENGINES]
    program = require("docker-registry")
    with (
        ours(folder / "ours") as hub,
        debian(program, folder / "debian", repositories) as other,
        caching(folder / "cache", hub, other) as made,
    ):
        yield made


@pytest.fixture(scope="module")
def mirrored_docker(bed: Bed, docker: Client, require: Require, scratch: Path) -> Iterator[Client]:
    """A docker command on an engine of its own, since mirrors are an engine's."""
    with engines.dockerd(require("dockerd"), bed.cache, scratch / "mirrored") as host:
        yield docker.within(DOCKER_HOST=host)


@pytest.fixture(scope="module")
def buildctl(bed: Bed, builder: Builder) -> Iterator[Client]:
    (text,) = snippet("buildkit", bed.cache.host).values()
    with builder("mirrored-buildkit", text, **OUTSIDE) as client:
        yield client


@pytest.fixture(params=WAYS, ids=lambda way: "-".join(way))
def way(request: pytest.FixtureRequest) -> tuple[str, str]:
    found: tuple[str, str] = request.param
    return found


@pytest.fixture
def engine(
    way: tuple[str, str], request: pytest.FixtureRequest, bed: Bed, tmp_path: Path
) -> Iterator[Engine]:
    _, take = ENGINES[way[0]]
    taken = take(request, bed.cache, tmp_path)
    taken.forget()
    yield taken
    taken.forget()


def test_an_image_is_fetched_once_and_stays(
    engine: Engine, way: tuple[str, str], bed: Bed, tmp_path: Path
) -> None:
    name, upstream = way
    origin, source = bed.origins[upstream], make_layout(tmp_path / "source")
    origin.push(kept_as(upstream, name), source)
    blobs = sorted(set(source.blobs) - {source.digest})

    done(engine.pull(upstream, repository_of(upstream, name)))
    assert engine.pulled() == engine.image(source)
    done(engine.pull(upstream, repository_of(upstream, name)))
    assert engine.pulled() == engine.image(source)
    assert set(origin.gets(*blobs).values()) == {1}

    with origin.off():
        done(engine.pull(upstream, repository_of(upstream, name)))
    assert engine.pulled() == engine.image(source)


def test_a_tag_that_moves(engine: Engine, way: tuple[str, str], bed: Bed, tmp_path: Path) -> None:
    name, upstream = way
    origin = bed.origins[upstream]
    before, after = make_layout(tmp_path / "before"), make_layout(tmp_path / "after")
    for source in (before, after):
        origin.push(kept_as(upstream, name), source, "moving")

        done(engine.pull(upstream, repository_of(upstream, name), "moving"))

        assert engine.pulled() == engine.image(source)


# Who has a way past the cache takes it, which here ends at once; the others say what the cache says.
PAST, MISSING = r"127\.0\.0\.1:1: connect: connection refused", r"not.?found|manifest.?unknown"
WORDS = {"docker": PAST, "docker-build": PAST, "ctr": PAST, "skopeo": PAST}
# podman and buildah are skopeo's library, and try again for seconds.
ASKING = [(name, HUB) for name in ENGINES if name not in ("podman", "buildah")]


@pytest.mark.parametrize("way", ASKING, ids=lambda way: way[0], indirect=True)
def test_what_is_nowhere(engine: Engine, way: tuple[str, str], bed: Bed) -> None:
    name, upstream = way
    told = engine.pull(upstream, repository_of(upstream, name), "nowhere")
    assert not told.ok
    assert re.search(WORDS.get(name, MISSING), told.text, re.IGNORECASE), told.text
    asked = [one for one in bed.cache.requests() if one["target"].split("?")[0].endswith("/nowhere")]
    assert asked
    assert {one["status"] for one in asked} == {404}


OTHER = "other.example"  # no upstream of the cache


def test_containerd_goes_on_where_the_cache_keeps_nothing(
    ctr: Client, bed: Bed, server: Server, require: Require, tmp_path: Path
) -> None:
    source = make_layout(tmp_path / "source")
    image = f"{server.host}/team/onwards:{TAG}"
    require("crane")("push", source.path, image)
    engine = Ctr(ctr, bed.cache, tmp_path)
    (text, _) = snippet("containerd", bed.cache.host, OTHER).values()
    (engine.hosts / OTHER).mkdir()
    (engine.hosts / OTHER / "hosts.toml").write_text(f'server = "http://{server.host}"\n{text}')

    done(engine.pull(OTHER, "team/onwards"))

    assert engine.pulled() == engine.image(source)
    engine.forget()


def test_podman_goes_on_where_the_cache_keeps_nothing(
    bed: Bed, server: Server, require: Require, scratch: Path, tmp_path: Path
) -> None:
    source = make_layout(tmp_path / "source")
    image = f"{server.host}/team/onwards:{TAG}"
    require("crane")("push", source.path, image)
    (text,) = snippet("podman", bed.cache.host, OTHER).values()
    moved = text.replace(f'location = "{OTHER}"', f'prefix = "{OTHER}"\nlocation = "{server.host}"', 1)
    (tmp_path / "registries.conf").write_text(
        moved.replace("[[registry.m", "insecure = true\n[[registry.m", 1)
    )
    podman = kept_in(with_store(require("podman"), scratch / "containers", "vfs"))
    podman = podman.within(CONTAINERS_REGISTRIES_CONF=str(tmp_path / "registries.conf"))
    podman("rmi", "--all", "--force")

    podman("pull", f"{OTHER}/team/onwards:{TAG}")

    assert podman("images", "--quiet")
    podman("rmi", "--all", "--force")


SIZE = 300_000
FAULTS = {
    "wrong bytes": Fault(flip=SIZE // 2),
    "cut": Fault(cut=SIZE // 2),
    "no answer": Fault(drop=True),
    "a 503": Fault(503),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_transfer_that_fails_once_does_no_harm(
    fault: str, bed: Bed, require: Require, tmp_path: Path
) -> None:
    engine, origin = Crane(require("crane"), bed.cache, tmp_path), bed.origins[DEBIAN]
    source = make_layout(tmp_path / "source", size=SIZE)
    origin.push("team/crane", source, "faulty")

    with origin.failing(FAULTS[fault], "/blobs/", times=1) as rule:
        first = engine.pull(DEBIAN, "team/crane", "faulty")
        assert rule.times == 0
        if not first.ok:
            done(engine.pull(DEBIAN, "team/crane", "faulty"))

    assert engine.pulled() == engine.image(source)


HUNG = 60  # seconds


def test_an_upstream_that_hangs_holds_nobody_up(ctr: Client, bed: Bed, tmp_path: Path) -> None:
    engine, origin = Ctr(ctr, bed.cache, tmp_path), bed.origins[DEBIAN]
    source = make_layout(tmp_path / "source")
    origin.push("team/ctr", source, "hung")
    done(engine.pull(DEBIAN, "team/ctr", "hung"))

    with origin.failing(Fault(delay=HUNG)):
        begun = time.monotonic()
        done(engine.pull(DEBIAN, "team/ctr", "hung"))
        assert time.monotonic() - begun < 3 * DEADLINE

    assert engine.pulled() == engine.image(source)
    engine.forget()
