"""Answers to what never becomes a request of the app's: an error as clients know it, and the end."""

import json
from collections.abc import Iterable

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

_FIELDS = (
    b"content-type: application/json\r\n"
    b"x-content-type-options: nosniff\r\n"
    b"content-security-policy: default-src 'none'; sandbox\r\n"
    b"connection: close\r\n"
)


def refusal(status: int, message: str, defaults: Iterable[bytes]) -> bytes:
    """A whole answer. `defaults` are the fields that the server adds to every one."""
    code = "UNKNOWN" if status >= 500 else "UNSUPPORTED"
    later = b"retry-after: 1\r\n" if status == 503 else b""
    body = json.dumps({"errors": [{"code": code, "message": message, "detail": {}}]}).encode()
    return b"".join(
        [STATUS_LINE[status], *defaults, _FIELDS, later, b"content-length: %d\r\n\r\n" % len(body), body]
    )
