"""How a request's body is framed (RFC 9112, section 6), for bytes that do not pass the parser."""

import re
from collections.abc import Iterable, Sequence
from typing import Protocol

from registry.api.errors import BodyMalformed

_LINE = 64  # bytes looked at for a line's end: chunk sizes have a few
_SMALL = 2**10  # bytes of a chunk below which its framing costs more than its data
_SIP = 64 * 2**10  # bytes of such chunks that are read in one go
_LINES_BYTES = 64 * 2**10  # of trailers, or of one chunk's extensions
# Nowhere laxer than the parser, which refuses white space around an extension and these two as trailers.
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED = rb'"(?:[\t\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"'
_SIZE = re.compile(rb"([0-9a-fA-F]{1,16})(?:;%b(?:=(?:%b|%b))?)*" % (_TOKEN, _TOKEN, _QUOTED))
_TRAILER = re.compile(
    rb"(?!(?:content-length|transfer-encoding):)%b:[\t\x20-\x7e\x80-\xff]*" % _TOKEN, re.IGNORECASE
)
_NAMES = {b"content-length", b"transfer-encoding"}
_BETWEEN = re.compile(rb"\r\n([0-9a-fA-F]{1,15})\r\n")  # what nearly always stands between two chunks


class Framing(Protocol):
    """How far a body has come."""

    @property
    def ended(self) -> bool:
        """Whether the body is complete."""

    @property
    def fault(self) -> Exception | None:
        """Why it cannot go on."""

    @property
    def rest(self) -> bytes:
        """What came behind its end."""

    @property
    def due(self) -> int:
        """How many bytes are still to come at least."""

    def most(self, room: int) -> int:
        """How many of the bytes that come next may be received, of `room` that there is place for."""

    def parts(self, view: memoryview) -> Sequence[memoryview]:
        """The body's bytes among those received, in order. It may move them within `view`."""


class Length:
    """Content-Length: so many bytes (section 6.2). Never takes what is behind them."""

    fault: Exception | None = None
    rest = b""

    def __init__(self, length: int) -> None:
        self._left = length

    @property
    def ended(self) -> bool:
        return self._left == 0

    @property
    def due(self) -> int:
        return self._left

    def most(self, room: int) -> int:
        return min(room, self._left)

    def parts(self, view: memoryview) -> Sequence[memoryview]:
        self._left -= len(view)
        return [view] if view else []


class Chunked:
    """Transfer-Encoding: chunked (section 7.1). Extensions and trailers are read, bounded and ignored."""

    def __init__(self) -> None:
        self.ended, self.rest = False, b""
        self.fault: Exception | None = None
        self._left = 0  # bytes of the chunk's data
        self._line = b""  # of framing, as far as it has come
        self._lines_bytes = 0
        self._state = self._read_size
        self._scattered = False  # the chunks are so small that reading them is dear

    @property
    def due(self) -> int:
        return self._left or 1

    def most(self, room: int) -> int:
        return min(room, _SIP) if self._scattered else room

    def parts(self, view: memoryview) -> Sequence[memoryview]:
        spans: list[tuple[int, int]] = []
        position, end, chunks = 0, len(view), 0
        try:
            while position < end and not self.ended:
                if self._left:
                    stop = min(position + self._left, end)
                    _add(spans, view, position, stop)
                    self._left -= stop - position
                    position, chunks = stop, chunks + 1
                else:
                    position = self._read_line(view, position)
        except BodyMalformed as fault:
            self.fault = fault
        if self.ended:
            self.rest = bytes(view[position:])
        self._scattered = chunks * _SMALL > end
        return [view[start:stop] for start, stop in spans]

    def _read_line(self, view: memoryview, position: int) -> int:
        """Read on in a line of framing; return the position behind it."""
        piece = bytes(view[position : position + _LINE])
        if not self._line and self._state == self._read_end and (found := _BETWEEN.match(piece)):
            self._left = int(found[1], 16)
            self._state = self._read_end if self._left else self._read_trailer
            return position + found.end()
        end = piece.find(b"\n") + 1
        self._line += piece[:end] if end else piece
        self._count(end or len(piece))
        if not end:
            if self._state == self._read_end and self._line != b"\r":
                self._read_end(self._line)  # data, where no end of a line may ever come
            return position + len(piece)
        line, self._line = self._line, b""
        if not line.endswith(b"\r\n"):
            raise BodyMalformed("a line of its framing does not end in CR LF")
        self._state(line[:-2])
        return position + end

    def _count(self, count: int) -> None:
        self._lines_bytes += count
        if self._lines_bytes > _LINES_BYTES:
            raise BodyMalformed(f"its trailers or chunk extensions are larger than {_LINES_BYTES} bytes")

    def _read_size(self, line: bytes) -> None:
        found = _SIZE.fullmatch(line)
        if not found:
            raise BodyMalformed(f"{line[:40]!r} is no chunk size")
        self._left = int(found[1], 16)
        if self._left:
            self._lines_bytes = 0
        self._state = self._read_end if self._left else self._read_trailer

    def _read_end(self, line: bytes) -> None:
        if line:
            raise BodyMalformed("a chunk is longer than its size says")
        self._state = self._read_size

    def _read_trailer(self, line: bytes) -> None:
        if not line:
            self.ended = True
        elif not _TRAILER.fullmatch(line):
            raise BodyMalformed(f"{line[:40]!r} is no trailer field")


def _add(spans: list[tuple[int, int]], view: memoryview, start: int, stop: int) -> None:
    """Small pieces are moved behind the one before: a mebibyte of single bytes would be 175,000 views."""
    if not spans or stop - start >= _SMALL:
        spans.append((start, stop))
        return
    first, last = spans[-1]
    view[last : last + stop - start] = view[start:stop]
    spans[-1] = first, last + stop - start


def framing_of(headers: Iterable[tuple[bytes, bytes]]) -> Framing | None:
    """Of a request whose head the parser has accepted; None where only the parser knows."""
    framing = [(name, value) for name, value in headers if name in _NAMES]
    match framing:
        case [(b"content-length", length)]:
            return Length(int(length))
        case [(b"transfer-encoding", coding)] if coding.lower() == b"chunked":
            return Chunked()
    return None
