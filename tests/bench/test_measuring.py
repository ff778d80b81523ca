"""Each measurement against a live server, small: they check what they are answered."""

import asyncio
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import process, small, transfers
from bench.__main__ import main
from bench.contents import MANY, Sizes
from bench.crowd import Crowd
from bench.fill import make
from bench.kinds import KINDS, find
from bench.payloads import Payload, make_payloads
from bench.pulling import Puller
from bench.pushing import push, push_image
from bench.scale import cases, measure, table
from bench.scenario import REPOSITORY, Material
from bench.servers import Failed, Running, started
from bench.tls import make_certificate, pull_undecrypted
from registry.fsck import read
from storage.check import check
from storage.store import open_store

SIZES = Sizes(tags=400, repositories=300, referrers=250, links=900, held=40)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    found = find(KINDS[0])
    assert found
    with started(found, tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="module")
def payloads(tmp_path_factory: pytest.TempPathFactory) -> list[Payload]:
    # Neither a whole number of chunks nor of gathered chunks.
    return make_payloads(tmp_path_factory.mktemp("payloads"), 3 * 2**20 + 12_345, 3)


def test_payloads_differ_and_have_their_digests(payloads: list[Payload]) -> None:
    whole = payloads[0].path.read_bytes()
    assert f"sha256:{hashlib.sha256(whole).hexdigest()}" == payloads[0].digest
    assert len({payload.digest for payload in payloads}) == 3
    assert {payload.size for payload in payloads} == {len(whole)}


@pytest.mark.parametrize("chunked", [False, True], ids=["whole", "chunked"])
def test_what_is_pushed_is_pulled(server: Running, payloads: list[Payload], chunked: bool) -> None:
    payload = payloads[1 + chunked]
    repository = "bench/chunked" if chunked else "bench/whole"
    push(server, repository, payload, chunked=chunked)
    hasher = hashlib.sha256()
    target = f"/v2/{repository}/blobs/{payload.digest}"
    with Puller(server) as puller:
        assert puller.get(target, see=hasher.update) == payload.size
        assert f"sha256:{hasher.hexdigest()}" == payload.digest
        assert puller.get(target, span=(5, 2**20)) == 2**20 - 4


def test_a_pull_of_what_is_not_there_fails(server: Running) -> None:
    with Puller(server) as puller, pytest.raises(Failed, match="404"):
        puller.get(f"/v2/{REPOSITORY}/blobs/sha256:{'0' * 64}")


def test_pulls_through_tls_are_measured(payloads: list[Payload], tmp_path: Path) -> None:
    found = find(next(kind for kind in KINDS if kind.name == "ours 2w"))
    assert found
    for _ in range(2):
        rows = transfers.measure_tls_pulls(found, tmp_path, Material(payloads[0], tuple(payloads), 1))
        assert rows["pull, 8 streams, TLS"]["wall"] > 0
    with (
        started(found, tmp_path, tls=make_certificate(tmp_path)) as server,
        pytest.raises(Failed, match="404"),
    ):
        pull_undecrypted(server, f"/v2/{REPOSITORY}/blobs/sha256:{'0' * 64}")


def test_the_floor_is_measured(payloads: list[Payload], tmp_path: Path) -> None:
    figures = transfers.floor(tmp_path, payloads[0])
    assert figures["cpu"] > 0
    assert figures["wall"] > 0


def test_heads_are_counted_and_refusals_fail(server: Running) -> None:
    push_image(server, REPOSITORY, small.IMAGE, ["v0"])
    target = f"/v2/{REPOSITORY}/manifests/v0"
    counted = small.load_head(server, target, 1)
    assert counted["rate"] > small.CONNECTIONS
    assert 0 < counted["p99"] < 5
    with pytest.raises(Failed, match="404"):
        small.load_head(server, target + "-absent", 1)


def test_a_crowd_pulls_and_pushes(server: Running, payloads: list[Payload]) -> None:
    push(server, REPOSITORY, payloads[0])

    async def meet(target: str) -> Crowd:
        crowd = Crowd(server.port, target, 2**16, 0)
        await crowd.start(5, 3)
        for _ in range(200):
            await asyncio.sleep(0.05)
            if crowd.tally.pushed >= 3 or crowd.tally.failures:
                break
        await crowd.stop()
        return crowd

    tally = asyncio.run(meet(f"/v2/{REPOSITORY}/blobs/{payloads[0].digest}")).tally
    assert tally.failures == []
    assert tally.pulling == 5
    assert tally.pushed >= 3
    failed = asyncio.run(meet(f"/v2/{REPOSITORY}/blobs/sha256:{'0' * 64}")).tally
    assert len(failed.failures) == 5


def test_a_filled_root_is_sound_and_has_its_pages(tmp_path: Path) -> None:
    make(tmp_path, SIZES)
    make(tmp_path, SIZES)  # is there already
    with pytest.raises(SystemExit):
        make(tmp_path, Sizes())
    store = open_store(str(tmp_path / "root"))
    try:
        report = asyncio.run(check(store, read=read))
        tags = asyncio.run(store.names.listings.tags(MANY, after="", limit=1000))
    finally:
        store.close()
    assert report.findings == []
    assert (report.unreferenced, report.repositories, len(tags)) == (0, SIZES.repositories + 2, SIZES.tags)
    found = find(KINDS[0])
    assert found
    with started(found, tmp_path) as server:
        taken = measure(server.port, cases(SIZES), 3)
        with pytest.raises(Failed):  # the pages of another root are not taken for these
            measure(server.port, cases(Sizes(tags=800)), 1)
    assert {len(seconds) for seconds in taken.values()} == {3}
    assert len(table(cases(SIZES), taken)) == len(cases(SIZES)) + 2


def test_memory_and_start(payloads: list[Payload], tmp_path: Path) -> None:
    kind = next(kind for kind in KINDS if kind.name == "ours nosync")
    found = find(kind)
    assert found
    material = Material(payloads[0], tuple(payloads), 1)
    memory = process.measure_memory(found, tmp_path, material)
    sizes = [figures["memory"] for figures in memory.values()]
    assert all(5 < size < 500 for size in sizes)
    assert sizes[0] <= sizes[1]
    start = process.measure_start(found, tmp_path, material)
    assert all(0.02 < figures["wall"] < 30 for figures in start.values())


def test_a_whole_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = tmp_path / "bench.json"
    short = ["--rounds", "2", "--size-mib", "1", "--servers", "ours nosync,floor", "--only", "push"]
    assert main([*short, "--json", str(result)]) == 0
    run = json.loads(result.read_text())
    assert run["failures"] == []
    assert set(run["rounds"]) == {"push"}
    assert {name: len(rounds) for name, rounds in run["rounds"]["push"].items()} == {
        "ours nosync": 2,
        "floor": 2,
    }
    assert [path.name for path in tmp_path.iterdir()] == ["bench.json"]
    capsys.readouterr()
    assert main(["--read", str(result)]) == 0
    assert "| push " in capsys.readouterr().out
