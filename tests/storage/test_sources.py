"""Pieces: small ones are joined, and what came before a break is handed on before the break."""

from collections.abc import AsyncIterator

import pytest

from storage.sources import Pieces
from tests.storage.pushing import body, broken

KIB = 1024


async def hops(source: Pieces) -> list[list[int]]:
    """Lengths of the pieces of each hop."""
    found = []
    while await source.ready():
        found.append([len(piece) for piece in source.take(bytearray())])
        assert source.take(bytearray()) == []
    return found


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([], []),
        ([0], []),
        ([0] * 1024 + [3], [[3]]),
        ([3], [[3]]),
        ([100 * KIB] * 4, [[100 * KIB] * 3, [100 * KIB]]),
        ([1024 * KIB] * 2, [[1024 * KIB]] * 2),
        ([1] * 1500, [[1] * 1024, [1] * 476]),
    ],
    ids=["none", "empty", "many empty", "one", "middling", "large", "tiny"],
)
async def test_pieces_make_hops(pieces: list[int], expected: list[list[int]]) -> None:
    assert await hops(body(*map(bytes, pieces))) == expected


async def test_a_break_comes_after_what_came_before_it() -> None:
    source = broken(ConnectionResetError(), b"ab", b"c")
    assert await source.ready()
    assert source.take(bytearray()) == [b"ab", b"c"]
    for _ in range(2):
        with pytest.raises(ConnectionResetError):
            await source.ready()


async def test_nothing_is_read_before_it_is_asked_for() -> None:
    begun = False

    async def bring() -> AsyncIterator[bytes]:
        nonlocal begun
        begun = True
        yield b"x"

    source = Pieces(bring())
    assert not begun
    assert await source.ready()
    assert begun
