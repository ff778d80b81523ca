"""The arithmetic between the kernel's figures and the verdicts."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

import pytest

from bench.accounting import Meter, field_mib, machine_seconds, resident, tree, tree_seconds
from bench.kinds import KINDS
from bench.latency import quantile
from bench.pulling import content_length
from bench.report import aligned, table
from bench.scenario import PEERS
from bench.servers import Failed
from bench.targets import FASTEST, FASTEST_SYNCING, TARGETS, Target, judge
from bench.tls import Records

TICK = os.sysconf("SC_CLK_TCK")
BUSY = "import time\nend = time.process_time() + 0.4\nwhile time.process_time() < end: pass\n"
NESTED = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {BUSY!r}])\ninput()\n"


def walls(**servers: Sequence[float]) -> Mapping[str, Mapping[str, Sequence[Mapping[str, float]]]]:
    return {"pull": {name: [{"wall": value} for value in values] for name, values in servers.items()}}


@pytest.mark.parametrize(
    ("target", "rounds", "peer", "ratio", "met"),
    [
        (Target("pull", "wall", "olareg", 1.0), walls(ours=[3, 1, 2], olareg=[2, 9, 1]), "olareg", 1.0, True),
        (Target("pull", "wall", "olareg", 0.9), walls(ours=[2], olareg=[2]), "olareg", 1.0, False),
        (Target("pull", "wall", FASTEST, 1.0), walls(ours=[3], olareg=[2], zot=[6]), "olareg", 1.5, False),
        (
            Target("pull", "wall", FASTEST_SYNCING, 1.0),
            walls(ours=[3], olareg=[2], distribution=[4]),
            "distribution",
            0.75,
            True,
        ),
        (Target("pull", "wall", FASTEST, 1.0), walls(ours=[3], nginx=[1]), FASTEST, None, None),
        (Target("pull", "wall", "olareg", 1.0), walls(olareg=[1]), "olareg", None, None),
    ],
)
def test_judge(
    target: Target,
    rounds: Mapping[str, Mapping[str, Sequence[Mapping[str, float]]]],
    peer: str,
    ratio: float | None,
    met: bool | None,
) -> None:
    outcome = judge(rounds, target)
    assert (outcome.peer, outcome.ratio) == (peer, ratio)
    verdict = {True: "met", False: "MISSED", None: "not measured"}[met]
    assert outcome.text.endswith(verdict)


def test_of_a_rate_more_is_better() -> None:
    target = Target("blob HEAD", "rate", "olareg", 1.0)
    assert target.met(1.2)
    assert not target.met(0.8)
    assert not Target("pull", "wall", "olareg", 1.0).met(1.2)


def test_targets_name_kinds() -> None:
    names = {kind.name for kind in KINDS}
    assert set(PEERS) < names
    assert {target.ours for target in TARGETS} < names
    assert {target.peer for target in TARGETS} - names == {FASTEST, FASTEST_SYNCING}


def test_the_table_has_medians_ratios_and_verdicts() -> None:
    head, _, row = table(walls(ours=[1, 5, 3], olareg=[6]), {"pull": "ours"})
    assert [cell.strip() for cell in head.split("|")[3:-1]] == ["ours", "olareg", "must show"]
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    assert cells == ["pull", "wall", "3.00 s", "6.00 s (0.50)", "≤ 1 the fastest peer (olareg): 0.50 met"]


def test_aligned_lines_are_equally_long() -> None:
    lines = aligned([["", "b"], ["a long one", "µ"]])
    assert len({len(line) for line in lines}) == 1


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1), (0.5, 51), (0.99, 100), (1.0, 100)], ids=["least", "p50", "p99", "most"]
)
def test_quantile(share: float, expected: float) -> None:
    assert quantile([float(number) for number in range(100, 0, -1)], share) == expected


def test_machine_seconds_leave_out_idle_waiting_and_stolen_time() -> None:
    stat = "cpu  100 20 300 9999 9999 4 5 9999 9999 9999\ncpu0 1 1 1 1 1 1 1 1 1 1\n"
    assert machine_seconds(stat) == pytest.approx(429 / TICK)


def test_a_tree_has_its_living_and_its_ended_processes() -> None:
    with subprocess.Popen([sys.executable, "-c", NESTED], stdin=subprocess.PIPE) as process:
        deadline = time.monotonic() + 30
        while tree_seconds(process.pid) < 0.4 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert tree_seconds(process.pid) >= 0.4
        assert process.pid in tree(os.getpid())
        assert resident(process.pid) > 1
        process.communicate(b"\n")


def test_a_meter_counts_the_block_alone() -> None:
    with Meter(os.getpid()) as meter:
        end = time.process_time() + 0.2
        while time.process_time() < end:
            pass
    assert meter.figures["client"] == pytest.approx(meter.figures["cpu"], abs=0.1)
    assert 0.15 <= meter.figures["cpu"] <= meter.figures["machine"] + 0.1


def test_field_mib() -> None:
    assert field_mib("VmPeak:\t 4096 kB\nVmHWM:\t 2048 kB\n", "VmHWM") == 2
    assert field_mib("VmPeak:\t 4096 kB\n", "VmHWM") == 0


@pytest.mark.parametrize(
    "head",
    [b"HTTP/1.1 404 Not Found\r\nContent-Length: 1", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked"],
)
def test_an_answer_of_another_kind_fails(head: bytes) -> None:
    with pytest.raises(Failed):
        content_length(head, 200)


def test_the_length_is_found_in_any_spelling() -> None:
    assert content_length(b"HTTP/1.1 200 OK\r\nDate: x\r\ncontent-LENGTH: 12", 200) == 12


def records(*lengths: int, kind: int = 23) -> bytes:
    """Records that carry so much each, behind their headers; 17 bytes of each are TLS's own."""
    return b"".join(
        bytes([kind, 3, 3]) + (length + 17).to_bytes(2, "big") + bytes(length + 17) for length in lengths
    )


@pytest.mark.parametrize("step", [1, 2, 4, 5, 6, 21, 22, 23, 1000, 100_000])
def test_what_records_carry_is_counted_however_they_arrive(step: int) -> None:
    stream = memoryview(records(2**14, 1, 0, 300, 2**14))
    found = Records()
    for start in range(0, len(stream), step):
        found.add(stream[start : start + step])
    assert (found.carried, found.within) == (2 * 2**14 + 301, False)


def test_a_record_is_counted_when_it_begins_and_is_there_at_its_end() -> None:
    stream = memoryview(records(100))
    found = Records()
    seen = []
    for part in (stream[:4], stream[4:5], stream[5:121], stream[121:]):
        found.add(part)
        seen.append((found.carried, found.within))
    assert seen == [(0, True), (100, True), (100, True), (100, False)]


def test_an_alert_in_the_middle_of_an_answer_fails() -> None:
    with pytest.raises(Failed, match="kind 21"):
        Records().add(memoryview(records(100) + records(2, kind=21)))
