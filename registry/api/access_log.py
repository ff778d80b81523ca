"""One line of JSON for each request, with the id that the answer carries too."""

import asyncio
import logging
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from json.encoder import encode_basestring_ascii as quoted
from typing import TextIO

from starlette.types import Message, Scope, Send

from registry.access import Actor, Operation

# Parameters whose values are shown; any other may be a secret that a client should not have put there. Not
# `account`: docker sends as it what people type for a user name, and that is a password now and then.
_SHOWN = frozenset(
    b"digest digest-algorithm mount from tag n last artifactType ns service scope client_id "
    b"offline_token".split()
)
_WORD = re.compile(rb"[A-Za-z_-]{1,32}")
_HIDDEN = b"***"

_TOGETHER = 0.01  # seconds
_LONGEST = 1000  # characters of an error in its line: one may name thousands of digests

logger = logging.getLogger("registry.access")
failures = logging.getLogger("registry")

Sink = Callable[[str], None]
"""Takes a line without its end."""


class Entry:
    """A request, as it comes to be known: for its line, and for witnesses.

    `actor` is None until it is known who asks, `operation` until it is known for what; `parameters` are those
    of the path. `sent` are the bytes of the body; `fact` is what an answer that is an error says. `upstream`
    is whose content was asked for, and `cache` what came of it: hit, miss, stale, or negative for what was
    said to be missing before; `namespace` is that of its query, if it is an upstream's name.
    """

    def __init__(self, scope: Scope, request_id: str, sink: Sink | None) -> None:
        self._scope, self.id, self._sink = scope, request_id, sink
        self._begun = time.monotonic()
        self.status, self.sent = 0, 0
        self.started = False  # whether the client has been told a status
        self._error: dict[str, str] = {}
        self.actor: Actor | None = None
        self.operation: Operation | None = None
        self.parameters: Mapping[str, object] = {}
        self.fact: Exception | None = None
        self.upstream, self.cache, self.namespace = "", "", ""

    @property
    def remote(self) -> str:
        return remote_of(self._scope.get("client"))

    @property
    def agent(self) -> str:
        return agent_of(self._scope["headers"]).decode("latin-1")

    @property
    def shows_credentials(self) -> bool:
        return any(name == b"authorization" for name, _ in self._scope["headers"])

    def failed(self, error: Exception, status: int, code: str) -> None:
        self.status, self.fact = status, error
        self._error = {"code": code, "error": (str(error) or type(error).__name__)[:_LONGEST]}
        if status == 500:
            failures.error("request %s failed", self.id, exc_info=error)

    @property
    def cached(self) -> dict[str, str]:
        """What the line says of it."""
        return {"cache": self.cache, "upstream": self.upstream} if self.cache else {}

    def note_cache(self, upstream: str, cache: str) -> None:
        # What was pushed here is nothing that an upstream's figures count.
        self.upstream, self.cache = upstream if cache else "", cache

    def watch(self, send: Send) -> Send:
        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.status, self.started = message["status"], True
            else:
                self.sent += len(message.get("body", b"")) + message.get("count", 0)
            await send(message)

        return watched

    def end(self) -> None:
        if self._sink is None:
            return
        scope = self._scope
        what = describe(scope["method"], target_of(scope), self.status, self.sent)
        seconds = time.monotonic() - self._begun
        agent = agent_of(scope["headers"])
        who = self.actor.name if self.actor else ""
        said = {"who": who, **self._error} if who else self._error
        if self.cache:
            said = {**said, **self.cached}
        self._sink(render(self.id, remote_of(scope.get("client")), what, seconds, agent, said))


def describe(method: str, target: bytes, status: int, sent: int) -> str:
    """The part of a line that is the same whenever the same is answered."""
    shown = _without_secrets(target) if b"?" in target else target
    return (
        f'"method": {_quoted(method)}, "target": {_quoted(shown.decode("latin-1"))}, '
        f'"status": {status}, "bytes": {sent}'
    )


def render(
    request_id: str, remote: str, what: str, seconds: float, agent: bytes, also: Mapping[str, str]
) -> str:
    """The line, put together by hand: json.dumps of as much takes three times as long."""
    more = "".join([f", {quoted(name)}: {_quoted(text)}" for name, text in also.items()]) if also else ""
    return (
        f'{{"time": "{_now()}", "id": "{request_id}", "remote": {quoted(remote)}, {what}, '
        f'"seconds": {seconds:.6f}, "agent": {_quoted(agent.decode("latin-1"))}{more}}}'
    )


def _quoted(text: str) -> str:
    """JSON allows delete (7f) as it is; a terminal need not."""
    return quoted(text).replace("\x7f", "\\u007f")


def _without_secrets(target: bytes) -> bytes:
    path, _, query = target.partition(b"?")
    return b"%b?%b" % (path, b"&".join(map(_shown, query.split(b"&"))))


def _shown(parameter: bytes) -> bytes:
    """Names are kept if they look like names: a secret may stand alone, without one."""
    name, equals, _ = parameter.partition(b"=")
    if not name or (name in _SHOWN and b";" not in parameter):
        return parameter
    return b"%b=%b" % (name, _HIDDEN) if equals and _WORD.fullmatch(name) else _HIDDEN


def _now() -> str:
    return _at(int(time.time() * 1000))


@lru_cache(maxsize=1)
def _at(milliseconds: int) -> str:
    """Of many requests in one millisecond, only one asks for this."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")


def target_of(scope: Scope) -> bytes:
    """What the request line has."""
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope["query_string"]
    return b"%b?%b" % (path, query) if query else path


def remote_of(client: Sequence[str | int] | None) -> str:
    return str(client[0]) if client else ""


def agent_of(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    for name, value in headers:
        if name == b"user-agent":
            return value
    return b""


class Lines:
    """Writes many lines at once: those of a turn of the event loop, or of some milliseconds if many come."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._waiting: list[str] = []
        self._written = 0.0

    def __call__(self, line: str) -> None:
        if not self._waiting:
            loop = asyncio.get_running_loop()
            if loop.time() - self._written > _TOGETHER:
                loop.call_soon(self.write)
            else:
                loop.call_later(_TOGETHER, self.write)
        self._waiting.append(line)

    def write(self) -> None:
        """What waits, now."""
        lines, self._waiting = self._waiting, []
        if not lines:
            return
        with suppress(RuntimeError):  # no loop runs any more
            self._written = asyncio.get_running_loop().time()
        with suppress(OSError):  # nobody reads them: that is no reason to stop serving
            self._stream.write("\n".join([*lines, ""]))
            self._stream.flush()


class AccessLog:
    """`write=False` keeps the ids and the failures, and leaves the lines out."""

    def __init__(self, *, write: bool = True, sink: Sink = logger.info) -> None:
        self._sink = sink if write else None

    @property
    def sink(self) -> Sink | None:
        """Where a line goes; None: nowhere."""
        return self._sink

    def begin(self, scope: Scope, request_id: str) -> Entry:
        return Entry(scope, request_id, self._sink)
