"""F13: a server that may open no more files, or take no more memory, for as long as the load lasts.

Nothing acknowledged is lost, what cannot be served is told so, and afterwards everything is as it was.
"""

import random
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from storage.digest import Digest
from tests.crash import tiers
from tests.crash.evidence import look
from tests.crash.ledger import Ledger, losses
from tests.crash.races import Line
from tests.live.servers import Live, descriptors, running, start
from tests.live.stories import push_blob
from tests.live.wire import Closed

pytestmark = [
    pytest.mark.crash,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of another process are Linux's"),
]

MIB = 2**20
CLIENTS = 40
PATIENCE = 8.0  # seconds: less than the server gives a client for its head, after which it closes
STOP = 15.0
PUSHES = 10  # of each client
ROUNDS = tiers.pick(ci=1, soak=10)


@dataclass(slots=True)
class Load:
    """What became of the pushes of all clients."""

    host: str
    ledger: Ledger
    size: int
    seed: str
    answers: Counter[int] = field(default_factory=Counter)
    shed: int = 0  # connections closed before a byte of them was read
    cut: int = 0  # requests on open connections that got no answer
    hung: int = 0  # clients that gave up waiting for one

    def run(self) -> None:
        clients = [threading.Thread(target=self._push, args=(number,)) for number in range(CLIENTS)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()

    def _push(self, number: int) -> None:
        dice, line, asked = random.Random(f"{self.seed}/{number}"), Line(self.host, PATIENCE), 0
        for _ in range(PUSHES):
            data = dice.randbytes(self.size)
            digest = str(Digest.of(data))
            outcome = {f"/v2/scarce/blobs/{digest}": digest}
            self.ledger.attempt(outcome)
            try:
                answer = line.ask("POST", f"/v2/scarce/blobs/uploads/?digest={digest}", data)
            except TimeoutError:
                self.hung += 1
                break
            except (OSError, Closed, EOFError, ValueError):  # also in the middle of a head
                self.shed, self.cut = self.shed + (asked == 0), self.cut + (asked > 0)
                line.close()
                asked = 0
                continue
            asked = 0 if answer.closing else asked + 1
            self.answers[answer.status] += 1
            if answer.status == 201:
                self.ledger.settle("blob", outcome)
        line.close()


@contextmanager
def limited(pid: int, kind: int, limit: int) -> Iterator[None]:
    before = resource.prlimit(pid, kind, (limit, resource.prlimit(pid, kind)[1]))
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            resource.prlimit(pid, kind, before)


def mapped(pid: int) -> int:
    """Bytes of address space."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()


@dataclass(frozen=True, slots=True)
class Limit:
    """`survived`: every request on an open connection is answered, with 201 or 503, and the server goes on.

    The interpreter promises nothing of the kind without memory: its own threads end, or it does. Then the
    next start finds what was acknowledged.
    """

    kind: int
    of: Callable[[int], int]
    size: int  # bytes of each push
    survived: bool


LIMITS = {
    "64 descriptors": Limit(resource.RLIMIT_NOFILE, lambda pid: 64, 30_000, survived=True),
    "24 MiB left": Limit(resource.RLIMIT_AS, lambda pid: mapped(pid) + 24 * MIB, 2 * MIB, survived=False),
}


@pytest.mark.timeout(tiers.pick(ci=120, soak=900))
@pytest.mark.parametrize("what", LIMITS)
def test_scarcity_passes(tmp_path: Path, say: Callable[[str], None], what: str) -> None:
    limit, root, ledger = LIMITS[what], tmp_path / "root", Ledger()
    answers, shed, cut, restarts = Counter[int](), 0, 0, 0
    lost: list[str] = []
    for number in range(ROUNDS):
        live = start(root, "--no-access-log", "--drain", "1", name=f"serve{number}")
        try:
            load = Load(live.host, ledger, limit.size, f"{number}")
            went_on = bear(live, limit, load)
            if went_on:
                lost += losses(live.host, ledger)
                went_on = stops(live)
        finally:
            if live.process.poll() is None:
                live.kill()
        assert went_on or not limit.survived, live.said()[-3000:]
        answers, shed, cut = answers + load.answers, shed + load.shed, cut + load.cut + load.hung
        restarts += not went_on
    with running(root) as live:
        lost += losses(live.host, ledger, everything=True)
        assert push_blob(live.host, "scarce", b"at last").status == 201
    told = ", ".join(f"{count} times {status}" for status, count in sorted(answers.items()))
    say(
        f"F13, {what}: {ROUNDS} times {CLIENTS} clients with {PUSHES} pushes each: {told},"
        f" {shed} connections shed, {cut} requests without an answer, {restarts} servers to be restarted;"
        f" lost or wrong of {len(ledger.legal)}: {len(lost)}"
    )
    assert not lost, "\n".join(lost[:20])
    assert not look(str(root)).problems
    assert shed + cut + answers[503] > 0, "there was no scarcity"
    if limit.survived:
        assert not cut
        assert set(answers) == {201, 503}


def bear(live: Live, limit: Limit, load: Load) -> bool:
    """Run the load under the limit; whether the server is afterwards as it was before."""
    assert push_blob(live.host, "scarce", b"before").status == 201
    base = await_descriptors(live, 0)
    with limited(live.pid, limit.kind, limit.of(live.pid)):
        load.run()
    if load.hung or live.process.poll() is not None:
        return False
    with closing(Line(live.host, PATIENCE)) as line:
        try:
            answer = line.ask("POST", "/v2/scarce/blobs/uploads/")
        except (OSError, Closed, EOFError):
            return False
    return answer.status == 202 and await_descriptors(live, base) <= base


def stops(live: Live) -> bool:
    live.signal(signal.SIGTERM)
    try:
        return live.process.wait(STOP) == 0
    except subprocess.TimeoutExpired:
        return False


def await_descriptors(live: Live, at_most: int) -> int:
    """How many are open, once they are no more than that, or for a second the same."""
    seen: list[int] = []
    while not seen or (seen[-1] > at_most and not (len(seen) > 20 and len(set(seen[-20:])) == 1)):
        time.sleep(0.05)
        seen.append(len(descriptors(live.pid)))
    return seen[-1]
