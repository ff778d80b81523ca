"""What clients of a server that is killed may expect of it, kept outside the store."""

import http.client
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from storage.digest import Digest
from tests.builders import OCI_CONFIG, OCI_IMAGE, descriptor, image

ABSENT = ""
TIMEOUT = 20.0  # seconds; a server that hangs is as bad as one that loses

Gone = (OSError, http.client.HTTPException)
"""What a request to a dying server ends with: its outcome is unknown."""


@dataclass(slots=True)
class Ledger:
    """Path → the digests that a GET of it may return, ABSENT among them where a 404 may come.

    A request adds its outcome when it is sent; when it is acknowledged, nothing else is legal any more. But
    where garbage is collected, a blob may go unless it is `needed`: named by an acknowledged manifest, and
    what was pushed is promised for `grace` seconds only.

    From `darken` on nothing counts as acknowledged: without power no answer is sent, but while the harness
    cuts it, file systems say that something is synced that is not (docs/decisions/014).
    """

    grace: float = 0.0
    needed: set[str] = field(default_factory=set)

    legal: dict[str, set[str]] = field(default_factory=lambda: defaultdict(lambda: {ABSENT}))
    touched: set[str] = field(default_factory=set)
    acked: Counter[str] = field(default_factory=Counter)
    refused: list[str] = field(default_factory=list)
    late: int = 0  # manifests refused as the grace of what they name had passed
    dark: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def attempt(self, outcomes: dict[str, str]) -> None:
        with self.lock:
            for path, digest in outcomes.items():
                self.legal[path].add(digest)
                self.touched.add(path)

    def excuses(self, path: str) -> bool:
        """Whether a collector may have taken it."""
        return bool(self.grace) and "/blobs/" in path and path not in self.needed

    def await_acked(self, number: int, by: Sequence[threading.Thread], at_most: float) -> None:
        """For so many seconds at most, and as long as one of these goes on."""
        end = time.monotonic() + at_most
        while self.total() < number and time.monotonic() < end and any(each.is_alive() for each in by):
            time.sleep(0.05)

    def total(self) -> int:
        """Writes acknowledged."""
        with self.lock:
            return self.acked.total()

    def darken(self) -> None:
        with self.lock:
            self.dark = True

    def settle(self, verb: str, outcomes: dict[str, str]) -> None:
        """Raises ConnectionAbortedError in the dark: the outcome stays unknown."""
        with self.lock:
            if self.dark:
                raise ConnectionAbortedError
            self.acked[verb] += 1
            for path, digest in outcomes.items():
                self.legal[path] = {digest}


@dataclass(slots=True)
class Client:
    """One connection and one repository of its own, so that it knows the order of what it does there."""

    host: str
    number: int
    ledger: Ledger
    random: random.Random
    # digest, a tag of its own, the path of its layer, and of its config
    images: list[tuple[str, str, str, str]] = field(default_factory=list)
    begun: float = 0.0  # when it began to push the image that it pushes

    def push_until_cut(self) -> None:
        """Push images, move tags and delete until the server is gone."""
        connection = http.client.HTTPConnection(self.host, timeout=TIMEOUT)
        try:
            while True:
                self.push_image(connection)
        except Gone:
            return
        finally:
            connection.close()

    def push_image(self, connection: http.client.HTTPConnection) -> None:
        own, self.begun = f"/v2/client{self.number}", time.monotonic()
        config = b'{"os":"linux","made":"%d"}' % self.random.getrandbits(60)
        layer = self.random.randbytes(self.random.randrange(1, 40_000))
        self._push_blob(connection, own, config)
        self._push_in_chunks(connection, own, layer)
        raw = image(descriptor(config, OCI_CONFIG), [descriptor(layer)])
        digest = str(Digest.of(raw))
        only, moving = f"only-{digest[7:19]}", f"moving-{self.random.randrange(3)}"
        for tag in (only, moving):
            outcomes = {f"{own}/manifests/{tag}": digest, f"{own}/manifests/{digest}": digest}
            path, leans = f"{own}/manifests/{tag}", tag == only
            self._write(connection, "PUT", path, raw, outcomes, "manifest", leans=leans)
        paths = [f"{own}/blobs/{Digest.of(content)}" for content in (layer, config)]
        self.ledger.needed.update(paths)
        self.images.append((digest, only, paths[0], paths[1]))
        if len(self.images) % 3 == 0:
            path = f"{own}/manifests/{only}"
            self._write(connection, "DELETE", path, b"", {path: ABSENT}, "deletion")
        if len(self.images) % 4 == 0:
            self._delete_image(connection, own)
        self._share(connection, own, config)

    def _share(self, connection: http.client.HTTPConnection, own: str, config: bytes) -> None:
        """Where all clients write the same: blobs by mount and by push, and one tag for all."""
        shared, digest, self.begun = "/v2/shared", str(Digest.of(config)), time.monotonic()
        query = f"{shared}/blobs/uploads/?mount={digest}&from={own[4:]}"
        self._write(connection, "POST", query, b"", {f"{shared}/blobs/{digest}": digest}, "mount")
        common = b"the same for all" * self.random.randrange(1, 4)
        self._push_blob(connection, shared, common)
        raw = image(descriptor(config, OCI_CONFIG), [descriptor(common)])
        manifest, latest = str(Digest.of(raw)), f"{shared}/manifests/latest"
        self.ledger.attempt({latest: manifest})  # never settled: another client may come after
        outcomes = {f"{shared}/manifests/{manifest}": manifest}
        self._write(connection, "PUT", latest, raw, outcomes, "manifest", leans=True)
        self.ledger.needed.update(f"{shared}/blobs/{Digest.of(content)}" for content in (config, common))

    def _delete_image(self, connection: http.client.HTTPConnection, own: str) -> None:
        """With the tags on it, those that move among them; then its layer, which it alone has."""
        digest, only, layer, held = self.images.pop(0)
        self.ledger.needed -= {layer, held}
        outcomes = {f"{own}/manifests/{digest}": ABSENT, f"{own}/manifests/{only}": ABSENT}
        for number in range(3):
            path = f"{own}/manifests/moving-{number}"
            if digest in self.ledger.legal[path]:
                outcomes[path] = ABSENT
        self._write(connection, "DELETE", f"{own}/manifests/{digest}", b"", outcomes, "deletion")
        self._write(connection, "DELETE", layer, b"", {layer: ABSENT}, "deletion")

    def _push_blob(self, connection: http.client.HTTPConnection, own: str, data: bytes) -> None:
        digest = str(Digest.of(data))
        outcome = {f"{own}/blobs/{digest}": digest}
        self._write(connection, "POST", f"{own}/blobs/uploads/?digest={digest}", data, outcome, "blob")

    def _push_in_chunks(self, connection: http.client.HTTPConnection, own: str, data: bytes) -> None:
        digest, middle = str(Digest.of(data)), len(data) // 2
        place = self._write(connection, "POST", f"{own}/blobs/uploads/", b"", {})
        self._write(connection, "PATCH", place, data[:middle], {})
        outcome = {f"{own}/blobs/{digest}": digest}
        self._write(connection, "PUT", f"{place}?digest={digest}", data[middle:], outcome, "blob")

    def _write(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes,
        outcomes: dict[str, str],
        verb: str = "other",
        *,
        leans: bool = False,
    ) -> str:
        """Send, and settle what it comes to; return the Location. `leans`: on what nothing else keeps."""
        self.ledger.attempt(outcomes)
        kind = OCI_IMAGE if "/manifests/" in path else "application/octet-stream"
        connection.request(method, path, body, {"Content-Type": kind})
        reply = connection.getresponse()
        text = reply.read()
        if reply.status not in (201, 202, 204):
            late = self.ledger.grace and time.monotonic() > self.begun + self.ledger.grace
            if late and leans and reply.status == 400 and b"MANIFEST_BLOB_UNKNOWN" in text:
                self.ledger.late += 1
            else:
                self.ledger.refused.append(f"{method} {path}: {reply.status} {text.decode()[:200]}")
            raise ConnectionAbortedError
        self.ledger.settle(verb, outcomes)
        return reply.headers.get("Location", "")


def losses(host: str, ledger: Ledger, *, everything: bool = False) -> list[str]:
    """Read all that was touched since the last time, and say what no client may see."""
    found = []
    connection = http.client.HTTPConnection(host, timeout=TIMEOUT)
    for path in sorted(ledger.legal if everything else ledger.touched):
        connection.request("GET", path, headers={"Accept": "*/*"})
        reply = connection.getresponse()
        data = reply.read()
        seen = {200: str(Digest.of(data)), 404: ABSENT}.get(reply.status, f"status {reply.status}")
        if seen not in ledger.legal[path] and not (seen == ABSENT and ledger.excuses(path)):
            found.append(f"{path} is {seen or 'absent'}, not {' or '.join(ledger.legal[path]) or 'absent'}")
        ledger.legal[path] = {seen}
    ledger.touched.clear()
    connection.close()
    return found
