"""Bytes over raw sockets: no server error, no hang, no request that a strict reader does not see (T20)."""

import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from tests.fuzz import tiers
from tests.fuzz.arena import Arena, attacked
from tests.fuzz.attacker import MARK, Case, attack, hidden, make, request
from tests.fuzz.strict_http import Reading, read

CONNECTIONS = 1_500  # in CI
LANES = 4
SECONDS = tiers.SECONDS * tiers.WIRE

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
READINGS = {
    "two requests": (GET + GET, Reading((b"/a", b"/a"), faulty=False, due=2)),
    "empty lines before": (b"\r\n\r\n" + GET, Reading((b"/a",), faulty=False, due=1)),
    "half a head": (GET + GET[:-2], Reading((b"/a",), faulty=False, due=1)),
    "a body": (GET[:-2] + b"Content-Length: 2\r\n\r\nab" + GET, Reading((b"/a", b"/a"), faulty=False, due=2)),
    "half a body": (GET[:-2] + b"Content-Length: 200\r\n\r\n" + GET, Reading((b"/a",), faulty=False, due=0)),
    "chunks": (
        GET[:-2] + b"Transfer-Encoding: chunked\r\n\r\n2;a=b\r\nab\r\n0\r\nX: y\r\n\r\n" + GET,
        Reading((b"/a", b"/a"), faulty=False, due=2),
    ),
    "a chunk too long": (
        GET[:-2] + b"Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n" + GET,
        Reading((b"/a",), faulty=True, due=1),
    ),
    "a bare LF": (GET[:-2] + b"A: b\nC: d\r\n\r\n" + GET, Reading((), faulty=True, due=1)),
    "two lengths": (
        GET[:-2] + b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
        Reading((), faulty=True, due=1),
    ),
    "both": (
        GET[:-2] + b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n",
        Reading((), faulty=True, due=1),
    ),
    "a space before the colon": (GET[:-2] + b"Content-Length : 0\r\n\r\n", Reading((), faulty=True, due=1)),
    "a folded line": (GET[:-2] + b"A: b\r\n c\r\n\r\n", Reading((), faulty=True, due=1)),
    "chunks of HTTP/1.0": (
        b"GET /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Reading((), faulty=True, due=1),
    ),
}


@pytest.mark.parametrize(("stream", "reading"), READINGS.values(), ids=READINGS)
def test_strict_reading(stream: bytes, reading: Reading) -> None:
    assert read(stream) == reading


@pytest.mark.timeout(SECONDS + 300)
def test_nothing_is_smuggled(say: Callable[[str], None]) -> None:
    first = tiers.seed()
    print(f"FUZZ_SEED={first}")
    with attacked(f"bytes, FUZZ_SEED={first}", say) as arena:
        half = (CONNECTIONS // 2, SECONDS / 2)
        cases = run(arena, first, "w", *half)
        arena.note_memory()
        cases += run(arena, first, "x", *half)
    seen = {mark for line in arena.lines for mark in MARK.findall(line["target"])}
    meant = {mark for case, _ in cases for target in case for mark in MARK.findall(target)}
    wrong = [each for _, each in cases if each]
    say(
        f"bytes: {len(cases)} connections, {len(seen)} marked requests served;"
        f" smuggled: {len(seen - meant)}, wrong: {len(wrong)}"
    )
    assert not seen - meant
    assert not wrong, "\n".join(wrong[:5])
    assert len(seen) > len(cases) / 4  # else all were refused, and nothing is shown


def run(arena: Arena, first: int, half: str, connections: int, seconds: float) -> list[tuple[list[str], str]]:
    end = time.monotonic() + seconds

    def numbers() -> Iterator[int]:
        if not tiers.LONG:
            yield from range(connections // LANES)
            return
        for number in count():
            if time.monotonic() > end:
                return
            yield number

    def lane(name: str) -> list[tuple[list[str], str]]:
        found = []
        for number in numbers():
            mark = f"{name}n{number}r"
            case = make(mark, arena.uploads, random.Random(f"{first}/{mark}"))
            wrong = attack(arena.live.host, case)
            targets = [target.decode("latin-1") for target in case.reading.targets]
            found.append((targets, f"{wrong}: {case.pieces}" if wrong else ""))
        return found

    with ThreadPoolExecutor(LANES) as pool:
        return [
            each for lane_found in pool.map(lane, [f"{half}{lane}" for lane in "abcd"]) for each in lane_found
        ]


def test_a_hidden_request_would_be_noticed(say: Callable[[str], None]) -> None:
    """Sent as what it is, it is logged and seen; of a body, the strict reader does not see it."""
    with attacked("bytes, the check itself", say) as arena:
        arena.note_memory()
        body = request("GET /v2/team/app/tags/list", "outer", hidden("inner"))
        assert not attack(arena.live.host, Case((body,), read(body)))
        assert MARK.findall(str(read(body).targets)) == ["mark-outer"]
        assert not attack(arena.live.host, Case((hidden("inner"),), read(hidden("inner"))))
    seen = [mark for line in arena.lines for mark in MARK.findall(line["target"])]
    assert seen == ["mark-outer", "mark-inner"]
