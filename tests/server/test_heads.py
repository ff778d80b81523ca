"""Where heads end in what arrives, however it is cut. Which are refused: test_protocol and test_edge."""

import pytest

from registry.server.heads import Ends

HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize("size", range(1, len(HEAD) + 8))
def test_nothing_behind_a_head_is_given_with_it(size: int) -> None:
    ends, given, kept = Ends(), b"", HEAD + b"body"
    while kept and not given.endswith(b"\r\n\r\n"):
        piece, kept = kept[:size], kept[size:]
        now, back = ends.split(piece, in_head=True)
        given, kept = given + now, back + kept
    assert (given, kept) == (HEAD, b"body")


def test_an_end_may_begin_in_a_body() -> None:
    ends = Ends()
    assert ends.split(b"body GET / HTTP/1.1\r\n\r", in_head=False) == (b"body GET / HTTP/1.1\r\n\r", b"")
    assert ends.split(b"\nnext", in_head=True) == (b"\n", b"next")
