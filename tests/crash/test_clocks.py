"""F11: the wall clock jumps by ten years or an hour while a server runs, and files come from elsewhen.

Nothing is lost, no upload that is under way ends, an idle one still does, and everything goes on. What no tag
names is kept for its time, and garbage for the grace; then it still goes.
"""

import json
import os
import time
import uuid
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path

import pytest

from storage.digest import Digest
from tests.builders import blob
from tests.crash import tiers
from tests.crash.evidence import files_below, marks_in
from tests.live.servers import Live, running
from tests.live.stories import (
    append,
    begin,
    finish,
    offset,
    pull_blob,
    push_blob,
    push_image,
    require_whole,
    together,
)
from tests.live.wire import once
from tests.missing import absent

pytestmark = pytest.mark.crash

Say = Callable[[str], None]
YEAR = 365 * 86_400
JUMPS = [10 * YEAR, -10 * YEAR, 3_600, -3_600]  # seconds beside the true time; an hour is daylight saving's
ROUNDS = tiers.pick(ci=1, soak=10)
EXPIRY = 9  # seconds without a byte after which an upload ends; looked at four times in it
GRACE = 12  # seconds; four passes in it, so that one comes soon after each jump
DATA = blob(300_000, 1)
HALF = len(DATA) // 2


class Clock:
    """The wall clock of processes with this environment: libfaketime asks the file once a second.

    Each time would cost a push of an image a second of the processor (measured).
    """

    def __init__(self, folder: Path) -> None:
        libraries = [*Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")]
        if not libraries:
            absent("faketime")
        self._file = folder / "clock"
        self.jump(0)
        self.environment = {
            **os.environ,
            "LD_PRELOAD": str(libraries[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # no jump touches that one
            "NO_FAKE_STAT": "1",  # files keep the times that they were written at
        }

    def jump(self, seconds: int) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.rename(self._file)


@pytest.mark.timeout(tiers.pick(ci=120, soak=900))
def test_a_clock_that_jumps(tmp_path: Path, say: Say) -> None:
    """A server for each jump, all at once: most of the time they wait."""
    images = together([partial(jump, tmp_path / str(seconds), seconds) for seconds in JUMPS])
    say(f"F11: {len(JUMPS) * ROUNDS} jumps of the clock, {sum(images)} images; lost, ended or collected: 0")


def jump(folder: Path, seconds: int) -> int:
    """Pushes on both sides of jumps there and back, and an upload across each; the number of images."""
    folder.mkdir()
    clock, root, images = Clock(folder), folder / "root", 0
    flags = ["--upload-expiry", str(EXPIRY), "--gc-grace", str(GRACE)]
    with running(root, *flags, environment=clock.environment) as live:
        untagged = push_untagged(live)
        for turn in range(ROUNDS):
            garbage = Garbage(live, str(root), turn)
            garbage.await_mark()  # which takes seconds, and an upload may not idle for long here
            push_image(live.host, "clocks", f"t{images}", blob(1_000, images))
            session, idle = begin(live.host, "clocks"), begin(live.host, "clocks")
            assert append(live.host, session, DATA[:HALF], 0).status == 202
            beside = 0 if turn % 2 else seconds
            clock.jump(beside)
            await_jump(live, beside)
            time.sleep(EXPIRY / 3)  # one look at least
            assert offset(live.host, session) == HALF
            assert append(live.host, session, DATA[HALF:-1], HALF).status == 202
            assert finish(live.host, session, DATA, DATA[-1:]).status == 201
            push_image(live.host, "clocks", "data", DATA)
            push_image(live.host, "clocks", f"t{images + 1}", blob(1_000, images + 1))
            images += 2
            garbage.await_end()
            assert marks_in(str(root)).get(untagged) is False, "what no tag names is garbage too early"
            require_all(live, images)
        await_end(live, idle)
    with running(root) as live:
        require_all(live, images)
    return images


def push_untagged(live: Live) -> str:
    """The digest of an image that is kept for a month, though no tag names it any more."""
    raw = push_image(live.host, "untagged", "gone", blob(1_000, 999))
    assert once(live.host, "DELETE", "/v2/untagged/manifests/gone").status == 202
    return str(Digest.of(raw))


class Garbage:
    """A blob that no manifest names."""

    def __init__(self, live: Live, root: str, number: int) -> None:
        data = blob(1_000, 1_000 + number)
        self._root, self._digest, self._pushed = root, str(Digest.of(data)), time.monotonic()
        assert push_blob(live.host, "garbage", data).status == 201

    def await_mark(self) -> None:
        self._await(lambda: marks_in(self._root)[self._digest])

    def await_end(self) -> None:
        self._await(lambda: self._digest not in marks_in(self._root))
        lived = time.monotonic() - self._pushed
        assert lived >= GRACE, f"a client was told of it {lived:.1f} seconds ago"

    def _await(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 3 * GRACE
        while not holds():
            assert time.monotonic() < deadline, "garbage stays for ever"
            time.sleep(0.05)


def await_jump(live: Live, seconds: int) -> None:
    deadline = time.monotonic() + 20
    while abs(told(live) - time.time() - seconds) > 60:
        assert time.monotonic() < deadline, "the server has another clock"
        time.sleep(0.05)


def told(live: Live) -> float:
    """The time that the server notes for a request made now."""
    target = f"/v2/?ns={uuid.uuid4()}"
    once(live.host, "GET", target)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        for line in live.said().splitlines():
            if target in line and line.endswith("}"):
                return datetime.fromisoformat(json.loads(line)["time"]).timestamp()
        time.sleep(0.02)
    raise AssertionError("the log does not show the request")


def require_all(live: Live, count: int) -> None:
    for number in range(count):
        require_whole(live.host, "clocks", f"t{number}")
    assert pull_blob(live.host, "clocks", DATA) == DATA


def await_end(live: Live, session: str) -> None:
    deadline = time.monotonic() + 2 * EXPIRY + 10
    while once(live.host, "GET", session).status != 404:
        assert time.monotonic() < deadline, "an idle upload never ends"
        time.sleep(0.1)


@pytest.mark.parametrize("seconds", [10 * YEAR, -10 * YEAR], ids=["future", "past"])
def test_files_from_elsewhen(tmp_path: Path, seconds: int) -> None:
    """As a restored backup has them, or a machine whose clock was wrong when they were written."""
    root = tmp_path / "root"
    with running(root) as live:
        push_image(live.host, "clocks", "t0", DATA)
        session = begin(live.host, "clocks")
        assert append(live.host, session, DATA[:HALF], 0).status == 202
    then = time.time() + seconds
    for path in files_below(str(root)):
        os.utime(path, (then, then))
    with running(root, "--upload-expiry", str(EXPIRY)) as live:
        time.sleep(EXPIRY / 3)  # two looks: one comes at the start
        require_all(live, 1)
        assert offset(live.host, session) == HALF
        assert append(live.host, session, DATA[HALF:], HALF).status == 202
        assert finish(live.host, session, DATA).status == 201
        require_all(live, 1)
