"""uvicorn's HTTP protocol, stricter. Only this module knows its inside; tests/live/test_edge.py pins that."""

import json
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

_HEADERS = (
    b"content-type: application/json\r\n"
    b"x-content-type-options: nosniff\r\n"
    b"content-security-policy: default-src 'none'; sandbox\r\n"
    b"connection: close\r\n"
)


class Ambiguous(Exception):
    """A request that another reader might understand in another way: a 400, nothing behind it is read."""


class Protocol(HttpToolsProtocol):
    # The request that is being answered; `cycle`, uvicorn's own, is the last one read.
    _running: RequestResponseCycle | None = None

    def on_headers_complete(self) -> None:
        version = self.parser.get_http_version()
        names = [name for name, _ in self.headers]
        if version not in ("1.0", "1.1"):
            raise Ambiguous
        if version == "1.1" and names.count(b"host") != 1:  # RFC 9112, section 3.2
            raise Ambiguous
        if version == "1.0" and b"transfer-encoding" in names:  # section 6.1: faulty framing
            raise Ambiguous
        super().on_headers_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._disconnect()

    def send_400_response(self, msg: str) -> None:
        """With an OCI code. Never into the middle of an earlier answer: that one is cut short instead."""
        running = self._running
        answering = running is not None and running.response_started and not running.response_complete
        self._disconnect()
        if not answering:
            body = json.dumps({"errors": [{"code": "UNSUPPORTED", "message": msg, "detail": {}}]}).encode()
            fields = [b"%b: %b\r\n" % field for field in self.server_state.default_headers]
            length = b"content-length: %d\r\n\r\n" % len(body)
            self.transport.write(b"".join([STATUS_LINE[400], *fields, _HEADERS, length, body]))
        self.transport.close()

    def _disconnect(self) -> None:
        """Tell the request in flight that its client is gone: writing for it would raise from now on."""
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
            self.flow.resume_writing()
