"""`registry cache`: figures for people and programs, and what is removed beside what stays."""

import asyncio
import json
import time
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from registry.__main__ import cli
from registry.cache.figures import ASKED, ERROR, FAILED, FETCHED, HIT, MISS, NEGATIVE, SERVED, STALE
from registry.cli.cache import Cache, Status, report
from registry.upstream.settings import Upstream
from storage.digest import Digest
from storage.figures import Counts, State, Tally, add
from storage.stock import Stock
from storage.store import Store, open_store
from tests.storage.fetching import fetch_image
from tests.storage.pushing import edge, push_blob, push_manifest

HUB, QUAY = "docker.io", "quay.io"
NOW = 10**9
SHARED, OWN = bytes(40_000), bytes(2_000)
PUSHED, FIRST, SECOND, THIRD = b"pushed", b"first", b"second", b"third"
COUNTS: Counts = {
    (HUB, HIT): 1996,
    (HUB, MISS): 2,
    (HUB, STALE): 1,
    (HUB, NEGATIVE): 0,
    (HUB, ERROR): 1,
    (HUB, SERVED): 5_000_000,
    (HUB, FETCHED): 1_000_000,
    (HUB, ASKED): 10,
    (HUB, FAILED): 3,
}


@pytest.fixture
def root(tmp_path: Path) -> str:
    return filled(tmp_path)


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> str:
    """For tests that change nothing."""
    root = filled(tmp_path_factory.mktemp("cache"))
    with closing(open_store(root, durable=False)) as store:
        asyncio.run(add(store.database, COUNTS, {HUB: State(answered=5)}, 3))
    return root


def filled(folder: Path) -> str:
    """A pushed image; of docker.io two, one with the pushed one's layer; of quay.io one with it, too."""
    root = str(folder / "root")
    with closing(open_store(root, durable=False)) as store:
        asyncio.run(_fill(store))
    return root


async def _fill(store: Store) -> None:
    await push_blob(store, "team/app", SHARED)
    await push_manifest(store, "team/app", PUSHED, [edge(SHARED)], ["x"])
    await fetch_image(store, "@docker.io/library/a", FIRST, [SHARED, OWN], ["1", "2"])
    await fetch_image(store, "@docker.io/library/b", SECOND, [OWN], ["1"])
    await fetch_image(store, "@quay.io/c", THIRD, [SHARED])


def run(root: str, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["cache", *arguments, "--root", root], prog_name="registry")


def status(counts: Counts, state: State) -> Status:
    """Of Docker Hub, counted for a day."""
    tally = Tally({what: count for (_, what), count in counts.items()}, NOW - 86_400, state)
    return Status(HUB, Upstream(HUB, "https://hub.example", size=10**7), Stock(2, 3, 2, 2_000), tally)


def test_status_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW)
    hub = status(COUNTS, State(answered=NOW - 7200))
    quay = Status(QUAY, None, Stock(1, 0, 1, 5), None)
    assert report(Cache([hub, quay], Stock(3, 3, 3, 2_000), 10**9)).splitlines() == [
        "docker.io (https://hub.example)",
        "  kept      2.0 kB of 10.0 MB in 2 repositories with 3 tags",
        "  answers   99.9 % of 2,000 from here in 1d 0h: hit 1,996, miss 2, stale 1, error 1",
        "  saved     1,990 requests, 4.0 MB of 5.0 MB served",
        "  upstream  answered 2h 0m ago; 10 requests to it, 3 of them failed",
        "",
        "quay.io (not in these settings)",
        "  kept      5 B in 1 repositories with 0 tags",
        "",
        "kept of all: 2.0 kB of 1.0 GB in 3 repositories with 3 tags",
    ]


@pytest.mark.parametrize(
    ("state", "says"),
    [
        (State(), "not asked yet; 1 requests"),
        (State(None, NOW - 60, "it answered 500"), "fails: it answered 500 (1m 0s ago); 1"),
        (State(NOW - 90, NOW - 60, "500"), "fails: 500 (1m 0s ago); 1"),
        (State(NOW - 60, NOW - 90, "500"), "answered 1m 0s ago; failed 1m 30s ago: 500; 1"),
        (State(None, NOW, "429", NOW + 9_000), "left alone for 2h 30m; 1"),
        (State(NOW - 60, resting=NOW - 30), "answered 1m 0s ago; 1"),
    ],
)
def test_how_an_upstream_is(monkeypatch: pytest.MonkeyPatch, state: State, says: str) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW)
    found = [status({(HUB, ASKED): 1}, state)]
    assert says in report(Cache(found, Stock(0, 0, 0, 0)))
    assert "upstream  not asked: offline; 1" in report(Cache(found, Stock(0, 0, 0, 0), offline=True))


def test_status_for_programs(read: str) -> None:
    found = json.loads(run(read, "status", "--mirror", "ghcr.io", "--cache-size", "1GB", "--json").stdout)
    assert [each["name"] for each in found["upstreams"]] == ["docker.io", "ghcr.io", "quay.io"]
    assert found["upstreams"][0] == {
        "name": "docker.io",
        "url": None,
        "repositories": 2,
        "tags": 3,
        "manifests": 2,
        "bytes": len(OWN + FIRST + SECOND),
        "budget": None,
        "since": 3,
        "requests": {"hit": 1996, "miss": 2, "stale": 1, "negative": 0, "error": 1},
        "hit_rate": 0.9985,
        "bytes_served": 5_000_000,
        "bytes_fetched": 1_000_000,
        "bytes_saved": 4_000_000,
        "upstream_requests": 10,
        "upstream_requests_saved": 1990,
        "upstream_failures": 3,
        "state": {"answered": 5, "failed": None, "why": "", "resting": None},
    }
    ghcr = found["upstreams"][1]
    assert (ghcr["url"], ghcr["bytes"], ghcr["hit_rate"]) == ("https://ghcr.io", 0, None)
    assert found["total"] == {
        "repositories": 3,
        "tags": 3,
        "manifests": 3,
        "bytes": len(OWN + FIRST + SECOND + THIRD),
        "budget": 10**9,
    }


def test_what_cost_more_than_it_saved_saved_nothing() -> None:
    found = status({(HUB, MISS): 1, (HUB, ASKED): 2, (HUB, FETCHED): 9, (HUB, SERVED): 1}, State())
    assert (found.hit_rate, found.saved_requests, found.saved_bytes) == (0, 0, 0)


def test_status_of_the_root(read: str) -> None:
    result = run(read, "status", "--mirror", "docker.io")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("docker.io (https://registry-1.docker.io)\n  kept      2.0 kB")


def test_status_of_nothing() -> None:
    assert report(Cache([], Stock(0, 0, 0, 0))).startswith("no upstream is set")


def here(root: str) -> set[bytes]:
    contents = (PUSHED, FIRST, SECOND, THIRD, SHARED, OWN)
    with closing(open_store(root, durable=False)) as store:
        return {each for each in contents if store.blobs.size(Digest.of(each)) is not None}


@pytest.mark.parametrize(
    ("arguments", "stays"),
    [
        (["docker.io"], {PUSHED, SHARED, THIRD}),
        (["quay.io"], {PUSHED, SHARED, FIRST, SECOND, OWN}),
        (["--all"], {PUSHED, SHARED}),
    ],
)
def test_clear(root: str, tmp_path: Path, arguments: list[str], stays: set[bytes]) -> None:
    trail = tmp_path / "audit.log"
    (tmp_path / "registry.toml").write_text(f'audit_log = "{trail}"\n')
    before = here(root)
    looked = run(root, "clear", "--dry-run", *arguments)
    assert (looked.exit_code, looked.stdout.startswith("would remove ")) == (0, True)
    assert here(root) == before
    result = run(root, "clear", *arguments, "--config", str(tmp_path / "registry.toml"))
    assert (result.exit_code, result.stdout.startswith("removed ")) == (0, True)
    assert here(root) == stays
    again = run(root, "clear", *arguments)
    assert (again.exit_code, again.stdout) == (1, "")
    assert "is kept here" in again.stderr
    (line,) = map(json.loads, trail.read_text().splitlines())
    assert (line["audit"], line["what"]) == ("delete", "cache")
    assert line["repository"] == ("*" if arguments == ["--all"] else arguments[0])


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["clear"], 2, "name an upstream, or give --all"),
        (["clear", "docker.io", "--all"], 2, "name an upstream, or give --all"),
        (["clear", "ghcr.io"], 1, "nothing of ghcr.io is kept here, only of docker.io, quay.io"),
        (["clear", "team"], 1, "nothing of team is kept here"),
    ],
)
def test_mistakes(read: str, arguments: list[str], code: int, says: str) -> None:
    result = run(read, *arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert says in result.stderr
