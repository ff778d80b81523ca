"""One line of JSON for each request, with the id that the answer carries too."""

import json
import logging
import time
from datetime import UTC, datetime

from starlette.types import Message, Scope, Send

_LONGEST = 1000  # characters of an error in its line: one may name thousands of digests

logger = logging.getLogger("registry.access")
failures = logging.getLogger("registry")


class Entry:
    """A request's line, as it comes to be known."""

    def __init__(self, scope: Scope, request_id: str, *, write: bool) -> None:
        self._scope, self._id, self._write = scope, request_id, write
        self._begun = time.monotonic()
        self._status, self._sent = 0, 0
        self.started = False  # whether the client has been told a status
        self._error: dict[str, str] = {}

    def failed(self, error: Exception, status: int, code: str) -> None:
        self._status = status
        self._error = {"code": code, "error": (str(error) or type(error).__name__)[:_LONGEST]}
        if status == 500:
            failures.error("request %s failed", self._id, exc_info=error)

    def watch(self, send: Send) -> Send:
        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._status, self.started = message["status"], True
            else:
                self._sent += len(message.get("body", b"")) + message.get("count", 0)
            await send(message)

        return watched

    def end(self) -> None:
        if not self._write:
            return
        scope = self._scope
        query = scope["query_string"].decode("latin-1")
        path = scope.get("raw_path", b"").decode("latin-1") or scope["path"]
        client = scope.get("client")
        agents = [value for name, value in scope["headers"] if name == b"user-agent"]
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "id": self._id,
            "remote": client[0] if client else "",
            "method": scope["method"],
            "target": f"{path}?{query}" if query else path,
            "status": self._status,
            "bytes": self._sent,
            "seconds": round(time.monotonic() - self._begun, 6),
            "agent": agents[0].decode("latin-1") if agents else "",
            **self._error,
        }
        logger.info(json.dumps(line))


class AccessLog:
    """`write=False` keeps the ids and the failures, and leaves the lines out."""

    def __init__(self, *, write: bool = True) -> None:
        self._write = write

    def begin(self, scope: Scope, request_id: str) -> Entry:
        return Entry(scope, request_id, write=self._write)
