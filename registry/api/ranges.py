"""Byte ranges (RFC 9110 §14), as arithmetic: nothing here reads or sends."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from registry.errors import RegistryError

MAX_RANGES = 1024  # what podman asks for in one GET of a zstd:chunked layer
_RANGE = re.compile(r"([0-9]{1,19})-([0-9]{0,19})|-([0-9]{1,19})", re.ASCII)
_CHUNK = re.compile(r"([0-9]{1,19})-([0-9]{1,19})", re.ASCII)


class Unsatisfiable(RegistryError):
    """No range asked for has a byte of the content."""

    def __init__(self, size: int) -> None:
        super().__init__(f"the ranges asked for have no byte of the content, which has {size}")
        self.size = size


class InvalidContentRange(RegistryError):
    def __init__(self, text: str) -> None:
        super().__init__(
            f"{text[:80]!r} is not the range of a chunk: expected first-last, both inclusive, as in 0-1023"
        )


@dataclass(frozen=True, slots=True)
class Span:
    """`length` bytes from `start`; never empty."""

    start: int
    length: int

    @property
    def last(self) -> int:
        return self.start + self.length - 1


def parse_range(header: str | None, size: int) -> list[Span] | None:
    """What to send of `size` bytes, in the order asked for; None: everything, as if there were no header.

    None for another unit, for what is not the grammar, for more than MAX_RANGES and for ranges that overlap.
    The spans share no byte, so they are never longer than the content. A range beyond the end is left out;
    Unsatisfiable is raised if none is left, or if one ends before it begins: §14.1.1 lets a server ignore or
    reject that, and the conformance suite wants it rejected.
    """
    unit, equals, text = (header or "").strip(" \t").partition("=")
    # 206 cannot say "no bytes", and Go's server ignores ranges of empty content, so clients are used to 200.
    if unit.lower() != "bytes" or not equals or size == 0:
        return None
    # §5.6.1: a list may have empty members.
    asked = [stripped for member in text.split(",") if (stripped := member.strip(" \t"))]
    if not asked or len(asked) > MAX_RANGES:
        return None
    matches = [match for member in asked if (match := _RANGE.fullmatch(member))]
    if len(matches) < len(asked):
        return None
    spans = [span for match in matches if (span := _span(*match.groups(), size=size))]
    if not spans:
        raise Unsatisfiable(size)
    return None if _overlap(spans) else spans


def _span(first: str | None, last: str | None, suffix: str | None, *, size: int) -> Span | None:
    if first is None:
        length = min(int(suffix or 0), size)
        return Span(size - length, length) if length else None
    start = int(first)
    if last and int(last) < start:
        raise Unsatisfiable(size)
    if start >= size:
        return None
    return Span(start, (min(int(last), size - 1) if last else size - 1) - start + 1)


def _overlap(spans: Iterable[Span]) -> bool:
    ordered = sorted(spans, key=lambda span: span.start)
    return any(before.last >= after.start for before, after in pairwise(ordered))


def content_range(span: Span, size: int) -> str:
    return f"bytes {span.start}-{span.last}/{size}"


def parse_content_range(text: str) -> tuple[int, int]:
    """First and last byte of an upload's chunk: the specification's `first-last`, so without unit or size.

    Raises InvalidContentRange.
    """
    match = _CHUNK.fullmatch(text)
    if not match or int(match[2]) < int(match[1]):
        raise InvalidContentRange(text)
    return int(match[1]), int(match[2])


def part_header(boundary: str, span: Span, size: int, content_type: str) -> bytes:
    """What goes before a part's bytes in multipart/byteranges (§14.6)."""
    lines = (
        "",
        f"--{boundary}",
        f"Content-Type: {content_type}",
        f"Content-Range: {content_range(span, size)}",
        "",
        "",
    )
    return "\r\n".join(lines).encode("ascii")


def closing(boundary: str) -> bytes:
    """What goes behind the last part's bytes."""
    return f"\r\n--{boundary}--\r\n".encode("ascii")


def multipart_length(boundary: str, spans: Sequence[Span], size: int, content_type: str) -> int:
    """The Content-Length of the whole answer."""
    headers = sum(len(part_header(boundary, span, size, content_type)) for span in spans)
    return headers + sum(span.length for span in spans) + len(closing(boundary))
