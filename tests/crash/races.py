"""Requests that arrive together at different workers, and what may be seen afterwards."""

import random
import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from storage.digest import Digest
from tests.builders import OCI_IMAGE, descriptor, image
from tests.crash.ledger import ABSENT, Ledger
from tests.live.wire import TIMEOUT, Answer, Wire

LINES = 3  # connections of a lane, and requests that arrive together at most
_RENEW = 25  # races after which a lane's connections are others: each belongs to one worker
_TYPE = {"Content-Type": OCI_IMAGE}


class Line:
    """A connection that is made anew when the server closes it."""

    def __init__(self, host: str, patience: float = TIMEOUT) -> None:
        self._host, self._patience = host, patience
        self._wire: Wire | None = None

    def ask(
        self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        if self._wire is None:
            self._wire = Wire(self._host)
            self._wire.socket.settimeout(self._patience)
        answer = self._wire.request(method, target, body, headers)
        if answer.closing:
            self.close()
        return answer

    def close(self) -> None:
        if self._wire:
            self._wire.close()
        self._wire = None


Ask = Callable[[Line], int]
"""Sends requests over a line and returns the last one's status."""


@dataclass(slots=True)
class Lane:
    """One repository in which one race after the other is held."""

    host: str
    name: str
    ledger: Ledger
    random: random.Random
    races: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    problems: list[str] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(LINES))

    @property
    def path(self) -> str:
        return f"/v2/{self.name}"

    def run(self, count: int) -> None:
        self.lines = [Line(self.host) for _ in range(LINES)]
        self.push(b"{}")
        kinds = list(KINDS.items())
        with self.pool:
            for turn in range(count):
                if turn % _RENEW == 0:
                    for line in self.lines:
                        line.close()
                title, race = kinds[turn % len(kinds)]
                race(self)
                self.races[title] += 1
        for line in self.lines:
            line.close()

    def together(self, *asks: Ask) -> tuple[int, ...]:
        """All at once, each over a line of its own; the statuses in their order."""
        barrier = threading.Barrier(len(asks))

        def go(ask: Ask, line: Line) -> int:
            barrier.wait(30)
            return ask(line)

        self.requests += len(asks)
        order = self.random.sample(self.lines, len(asks))
        begun = [self.pool.submit(go, ask, line) for ask, line in zip(asks, order, strict=True)]
        return tuple(future.result() for future in begun)

    def push(self, data: bytes) -> str:
        digest = str(Digest.of(data))
        answer = self.lines[0].ask("POST", f"{self.path}/blobs/uploads/?digest={digest}", data)
        self.expect("a push before the race", answer.status, {201})
        return digest

    def expect(self, what: str, found: object, legal: Collection[object]) -> None:
        if found not in legal:
            self.problems.append(f"{self.name}, {what}: {found}, not {' or '.join(map(str, legal))}")

    def settle(self, path: str, legal: set[str]) -> str:
        """What every line sees there: the same, and one of these. The ledger holds it from now on."""
        seen = set()
        for line in self.lines:
            answer = line.ask("GET", path)
            seen.add(
                {200: str(Digest.of(answer.body)), 404: ABSENT}.get(answer.status, f"status {answer.status}")
            )
        self.requests += len(self.lines)
        if len(seen) != 1 or not seen <= legal:
            self.problems.append(f"{path} is {seen}, not {legal}")
        digest = seen.pop()
        self.ledger.settle("race", {path: digest})
        return digest

    def image(self, *layers: bytes) -> tuple[bytes, str]:
        """A manifest that no other race has."""
        raw = image(
            layers=[descriptor(layer) for layer in layers],
            annotations={"race": f"{self.random.getrandbits(64)}"},
        )
        return raw, str(Digest.of(raw))

    def put(self, reference: str, raw: bytes) -> Ask:
        return lambda line: line.ask("PUT", f"{self.path}/manifests/{reference}", raw, _TYPE).status

    def delete(self, what: str) -> Ask:
        return lambda line: line.ask("DELETE", f"{self.path}/{what}").status


def same_digest(lane: Lane) -> None:
    """In one request, by a session, and by one whose last request holds everything."""
    data = lane.random.randbytes(lane.random.randrange(1, 20_000))
    digest = str(Digest.of(data))

    def at_once(line: Line) -> int:
        return line.ask("POST", f"{lane.path}/blobs/uploads/?digest={digest}", data).status

    def in_pieces(line: Line, cut: int) -> int:
        place = line.ask("POST", f"{lane.path}/blobs/uploads/").headers["location"]
        if cut:
            line.ask("PATCH", place, data[:cut])
        return line.ask("PUT", f"{place}?digest={digest}", data[cut:]).status

    found = lane.together(
        at_once, lambda line: in_pieces(line, len(data) // 2), lambda line: in_pieces(line, 0)
    )
    lane.expect("pushes of one digest", found, {(201,) * 3})
    lane.settle(f"{lane.path}/blobs/{digest}", {digest})


def same_tag(lane: Lane) -> None:
    images = [lane.image() for _ in range(LINES)]
    found = lane.together(*(lane.put("moving", raw) for raw, _ in images))
    lane.expect("pushes of one tag", found, {(201,) * LINES})
    lane.settle(f"{lane.path}/manifests/moving", {digest for _, digest in images})
    for _, digest in images[:1]:
        lane.settle(f"{lane.path}/manifests/{digest}", {digest})


def blob_deleted(lane: Lane) -> None:
    """A manifest against the deletion of what it names: one of them is refused."""
    layer = lane.random.randbytes(100)
    blob = lane.push(layer)
    raw, digest = lane.image(layer)
    found = lane.together(lane.put("contested", raw), lane.delete(f"blobs/{blob}"))
    lane.expect("a manifest against the deletion of its blob", found, {(400, 202), (201, 405)})
    won = found[0] == 201
    lane.settle(f"{lane.path}/blobs/{blob}", {blob if won else ABSENT})
    lane.settle(f"{lane.path}/manifests/{digest}", {digest if won else ABSENT})


def tag_deleted(lane: Lane) -> None:
    raw, digest = lane.image()
    found = lane.together(lane.put("brief", raw), lane.delete("manifests/brief"))
    lane.expect("a tag against its deletion", found, {(201, 202), (201, 404)})
    # Whatever the deletion found was the tag as it stood before, or this very push.
    lane.settle(f"{lane.path}/manifests/brief", {digest} if found[1] == 404 else {digest, ABSENT})
    lane.settle(f"{lane.path}/manifests/{digest}", {digest})


def manifest_deleted(lane: Lane) -> None:
    """A second push of a manifest against its deletion, which takes its tags along."""
    raw, digest = lane.image()
    lane.expect("a push before the race", lane.put(digest, raw)(lane.lines[0]), {201})
    found = lane.together(lane.put("again", raw), lane.delete(f"manifests/{digest}"))
    lane.expect("a manifest against its deletion", found, {(201, 202)})
    kept = lane.settle(f"{lane.path}/manifests/{digest}", {digest, ABSENT})
    # The deletion came first, and the push brought all back; or it came last, and took the tag along.
    lane.settle(f"{lane.path}/manifests/again", {kept})


def session_moved(lane: Lane) -> None:
    """Two chunks for one place of a session, then two that close it."""
    first, last = lane.random.randbytes(3_000), lane.random.randbytes(1_000)
    digest = str(Digest.of(first + last))
    place = lane.lines[0].ask("POST", f"{lane.path}/blobs/uploads/").headers["location"]
    span = {"Content-Range": f"0-{len(first) - 1}"}

    def append(line: Line) -> int:
        return line.ask("PATCH", place, first, span).status

    def close(line: Line) -> int:
        return line.ask("PUT", f"{place}?digest={digest}", last, {"Content-Range": "3000-3999"}).status

    appended = lane.together(append, append)
    lane.expect("two chunks for one place", tuple(sorted(appended)), {(202, 409), (202, 416)})
    for line in lane.lines:
        lane.expect("the session's status", line.ask("GET", place).headers.get("range"), {"0-2999"})
    closed = lane.together(close, close)
    lane.expect("two that close a session", tuple(sorted(closed)), {(201, 201), (201, 404), (201, 409)})
    lane.expect("the session afterwards", lane.lines[0].ask("GET", place).status, {404})
    lane.settle(f"{lane.path}/blobs/{digest}", {digest})


KINDS: Mapping[str, Callable[[Lane], None]] = {
    "one digest": same_digest,
    "one tag": same_tag,
    "blob deleted": blob_deleted,
    "tag deleted": tag_deleted,
    "manifest deleted": manifest_deleted,
    "session moved": session_moved,
}
