"""`python -m bench.logins`: a good user beside bad logins by the hundred; can names be told apart by time?"""

import argparse
import asyncio
import base64
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import bcrypt

from bench.kinds import PROJECT, Found, Kind, ours
from bench.latency import milliseconds, quantile
from bench.report import aligned
from bench.servers import Failed, Running, started
from registry import __version__

_HERE, _THERE = "127.0.0.1", "127.0.0.2"
_ATTACKERS = 200
_USERS = 200
_COST, _TIMED_COST = 10, 8  # as `registry user add` makes them; and less, so that more can be timed
_PROMPT, _APART = 0.5, 0.05  # seconds of the good user's p99; between the medians of the two sorts of names
_PAUSE = 0.05  # seconds of an attacker that is told to wait: it does not
_FROM_ONE = 10  # failures that one address may have in a minute

Result = TypeVar("Result")


@dataclass(slots=True)
class Client:
    """One request at a time on a connection that it keeps."""

    port: int
    address: str = _HERE
    _streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = field(default=None)

    async def ask(self, target: str, authorization: str) -> tuple[int, float, bytes]:
        """(status, seconds, body)."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(
                "127.0.0.1", self.port, local_addr=(self.address, 0)
            )
        reader, writer = self._streams
        begun = time.perf_counter()
        writer.write(
            f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {authorization}\r\n\r\n".encode()
        )
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        body = await reader.readexactly(length)
        seconds = time.perf_counter() - begun
        if b"connection: close" in head:
            self.close()
        return int(head[9:12]), seconds, body

    def close(self) -> None:
        if self._streams:
            self._streams[1].close()
            self._streams = None


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


async def beside(server: Running, seconds: int) -> tuple[dict[str, list[float]], Counter[str]]:
    """What a good user waits for while others guess."""
    good = basic("user0", "right")
    status, _, body = await Client(server.port).ask("/token?service=oci-registry", good)
    if status != 200:
        raise Failed(f"the good user's login: {status}")
    token = f"Bearer {json.loads(body)['token']}"
    ended: Counter[str] = Counter()
    attackers = [asyncio.create_task(_guess(server.port, number, ended)) for number in range(_ATTACKERS)]
    await asyncio.sleep(0.2)
    found: dict[str, list[float]] = {"with a token": [], "with its password": [], "that logs in": []}
    same, other = Client(server.port), Client(server.port, _THERE)
    end = time.monotonic() + seconds
    number = 0
    while time.monotonic() < end:
        number += 1
        asked = [("with a token", same, token), ("with its password", same, good)]
        if number < _USERS:  # each logs in once: a second time it would be remembered
            asked.append(("that logs in", other, basic(f"user{number}", "right")))
        for name, client, authorization in asked:
            status, waited, _ = await client.ask("/v2/", authorization)
            if status != 200:
                raise Failed(f"a good user {name} was answered {status}")
            found[name].append(waited)
        await asyncio.sleep(_PAUSE)
    for attacker in attackers:
        attacker.cancel()
    await asyncio.gather(*attackers, return_exceptions=True)
    return found, ended


async def _guess(port: int, number: int, ended: Counter[str]) -> None:
    client = Client(port)
    turn = 0
    with suppress(asyncio.CancelledError):
        while True:
            turn += 1
            user = f"user{(number + turn) % (_USERS + 50)}"  # some of them are nobody's
            status, _, _ = await client.ask("/token", basic(user, f"wrong {number} {turn}"))
            ended[str(status)] += 1
            if status == 429:
                await asyncio.sleep(_PAUSE)
    client.close()


async def apart(server: Running, names: int) -> dict[str, list[float]]:
    """Seconds of a wrong password for names that users have and for others, in turn, one at a time."""
    found: dict[str, list[float]] = {"known": [], "unknown": []}
    for number in range(names):
        client = Client(server.port, f"127.0.1.{1 + number // (_FROM_ONE // 2 - 1)}")
        for sort, user in (("known", f"user{number % _USERS}"), ("unknown", f"other{number}")):
            status, seconds, _ = await client.ask("/token", basic(user, f"wrong {number}"))
            if status != 401:
                raise Failed(f"a wrong password of {user}: {status}")
            found[sort].append(seconds)
        client.close()
    return found


def serve(folder: Path, cost: int, act: Callable[[Running], Awaitable[Result]]) -> Result:
    folder.mkdir()
    file = folder / "htpasswd"
    hashed = bcrypt.hashpw(b"right", bcrypt.gensalt(cost))
    file.write_bytes(b"".join(b"user%d:%b\n" % (number, hashed) for number in range(_USERS)))
    file.chmod(0o600)
    kind = Kind("ours", "ours", (sys.executable,), (), ours("--anonymous", "none", "--htpasswd", str(file)))

    async def run(server: Running) -> Result:
        return await act(server)

    with started(Found(kind, sys.executable, __version__), folder / "server") as server:
        return asyncio.run(run(server))


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.json.parent) as folder:
        waited, ended = serve(Path(folder) / "beside", _COST, lambda server: beside(server, options.seconds))
        names = serve(Path(folder) / "apart", _TIMED_COST, lambda server: apart(server, options.names))
    options.json.write_text(json.dumps({"waited": waited, "ended": ended, "names": names}))
    rows = [[f"a good user, beside {_ATTACKERS} bad logins", "n", "p50", "p99", "must show"]]
    met = []
    for name, seconds in waited.items():
        middle, tail = quantile(seconds, 0.5), quantile(seconds, 0.99)
        met.append(tail < _PROMPT)
        said = f"< {milliseconds(_PROMPT)}: {_verdict(met[-1])}"
        rows.append([name, str(len(seconds)), milliseconds(middle), milliseconds(tail), said])
    known, unknown = statistics.median(names["known"]), statistics.median(names["unknown"])
    difference = abs(known - unknown) / known
    met.append(difference <= _APART)
    medians = f"{milliseconds(known)} and {milliseconds(unknown)}"
    said = f"≤ {_APART:.0%}: {_verdict(met[-1])}"
    rows.append(["known and unknown names", str(options.names), medians, f"{difference:.1%} apart", said])
    print("\n".join(aligned(rows)))
    print("bad logins: " + ", ".join(f"{count} × {status}" for status, count in sorted(ended.items())))
    return 0 if all(met) else 1


def _verdict(met: bool) -> str:
    return "met" if met else "MISSED"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.logins", description=__doc__)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--names", type=int, default=200, help="of each sort that are timed")
    parser.add_argument("--json", type=Path, default=PROJECT / "results" / "logins.json", metavar="FILE")
    options = parser.parse_args()
    options.json.parent.mkdir(parents=True, exist_ok=True)
    return options


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as error:
        sys.exit(f"bench: {error}")
