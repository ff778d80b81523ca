"""HTTP/1.1 as the strictest reader has it (RFC 9112): which requests a stream of bytes holds."""

import re
from dataclasses import dataclass

# Of a request line's parts there may be many spaces between: to nobody do they mean anything (section 3).
_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ +([\x21-\xff]+) +HTTP/1\.([01])")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[\t ]*(.*?)[\t ]*", re.DOTALL)
_SIZE = re.compile(rb"([0-9A-Fa-f]+)[\t ]*(?:;[^\r\n]*)?")


@dataclass(frozen=True, slots=True)
class Reading:
    """`targets` of all requests whose heads have one meaning, up to where the stream has none.

    `due` is how many answers there must be: one for each request that is whole, and one for a fault.
    """

    targets: tuple[bytes, ...]
    faulty: bool
    due: int


class Fault(Exception):
    """From here on two readers may see two things."""


class Open(Exception):
    """The stream ends within a request."""


def read(stream: bytes) -> Reading:
    begun: list[bytes] = []
    whole: list[bytes] = []
    faulty = False
    try:
        while stream := stream.lstrip(b"\r\n"):  # section 2.2: empty lines before a request are no fault
            target, length, chunked, stream = _read_head(stream)
            begun.append(target)
            stream = _behind_chunks(stream) if chunked else _behind(stream, length)
            whole.append(target)
    except Open:
        pass
    except Fault:
        faulty = True
    return Reading(tuple(begun), faulty, len(whole) + faulty)


def _read_head(stream: bytes) -> tuple[bytes, int, bool, bytes]:
    """The target, the body's framing, and what is behind the head."""
    head, end, rest = stream.partition(b"\r\n\r\n")
    if not end:
        raise Open
    first, *lines = head.split(b"\r\n")
    line = _LINE.fullmatch(first)
    if not line or set(head.replace(b"\r\n", b"")) & set(b"\r\n"):
        raise Fault
    fields = [_FIELD.fullmatch(each) for each in lines]
    named = [(field[1].lower(), field[2]) for field in fields if field]
    if len(named) < len(fields):
        raise Fault
    length, chunked = _framing(named, old=line[2] == b"0")
    return line[1], length, chunked, rest


def _framing(fields: list[tuple[bytes, bytes]], *, old: bool) -> tuple[int, bool]:
    lengths = [value for name, value in fields if name == b"content-length"]
    codings = [value.lower() for name, value in fields if name == b"transfer-encoding"]
    if len(lengths) + len(codings) > 1 or (codings and (old or codings != [b"chunked"])):
        raise Fault
    if lengths and not re.fullmatch(rb"[0-9]{1,19}", lengths[0]):
        raise Fault
    return int(lengths[0]) if lengths else 0, bool(codings)


def _behind(stream: bytes, length: int) -> bytes:
    if len(stream) < length:
        raise Open
    return stream[length:]


def _behind_chunks(stream: bytes) -> bytes:
    while True:
        line, stream = _split(stream)
        size = _SIZE.fullmatch(line)
        if not size or len(size[1]) > 16:
            raise Fault
        length = int(size[1], 16)
        if not length:
            break
        stream = _behind(stream, length)
        if len(stream) < 2:
            raise Open
        if stream[:2] != b"\r\n":
            raise Fault
        stream = stream[2:]
    while True:
        line, stream = _split(stream)
        if not line:
            return stream
        if not _FIELD.fullmatch(line):
            raise Fault


def _split(stream: bytes) -> tuple[bytes, bytes]:
    """A line of framing, and what is behind it."""
    line, end, rest = stream.partition(b"\r\n")
    if b"\n" in line or b"\r" in (line if end else line[:-1]):
        raise Fault
    if not end:
        raise Open
    return line, rest
