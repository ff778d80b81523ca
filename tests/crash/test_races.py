"""F10: four workers on one root, and requests that meet: the same digest, tag, session, and deletes."""

import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from storage.digest import Digest
from tests.crash import tiers
from tests.crash.evidence import look
from tests.crash.ledger import Ledger, losses
from tests.crash.races import KINDS, Lane, Line
from tests.live.servers import running
from tests.live.wire import Answer

pytestmark = pytest.mark.crash

RACES = tiers.pick(ci=500, soak=20_000)
LANES = 4


class Told(Line):
    """A worker of its own opinion."""

    def __init__(self, status: int, body: bytes = b"") -> None:
        super().__init__("")
        self.answer = Answer(status, {}, body)

    def ask(self, *request: object, **more: object) -> Answer:
        return self.answer


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ([Told(200, b"a"), Told(200, b"a")], 0),
        ([Told(200, b"a"), Told(200, b"b")], 1),
        ([Told(200, b"a"), Told(404)], 1),
        ([Told(404), Told(404)], 1),
        ([Told(200, b"a"), Told(500)], 1),
    ],
)
def test_a_lane_notices(lines: list[Line], found: int) -> None:
    """What workers say that do not agree, or no longer know what they have acknowledged."""
    lane = Lane("", "lane", Ledger(), random.Random(0), lines=lines)
    lane.settle("/v2/lane/manifests/t", {str(Digest.of(b"a")), str(Digest.of(b"b"))})
    assert len(lane.problems) == found


@pytest.mark.timeout(tiers.pick(ci=120, soak=1800))
def test_whoever_wins_everyone_sees_the_same(tmp_path: Path, say: Callable[[str], None]) -> None:
    seed, ledger, root = tiers.seed(), Ledger(), tmp_path / "root"
    print(f"CRASH_SEED={seed}")
    with running(root, "--workers", "4", "--no-access-log") as live:
        lanes = [
            Lane(live.host, f"lane{number}", ledger, random.Random(f"{seed}/{number}"))
            for number in range(LANES)
        ]
        with ThreadPoolExecutor(LANES) as pool:
            for run in [pool.submit(lane.run, RACES // LANES) for lane in lanes]:
                run.result()
    with running(root) as live:
        lost = losses(live.host, ledger, everything=True)
    problems = [problem for lane in lanes for problem in lane.problems]
    races = sum((lane.races for lane in lanes), Counter[str]())
    say(
        f"F10, 4 workers, CRASH_SEED={seed}: {races.total()} races"
        f" ({', '.join(f'{title} {count}' for title, count in races.items())}),"
        f" {sum(lane.requests for lane in lanes)} requests; wrong outcomes: {len(problems)},"
        f" lost of {len(ledger.legal)} names after a restart: {len(lost)}"
    )
    assert not problems, "\n".join(problems[:20])
    assert not lost, "\n".join(lost[:20])
    assert races.total() == RACES
    assert set(races) == set(KINDS)
    assert not look(str(root)).problems
