"""What an attacker sends, and what every answer to it must be."""

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType

from tests.api.rows import CODES
from tests.live.servers import PROJECT, Live
from tests.live.wire import Answer, Closed, Wire

MIB = 2**20
PEAK = 256 * MIB  # of one process, whatever was sent
GROWTH = 96 * MIB  # of one process, once all of it is over: the C library keeps some of what was freed

_ID = re.compile(r"[0-9a-f]{32}")

Fields = Mapping[str, str] | Iterable[tuple[str, str]]


class Line:
    """Requests on one connection, as long as the server keeps it; then on the next one."""

    def __init__(self, host: str, source: str = "") -> None:
        self._host, self._source = host, source
        self._wire: Wire | None = None

    def __enter__(self) -> "Line":
        return self

    def __exit__(self, kind: type[BaseException] | None, _: object, __: TracebackType | None) -> None:
        self._hang_up()

    def ask(self, method: str, target: str, body: bytes = b"", headers: Fields = ()) -> Answer:
        """Target and headers as they are, whatever they hold."""
        sent = raw(method, target, body, headers)
        kept = self._wire is not None
        self._wire = self._wire or Wire(self._host, source=self._source)
        try:
            self._wire.send(sent)
            answer = self._wire.answer(method)
        except (Closed, ConnectionError):
            self._hang_up()
            if not kept:
                raise
            return self.ask(method, target, body, headers)
        if answer.closing:
            self._hang_up()
        return answer

    def _hang_up(self) -> None:
        if self._wire:
            self._wire.close()
            self._wire = None


def raw(method: str, target: str, body: bytes = b"", headers: Fields = ()) -> bytes:
    """A request with one Host and its length, unless the headers name others."""
    given = list(headers.items() if isinstance(headers, Mapping) else headers)
    names = {name.lower() for name, _ in given}
    fields = [("Host", "registry.test")] if "host" not in names else []
    if not names & {"content-length", "transfer-encoding"} and (body or method not in ("GET", "HEAD")):
        fields.append(("Content-Length", str(len(body))))
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in [*fields, *given])]
    return "\r\n".join([*lines, "", ""]).encode() + body


def closed(answer: Answer) -> None:
    """What every answer has, and what none has."""
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert not {"set-cookie", "access-control-allow-origin", "x-evil", "refresh"} & set(answer.headers)


def refused(answer: Answer, status: int | set[int], code: str | set[str], *, method: str = "GET") -> None:
    """An error of ours, in the specification's form."""
    statuses = {status} if isinstance(status, int) else status
    codes = {code} if isinstance(code, str) else code
    assert answer.status in statuses, answer
    closed(answer)
    assert "location" not in answer.headers
    if method == "HEAD":
        return
    errors = json.loads(answer.body)["errors"]
    assert errors, answer
    for error in errors:
        assert error["code"] in codes, answer
        assert error["code"] in CODES | {"UNKNOWN"}
        assert set(error) == {"code", "message", "detail"}
    if "x-request-id" in answer.headers:  # the edge's own refusals have none
        assert _ID.fullmatch(answer.headers["x-request-id"])


def resident(pid: int, what: str = "VmRSS") -> int:
    """Bytes."""
    found = re.search(rf"{what}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


def require_small(live: Live, before: Mapping[int, int]) -> None:
    """No worker was replaced, none was ever large, and all are nearly as they were."""
    assert set(live.workers()) == set(before), "a worker has died"
    for worker, idle in before.items():
        assert resident(worker, "VmHWM") < PEAK
        assert resident(worker) - idle < GROWTH


def require_sound(root: Path) -> None:
    found = subprocess.run(
        [sys.executable, "-m", "registry", "fsck", "--root", str(root)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr


def stored(root: Path) -> frozenset[str]:
    """Every file that holds what somebody sent."""
    folders = (root / "blobs", root / "uploads", root / "fetches", root / "quarantine")
    return frozenset(str(path) for folder in folders for path in folder.rglob("*") if path.is_file())
