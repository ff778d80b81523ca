"""Which requests were made: what a test asks for after its client has run."""

import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from registry.api.access_log import Entry

_current: ContextVar["Record | None"] = ContextVar("record", default=None)


@dataclass(slots=True)
class Record:
    """A request that goes on: noted at its beginning, so that no client has its answer before."""

    scope: Scope
    time: float = field(default_factory=time.time)
    status: int = 0
    sent: int = 0
    entry: Entry | None = None  # once the gate knows of it

    def take(self, message: Message) -> None:
        """Before it is sent, or a client could look while the last bytes are not counted yet."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.sent += len(message.get("body", b"")) + message.get("count", 0)

    def as_json(self) -> dict[str, Any]:
        headers: dict[str, str] = {}
        for name, value in ((each.decode("latin-1") for each in pair) for pair in self.scope["headers"]):
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        actor = self.entry.actor if self.entry else None
        return {
            "method": self.scope["method"],
            "path": (self.scope.get("raw_path") or self.scope["path"].encode()).decode("latin-1"),
            "query": self.scope["query_string"].decode("latin-1"),
            "headers": headers,
            "status": self.status,
            "bytes": self.sent,
            "who": actor.name if actor else "",
            "time": self.time,
        }


class Recorder:
    """An ASGI app around one that has the witness `Naming` and is wrapped; `records` is the caller's."""

    def __init__(self, app: ASGIApp, records: list[Record]) -> None:
        self._app, self._records = app, records

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = Record(scope)
        self._records.append(record)
        _current.set(record)

        async def watched(message: Message) -> None:
            record.take(message)
            await send(message)

        await self._app(scope, receive, watched)


class Naming:
    """A Witness: by it a record learns who asked."""

    def begin(self, entry: Entry) -> None:
        if (record := _current.get()) is not None:
            record.entry = entry

    def end(self, entry: Entry) -> None:
        """Nothing: the record has the entry itself."""
