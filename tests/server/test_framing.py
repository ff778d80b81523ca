"""Chunked and Length: one reading of a body however it is cut, and never a laxer one than the parser's."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.api.errors import BodyMalformed
from registry.server.framing import Chunked, Length, framing_of

KIB = 2**10
HEAD = b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
NEXT = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Outcome:
    body: bytes
    rest: bytes = b""
    ended: bool = True
    faulty: bool = False


def ours(pieces: Iterable[bytes]) -> Outcome:
    """As a taker feeds it: each piece in the same buffer, which is another piece's a moment later."""
    framing, body, behind = Chunked(), bytearray(), bytearray()
    for piece in pieces:
        if framing.ended or framing.fault:
            behind += piece
            continue
        buffer = bytearray(piece)
        for part in framing.parts(memoryview(buffer)):
            assert part
            body += part
        buffer[:] = b"!" * len(buffer)
    assert framing.fault is None or isinstance(framing.fault, BodyMalformed)
    rest = framing.rest + bytes(behind) if framing.ended else b""
    return Outcome(bytes(body), rest, framing.ended, framing.fault is not None)


class Parsed:
    """What the parser calls back."""

    def __init__(self) -> None:
        self.body, self.ended = b"", False

    def on_body(self, body: bytes) -> None:
        self.body += b"" if self.ended else body

    def on_message_complete(self) -> None:
        self.ended = True


def theirs(raw: bytes) -> Outcome:
    """By the parser, which does not tell what is behind the end, and may find a fault there."""
    parsed, faulty = Parsed(), False
    parser = httptools.HttpRequestParser(parsed)
    parser.feed_data(HEAD)
    try:
        parser.feed_data(raw)
    except httptools.HttpParserError:
        faulty = not parsed.ended
    return Outcome(parsed.body, ended=parsed.ended, faulty=faulty)


def cuts(raw: bytes) -> Iterator[list[bytes]]:
    """Whole, byte by byte, and in two at every place."""
    yield [raw]
    yield [raw[place : place + 1] for place in range(len(raw))]
    for place in range(1, len(raw)):
        yield [raw[:place], raw[place:]]


END = b"0\r\n\r\n"

BODIES: dict[str, tuple[bytes, Outcome]] = {
    "nothing": (END, Outcome(b"")),
    "one chunk": (b"5\r\nabcde\r\n" + END, Outcome(b"abcde")),
    "three chunks": (b"1\r\na\r\n2\r\nbc\r\n3\r\ndef\r\n" + END, Outcome(b"abcdef")),
    "lower case": (b"a\r\n0123456789\r\n" + END, Outcome(b"0123456789")),
    "upper case": (b"A\r\n0123456789\r\n" + END, Outcome(b"0123456789")),
    "two digits": (
        b"1a\r\n" + b"x" * 26 + b"\r\n1A\r\n" + b"y" * 26 + b"\r\n" + END,
        Outcome(b"x" * 26 + b"y" * 26),
    ),
    "zeros before the size": (b"0005\r\nabcde\r\n0000\r\n\r\n", Outcome(b"abcde")),
    "zeros before a later size": (b"1\r\na\r\n0005\r\nbcdef\r\n" + END, Outcome(b"abcdef")),
    "sixteen digits": (b"0000000000000005\r\nabcde\r\n" + END, Outcome(b"abcde")),
    "sixteen digits later": (b"1\r\na\r\n0000000000000005\r\nbcdef\r\n" + END, Outcome(b"abcdef")),
    "framing as data": (b"7\r\n\r\n0\r\n\r\n\r\n" + END, Outcome(b"\r\n0\r\n\r\n")),
    "an extension": (b"5;a\r\nabcde\r\n" + END, Outcome(b"abcde")),
    "an extension's value": (b"5;a=b\r\nabcde\r\n" + END, Outcome(b"abcde")),
    "an extension's quoted value": (b'5;a="b; \\"c\\\\"\r\nabcde\r\n' + END, Outcome(b"abcde")),
    "an empty quoted value": (b'5;a=""\r\nabcde\r\n' + END, Outcome(b"abcde")),
    "many extensions": (b'5;a;b=c;d="e";f\r\nabcde\r\n' + END, Outcome(b"abcde")),
    "an extension of a later chunk": (b"1\r\na\r\n1;a=b\r\nb\r\n" + END, Outcome(b"ab")),
    "an extension of the last chunk": (b"1\r\na\r\n0;a=b\r\n\r\n", Outcome(b"a")),
    "an extension longer than one look": (b"1;a=" + b"b" * 200 + b"\r\na\r\n" + END, Outcome(b"a")),
    "a trailer": (b"1\r\na\r\n0\r\nChecksum: 1\r\n\r\n", Outcome(b"a")),
    "trailers": (b"1\r\na\r\n0\r\nA: 1\r\nB:\r\nC: \t\x80 2 \r\n\r\n", Outcome(b"a")),
    "a trailer longer than one look": (b"1\r\na\r\n0\r\nA: " + b"b" * 200 + b"\r\n\r\n", Outcome(b"a")),
    "the next request": (b"1\r\na\r\n" + END + NEXT, Outcome(b"a", NEXT)),
    "the next request behind a trailer": (b"0\r\nA: 1\r\n\r\n" + NEXT, Outcome(b"", NEXT)),
    "what looks like a chunk behind the end": (END + b"1\r\na\r\n" + END, Outcome(b"", b"1\r\na\r\n" + END)),
    "an end of line behind the end": (END + b"\r\n", Outcome(b"", b"\r\n")),
    "half a chunk": (b"5\r\nabc", Outcome(b"abc", ended=False)),
    "a chunk without its end": (b"5\r\nabcde", Outcome(b"abcde", ended=False)),
    "the largest size": (b"ffffffffffffffff\r\nabc", Outcome(b"abc", ended=False)),
    "no last chunk": (b"5\r\nabcde\r\n", Outcome(b"abcde", ended=False)),
    "no end of the trailers": (b"5\r\nabcde\r\n0\r\n", Outcome(b"abcde", ended=False)),
}


@pytest.mark.parametrize(("raw", "expected"), BODIES.values(), ids=BODIES)
def test_a_body_has_one_reading(raw: bytes, expected: Outcome) -> None:
    for pieces in cuts(raw):
        assert ours(pieces) == expected, pieces


# Each with the bytes of the body in front of the fault.
MALFORMED: dict[str, tuple[bytes, bytes]] = {
    "no size": (b"\r\nabcde\r\n" + END, b""),
    "no size of a later chunk": (b"1\r\na\r\n\r\nb\r\n" + END, b"a"),
    "an extension without a size": (b";a=b\r\nabcde\r\n" + END, b""),
    "no digit": (b"zz\r\n\r\n", b""),
    "a digit too high": (b"g\r\n\r\n", b""),
    "a digit too high later": (b"1\r\na\r\ng\r\n\r\n", b"a"),
    "negative": (b"-1\r\na\r\n" + END, b""),
    "a sign": (b"+1\r\na\r\n" + END, b""),
    "0x": (b"0x5\r\nabcde\r\n" + END, b""),
    "an underscore": (b"1_0\r\n0123456789abcdef\r\n" + END, b""),
    "a digit that is none in ASCII": ("٣\r\nabc\r\n".encode() + END, b""),
    "too large": (b"10000000000000000\r\na", b""),
    "space before the size": (b" 5\r\nabcde\r\n" + END, b""),
    "space behind the size": (b"5 \r\nabcde\r\n" + END, b""),
    "tab behind the size": (b"1\r\na\r\n5\t\r\nabcde\r\n" + END, b"a"),
    "space before an extension": (b"5 ;a\r\nabcde\r\n" + END, b""),
    "space in front of an extension's name": (b"5; a\r\nabcde\r\n" + END, b""),
    "space in an extension's name": (b"5;a b\r\nabcde\r\n" + END, b""),
    "no extension": (b"5;\r\nabcde\r\n" + END, b""),
    "no extension behind another": (b"5;a=b;\r\nabcde\r\n" + END, b""),
    "an extension's name of no token": (b"5;\x80\r\nabcde\r\n" + END, b""),
    "two values": (b"5;a=b=c\r\nabcde\r\n" + END, b""),
    "a quote without end": (b'5;a="b\r\nabcde\r\n' + END, b""),
    "a quote's end quoted": (b'5;a="\\"\r\nabcde\r\n' + END, b""),
    "something behind a quote": (b'5;a="b"c\r\nabcde\r\n' + END, b""),
    "NUL in an extension": (b"5;a=\x00\r\nabcde\r\n" + END, b""),
    "LF behind the size": (b"5\nabcde\r\n" + END, b""),
    "LF behind a later size": (b"1\r\na\r\n5\nabcde\r\n" + END, b"a"),
    "LF behind the data": (b"5\r\nabcde\n" + END, b"abcde"),
    "LF behind an extension": (b"5;a=b\nabcde\r\n" + END, b""),
    "LF in an extension": (b"5;a=\nb\r\nabcde\r\n" + END, b""),
    "LF behind the last chunk": (b"5\r\nabcde\r\n0\n\r\n", b"abcde"),
    "LF behind a trailer": (b"0\r\nA: 1\n\r\n", b""),
    "LF at the end": (b"5\r\nabcde\r\n0\r\n\n", b"abcde"),
    "CR behind the size": (b"5\rabcde\r\n" + END, b""),
    "CR twice behind the size": (b"5\r\r\nabcde\r\n" + END, b""),
    "CR behind the data": (b"5\r\nabcde\r0\r\n\r\n", b"abcde"),
    "CR twice behind the data": (b"5\r\nabcde\r\r\n" + END, b"abcde"),
    "nothing behind the data": (b"5\r\nabcde" + END, b"abcde"),
    "longer than its size": (b"5\r\nabcdef\r\n" + END, b"abcde"),
    "longer than its size, and no end": (b"5\r\nabcdef", b"abcde"),
    "shorter than its size": (b"5\r\nabc\r\n" + END, b"abc\r\n"),
    "a trailer without a colon": (b"1\r\na\r\n0\r\nabc\r\n\r\n", b"a"),
    "a trailer without a name": (b"1\r\na\r\n0\r\n: b\r\n\r\n", b"a"),
    "space before a trailer's colon": (b"1\r\na\r\n0\r\nA : b\r\n\r\n", b"a"),
    "a folded trailer": (b"1\r\na\r\n0\r\nA: b\r\n c\r\n\r\n", b"a"),
    "NUL in a trailer": (b"1\r\na\r\n0\r\nA: \x00\r\n\r\n", b"a"),
    "DEL in a trailer": (b"1\r\na\r\n0\r\nA: \x7f\r\n\r\n", b"a"),
    "CR in a trailer": (b"1\r\na\r\n0\r\nA: b\rc\r\n\r\n", b"a"),
    "a length as a trailer": (b"1\r\na\r\n0\r\nContent-Length: 1\r\n\r\n", b"a"),
    "a coding as a trailer": (b"1\r\na\r\n0\r\ntransfer-encoding: chunked\r\n\r\n", b"a"),
    "another chunk behind the last": (b"1\r\na\r\n0\r\n1\r\nb\r\n" + END, b"a"),
}

# What we refuse and the parser does not: no client is known that sends it.
STRICTER: dict[str, tuple[bytes, bytes]] = {
    "seventeen digits": (b"00000000000000005\r\nabcde\r\n" + END, b""),
    "seventeen digits later": (b"1\r\na\r\n00000000000000005\r\nabcde\r\n" + END, b"a"),
    "an extension without a name": (b"5;=b\r\nabcde\r\n" + END, b""),
    "an extension of nothing": (b"5;;a\r\nabcde\r\n" + END, b""),
    "an extension without its value": (b"5;a=\r\nabcde\r\n" + END, b""),
}


@pytest.mark.parametrize(
    ("raw", "body"), [*MALFORMED.values(), *STRICTER.values()], ids=[*MALFORMED, *STRICTER]
)
def test_a_malformed_body_has_no_end(raw: bytes, body: bytes) -> None:
    for pieces in cuts(raw):
        assert ours(pieces) == Outcome(body, ended=False, faulty=True), pieces


WHAT_IS_BETWEEN = {
    "an extension": b"1\r\na\r\n1;a=%b\r\nb\r\n" + END,
    "the last chunk's extension": b"2\r\nab\r\n0;a=%b\r\n\r\n",
    "a trailer": b"2\r\nab\r\n0\r\na: %b\r\n\r\n",
}


@pytest.mark.parametrize("form", WHAT_IS_BETWEEN.values(), ids=WHAT_IS_BETWEEN)
def test_what_is_between_is_bounded(form: bytes) -> None:
    """Cut as a client might, and byte by byte up to where nobody has to wait for it."""
    fits, exceeds = form % (b"x" * (64 * KIB - 20)), form % (b"x" * 64 * KIB)
    for size in (len(exceeds), 1500, 64, 1):
        assert ours(fits[at : at + size] for at in range(0, len(fits), size)) == Outcome(b"ab")
        found = ours(exceeds[at : at + size] for at in range(0, len(exceeds), size))
        assert (found.ended, found.faulty, b"ab".startswith(found.body)) == (False, True, True)


def test_what_is_between_is_bounded_in_sum() -> None:
    many = b"a:b\r\n" * (64 * KIB // 5)
    assert ours([b"1\r\na\r\n0\r\n" + many[:-50] + b"\r\n"]) == Outcome(b"a")
    assert ours([b"1\r\na\r\n0\r\n" + many + b"\r\n"]) == Outcome(b"a", ended=False, faulty=True)
    assert ours([b"0;a=" + b"b" * 100 + b"\r\n" + many[:-50] + b"\r\n"]).faulty


def test_what_is_between_is_bounded_for_each_chunk() -> None:
    assert ours([(b"1;a=" + b"b" * 40 * KIB + b"\r\nx\r\n") * 10 + END]) == Outcome(b"x" * 10)


# -- beside the parser -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("raw", "expected"), BODIES.values(), ids=BODIES)
def test_the_parser_reads_the_same(raw: bytes, expected: Outcome) -> None:
    assert theirs(raw) == Outcome(expected.body, ended=expected.ended)


@pytest.mark.parametrize(("raw", "body"), MALFORMED.values(), ids=MALFORMED)
def test_the_parser_refuses_the_same(raw: bytes, body: bytes) -> None:
    assert theirs(raw) == Outcome(body, ended=False, faulty=True)


@pytest.mark.parametrize(("raw", "body"), STRICTER.values(), ids=STRICTER)
def test_the_parser_is_laxer_by_these(raw: bytes, body: bytes) -> None:
    found = theirs(raw)
    assert (found.ended, found.body) == (True, body + b"abcde")


FRAGMENTS = [
    *(
        b"\r\n",
        b"\r",
        b"\n",
        b"0",
        b"5",
        b"F",
        b"x",
        b";",
        b"=",
        b'"',
        b"\\",
        b":",
        b" ",
        b"\t",
        b"\x00",
        b"\x80",
    ),
    *(
        b"\x7f",
        b"-",
        b"abcde",
        b";a=b",
        b';a="b"',
        b"A: b\r\n",
        b"content-length: 1\r\n",
        b"1\r\nz\r\n",
        END,
        NEXT,
    ),
]


@st.composite
def nearly_right(draw: st.DrawFn) -> bytes:
    """A body of the table, with something put into it or in a place of it."""
    raw = draw(st.sampled_from([raw for raw, _ in BODIES.values()]))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(raw)))
        raw = raw[:at] + draw(st.sampled_from(FRAGMENTS)) + raw[at + draw(st.integers(0, 2)) :]
    return raw


@settings(max_examples=500)
@given(st.one_of(nearly_right(), st.lists(st.sampled_from(FRAGMENTS), max_size=10).map(b"".join)))
def test_what_we_accept_the_parser_accepts(raw: bytes) -> None:
    found = ours([raw])
    if found.ended:
        assert theirs(raw) == Outcome(found.body)
    elif found.faulty:
        assert theirs(raw).body.startswith(found.body)
    else:
        assert theirs(raw).body == found.body


SIZES = ["%x", "%X", "%04x", "%016X", "%x;a", "%x;name=value", '%x;name="a;\\"b";c']


@st.composite
def framed(draw: st.DrawFn) -> tuple[bytes, Outcome]:
    chunks = draw(st.lists(st.binary(min_size=1, max_size=300)))
    sizes = [(draw(st.sampled_from(SIZES)) % len(chunk)).encode() for chunk in chunks]
    trailers = draw(st.lists(st.sampled_from([b"A: b\r\n", b"Checksum:1\r\n"]), max_size=3))
    rest = draw(st.sampled_from([b"", b"\r\n", NEXT, END]))
    last = (draw(st.sampled_from(SIZES)) % 0).encode()
    lines = [b"%b\r\n%b\r\n" % pair for pair in zip(sizes, chunks, strict=True)]
    return b"".join([*lines, last, b"\r\n", *trailers, b"\r\n", rest]), Outcome(b"".join(chunks), rest)


@given(framed(), st.data())
def test_what_was_framed_comes_back(body: tuple[bytes, Outcome], data: st.DataObject) -> None:
    raw, expected = body
    places = sorted(data.draw(st.sets(st.integers(1, len(raw) - 1), max_size=20)))
    pieces = [raw[start:end] for start, end in zip([0, *places], [*places, len(raw)], strict=True)]
    assert ours(pieces) == expected
    assert theirs(raw) == Outcome(expected.body)


# -- which framing -----------------------------------------------------------------------------------------


def test_a_length_is_never_exceeded() -> None:
    framing = Length(5)
    assert (framing.most(3), framing.most(100), framing.ended) == (3, 5, False)
    assert framing.parts(memoryview(b"")) == []
    assert b"".join(framing.parts(memoryview(b"abc"))) == b"abc"
    assert (framing.most(100), framing.ended) == (2, False)
    assert b"".join(framing.parts(memoryview(b"de"))) == b"de"
    assert (framing.most(100), framing.ended, framing.rest, framing.fault) == (0, True, b"", None)


CODING, LENGTH = b"transfer-encoding", b"content-length"


@pytest.mark.parametrize(
    ("headers", "kind"),
    [
        ([], None),
        ([(b"host", b"x")], None),
        ([(LENGTH, b"5")], Length),
        ([(LENGTH, b"0")], Length),
        ([(LENGTH, b"0005")], Length),
        ([(b"host", b"x"), (LENGTH, b"5"), (b"expect", b"100-continue")], Length),
        ([(CODING, b"chunked")], Chunked),
        ([(CODING, b"Chunked")], Chunked),
        ([(b"host", b"x"), (CODING, b"CHUNKED"), (b"trailer", b"checksum")], Chunked),
        ([(CODING, b"gzip, chunked")], None),
        ([(CODING, b"chunked, gzip")], None),
        ([(CODING, b"gzip")], None),
        ([(CODING, b"identity")], None),
        ([(CODING, b"xchunked")], None),
        ([(CODING, b"")], None),
        ([(CODING, b"gzip"), (CODING, b"chunked")], None),
        ([(CODING, b"chunked"), (CODING, b"chunked")], None),
        ([(LENGTH, b"5"), (CODING, b"chunked")], None),
        ([(CODING, b"chunked"), (LENGTH, b"5")], None),
        ([(LENGTH, b"5"), (LENGTH, b"5")], None),
    ],
    ids=str,
)
def test_framing_of(headers: list[tuple[bytes, bytes]], kind: type | None) -> None:
    found = framing_of(headers)
    assert (None if found is None else type(found)) is kind


def test_the_length_is_the_fields() -> None:
    found = framing_of([(LENGTH, b"0123")])
    assert found is not None
    assert (found.most(1000), found.ended) == (123, False)
