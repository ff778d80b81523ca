"""Power cuts: on real file systems at every call, and by what was synced, in every way that POSIX allows.

The first cannot see all: on ext4 and XFS any fsync makes all earlier names durable too. The second cannot
see what a file system does wrong. Neither sees a disk that lies about its cache.
"""

import random
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path

import pytest

from tests.crash import tiers
from tests.crash.disks import Disk, disk
from tests.crash.ledger import Client, Ledger, losses
from tests.crash.lives import lose_unsynced_of_a_life
from tests.crash.operations import OPERATIONS
from tests.crash.power import cut_power
from tests.crash.replay import lose_unsynced
from tests.crash.sweep import Report, Submit
from tests.crash.test_live_server import CLIENTS, SLOW, fsck, server
from tests.crash.tiers import pick

pytestmark = [pytest.mark.crash, pytest.mark.timeout(pick(ci=300, soak=3600))]

EXT4 = tiers.pick(ci=60, soak=1_000)
XFS = tiers.pick(ci=20, soak=300)
CUTS = {"ext4": EXT4, "xfs": XFS}
LIVE_DISK = pick(ci=0, soak=2**30)  # bytes: the clients of 150 cuts filled 128 MiB
LIVE = {"ext4": pick(ci=3, soak=150), "xfs": pick(ci=2, soak=50)}
ACKED = 20  # writes before each of these cuts, at least
STATES, STATES_OF_A_LIFE = pick(ci=60, soak=7_000), pick(ci=120, soak=40_000)  # at most: some have few
SECONDS, SECONDS_OF_A_LIFE = pick(ci=100, soak=330), pick(ci=100, soak=1_800)  # at most, for one of them
ALL_STATES = tiers.pick(ci=1_000, soak=30_000)  # at least

SEED = tiers.seed()

Say = Callable[[str], None]


@pytest.fixture(scope="module")
def cuts(submit: Submit) -> Callable[[str], Report]:
    """The report for a kind of file system; the first call begins those of all."""
    begun = {kind: submit(cut_power, kind, number, SEED) for kind, number in CUTS.items()}
    return lambda kind: begun[kind].result()


@pytest.fixture(scope="module")
def life(strace: None, submit: Submit) -> Future[Report]:
    return submit(lose_unsynced_of_a_life, STATES_OF_A_LIFE, SEED, SECONDS_OF_A_LIFE)


@pytest.fixture(scope="module")
def replays(life: Future[Report], submit: Submit) -> Mapping[str, Future[Report]]:
    """Of each operation; that of a life was begun first, for it is the longest."""
    return {name: submit(lose_unsynced, name, STATES, SEED, SECONDS) for name in OPERATIONS}


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("kind", CUTS)
def test_cut_at_any_call(cuts: Callable[[str], Report], say: Say, kind: str) -> None:
    report = cuts(kind)
    say(
        f"power cuts on {kind} at calls of {len(OPERATIONS)} operations and after their answers,"
        f" CRASH_SEED={SEED}: {report.cases} cuts, {report.acked} after the answer; lost, dangling,"
        f" half-visible or unrepeatable: {len(report.problems)}"
    )
    assert not report.problems, "\n".join(report.problems[:20])
    assert report.cases == CUTS[kind]
    assert report.cases // 2 <= report.acked < report.cases


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("kind", LIVE)
def test_cut_below_a_live_server(tmp_path: Path, say: Say, kind: str) -> None:
    moments, ledger = random.Random(SEED), Ledger()
    clients = [Client("", number, ledger, random.Random(f"{SEED}/{number}")) for number in range(CLIENTS)]
    lost, refused = [], 0
    with disk(str(tmp_path), kind, LIVE_DISK) as device:
        root = Path(device.mount) / "root"
        for number in range(LIVE[kind]):
            with server(root, workers=1) as (_, host):
                lost += losses(host, ledger)
                seconds, enough = moments.uniform(0.2, 0.8), ACKED * (number + 1)
                refused += push_and_cut(device, host, clients, seconds, enough)
            device.restart()
        with server(root, workers=1) as (_, host):
            lost += losses(host, ledger, everything=True)
        found = fsck(root)
    acked = sum(ledger.acked.values())
    say(
        f"power cuts on {kind} below a server, CRASH_SEED={SEED}: {LIVE[kind]} cuts, {acked} writes"
        f" acknowledged, {len(ledger.legal)} names read; lost or wrong: {len(lost)}, refused: {refused}"
    )
    assert not lost, "\n".join(lost[:20])
    assert not found, "\n".join(found[:20])
    assert not refused, "\n".join(ledger.refused[:20])
    assert acked >= ACKED * LIVE[kind]


def push_and_cut(device: Disk, host: str, clients: list[Client], seconds: float, enough: int) -> int:
    """How many writes were refused while there was power, until `enough` had been acknowledged."""
    ledger = clients[0].ledger
    ledger.refused.clear()
    ledger.dark = False
    for client in clients:
        client.host = host
    threads = [threading.Thread(target=client.push_until_cut) for client in clients]
    for thread in threads:
        thread.start()
    threads[0].join(seconds)
    ledger.await_acked(enough, threads, SLOW)
    refused = len(ledger.refused)
    ledger.darken()
    device.cut()
    for thread in threads:
        thread.join()
    return refused


@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_was_not_synced(replays: Mapping[str, Future[Report]], operation: str) -> None:
    report = replays[operation].result()
    assert not report.problems, "\n".join(report.problems[:20])
    assert report.cases >= 4
    assert report.acked >= 1


def test_what_was_not_synced_in_a_whole_life(life: Future[Report], say: Say) -> None:
    report = life.result()
    say(
        f"the same of a root from its first start on: {report.calls} calls, {report.cases} states,"
        f" {report.acked} of them with something acknowledged; lost or unusable: {len(report.problems)}"
    )
    assert not report.problems, "\n".join(report.problems[:20])
    assert report.cases > report.acked >= report.cases // 6  # of 120 states, 24 to 73 with 150 seeds


def test_what_was_not_synced_in_total(
    replays: Mapping[str, Future[Report]], life: Future[Report], say: Say
) -> None:
    reports = [replay.result() for replay in replays.values()]
    states = sum(report.cases for report in reports)
    say(
        f"states that a power cut may leave by what was synced, CRASH_SEED={SEED}: {len(reports)} operations,"
        f" {states} states, {sum(report.acked for report in reports)} of them acknowledged; lost, dangling,"
        f" half-visible or unrepeatable: {sum(len(report.problems) for report in reports)}"
    )
    assert states + life.result().cases >= ALL_STATES
