"""Heads of requests: where they end, and which are refused."""

from collections.abc import Sequence

_END = b"\r\n\r\n"

Headers = Sequence[tuple[bytes, bytes]]


class Refused(Exception):
    """Raised in a parser's callback: uvicorn then calls `send_400_response`."""


class Ends:
    """Finds the ends of heads in what arrives."""

    def __init__(self) -> None:
        self._last = b""  # the last bytes of a head that is not yet complete

    def split(self, data: bytes, *, in_head: bool) -> tuple[bytes, bytes]:
        """What the parser is given, and what is kept from it: nothing behind the end of a head."""
        if not in_head:
            self._last = data[-3:]  # the next head may begin in here
            return data, b""
        joined = self._last + data
        end = joined.find(_END)
        if end < 0:
            self._last = joined[-3:]
            return data, b""
        end += len(_END) - len(self._last)
        self._last = b""
        return (data, b"") if end == len(data) else (data[:end], data[end:])


def require_one_meaning(version: str, headers: Headers, *, upgrades: bool) -> None:
    """Raises Refused for what another reader might understand in another way."""
    names = [name for name, _ in headers]
    if version not in ("1.0", "1.1"):
        raise Refused
    if version == "1.1" and names.count(b"host") != 1:  # RFC 9112, section 3.2
        raise Refused
    if version == "1.0" and b"transfer-encoding" in names:  # section 6.1: faulty framing
        raise Refused
    # A coding that the parser does not know it refuses only when the app has the request already.
    codings = [value.lower() for name, value in headers if name == b"transfer-encoding"]
    if codings not in ([], [b"chunked"]):
        raise Refused
    if upgrades and not _is_bodiless(headers):
        raise Refused  # the parser ends it at its head, and would read its body as requests


def _is_bodiless(headers: Headers) -> bool:
    lengths = [value for name, value in headers if name in (b"content-length", b"transfer-encoding")]
    return lengths in ([], [b"0"])
