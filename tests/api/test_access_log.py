"""Lines of the access log: what stands in them, and how many go out at once."""

import asyncio
import io
import json

import pytest

from registry.api.access_log import Lines, describe, render


class Stream(io.StringIO):
    """Counts the writes."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[int] = []

    def write(self, text: str) -> int:
        self.writes.append(text.count("\n"))
        return super().write(text)


@pytest.mark.parametrize(
    "hostile", ['"', "\n", "\\", "\x00", "ü", "\u2028", "\x7f", "\x1b[31m", '", "status": 200, "x": "']
)
def test_a_line_is_json_whatever_a_client_sends(hostile: str) -> None:
    sent = f"a{hostile}b"
    raw = sent.encode("latin-1", "backslashreplace")
    what = describe(sent, raw, 404, 7)
    line = render("id", "192.0.2.1", what, 0.25, raw, {"code": sent})
    assert line.isprintable()
    assert line.isascii()
    told = json.loads(line)
    assert (told["method"], told["code"], told["status"], told["bytes"]) == (sent, sent, 404, 7)
    assert told["target"] == told["agent"] == raw.decode("latin-1")
    assert (told["id"], told["remote"], told["seconds"]) == ("id", "192.0.2.1", 0.25)


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("", ""),
        ("?n=5&last=a", "?n=5&last=a"),
        ("?digest=sha256%3Aab&mount=x&from=a%2Fb", "?digest=sha256%3Aab&mount=x&from=a%2Fb"),
        ("?scope=repository:a:pull&service=b", "?scope=repository:a:pull&service=b"),
        ("?access_token=s3cret&n=1", "?access_token=***&n=1"),
        ("?account=s3cret", "?account=***"),
        ("?N=s3cret&%6e=s3cret", "?N=***&***"),
        ("?s3cret", "?***"),
        ("?s3cret=1&s-cret", "?***&***"),
        ("?n=1;token=s3cret", "?n=***"),
        ("?token=a=s3cret?n=s3cret", "?token=***"),
        ("?&&", "?&&"),
        ("?", "?"),
    ],
)
def test_a_query_shows_no_value_that_may_be_a_secret(query: str, shown: str) -> None:
    what = describe("GET", b"/v2/" + query.encode(), 200, 0)
    assert json.loads("{" + what + "}")["target"] == "/v2/" + shown


async def test_a_line_that_comes_alone_is_written_at_once() -> None:
    stream = Stream()
    lines = Lines(stream)
    lines("one")
    lines("two")
    assert stream.writes == []
    await asyncio.sleep(0)
    assert stream.getvalue() == "one\ntwo\n"
    assert stream.writes == [2]


async def test_many_lines_share_a_write() -> None:
    stream = Stream()
    lines = Lines(stream)
    for number in range(50):
        lines(str(number))
        await asyncio.sleep(0)
    await asyncio.sleep(0.1)
    assert stream.getvalue().split() == [str(number) for number in range(50)]
    assert len(stream.writes) < 10


async def test_what_waits_can_be_written_at_the_end() -> None:
    stream = Stream()
    lines = Lines(stream)
    for text in ("one", "two"):
        lines(text)
        await asyncio.sleep(0)
    lines.write()
    assert stream.getvalue() == "one\ntwo\n"
    lines.write()
    assert stream.writes == [1, 1]


async def test_a_stream_that_nobody_reads_is_no_reason_to_stop() -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    lines = Lines(Broken())
    lines("one")
    await asyncio.sleep(0)
    lines("two")
    lines.write()
