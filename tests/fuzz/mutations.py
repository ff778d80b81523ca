"""Changes that leave input nearly right: of words and signs, where a fuzzer of bytes would change letters."""

import random
import re
from collections.abc import Callable, Sequence

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[A-Za-z0-9]+|\r\n|.', re.DOTALL)
_AT_ONCE = (1, 1, 1, 2, 3, 6)
_LONGEST = 2**14

Tokens = list[bytes]
Random = random.Random


def mutate(data: bytes, words: Sequence[bytes], chance: Random) -> bytes:
    """`data` with one or some changes; `words` are what may come in anew."""
    tokens = _TOKEN.findall(data)
    for _ in range(chance.choice(_AT_ONCE)):
        chance.choice(_CHANGES)(tokens, words, chance)
    return b"".join(tokens)[:_LONGEST]


def _place(tokens: Tokens, chance: Random) -> int:
    return chance.randrange(len(tokens) + 1)


def _slice(tokens: Tokens, chance: Random) -> slice:
    start = _place(tokens, chance)
    return slice(start, start + chance.choice((1, 1, 2, 3, 5, 8, 13, 40)))


def _remove(tokens: Tokens, words: Sequence[bytes], chance: Random) -> None:
    del tokens[_slice(tokens, chance)]


def _repeat(tokens: Tokens, words: Sequence[bytes], chance: Random) -> None:
    """Elsewhere or here, for which the order of arguments is all the same."""
    place = _place(tokens, chance)
    tokens[place:place] = tokens[_slice(tokens, chance)]


def _repeat_lately(tokens: Tokens, words: Sequence[bytes], chance: Random) -> None:
    """Right behind itself: a field, an element, a chunk."""
    taken = _slice(tokens, chance)
    tokens[taken.stop : taken.stop] = tokens[taken]


def _exchange(tokens: Tokens, words: Sequence[bytes], chance: Random) -> None:
    """Two tokens of one sort, which is often still good grammar."""
    place = _place(tokens, chance)
    if place < len(tokens):
        alike = [each for each, token in enumerate(tokens) if token[:1] == tokens[place][:1]]
        other = chance.choice(alike)
        tokens[place], tokens[other] = tokens[other], tokens[place]


def _insert(tokens: Tokens, words: Sequence[bytes], chance: Random) -> None:
    place = _place(tokens, chance)
    tokens[place:place] = [chance.choice(words)]


def _replace(tokens: Tokens, words: Sequence[bytes], chance: Random) -> None:
    """With a word that begins alike, if there is one: a string for a string."""
    place = _place(tokens, chance)
    alike = [word for word in words if place < len(tokens) and word[:1] == tokens[place][:1]]
    tokens[place : place + 1] = [chance.choice(alike or words)]


def _change_case(tokens: Tokens, words: Sequence[bytes], chance: Random) -> None:
    place = _place(tokens, chance)
    tokens[place : place + 1] = [
        b"".join(bytes([byte]).swapcase() if chance.random() < 0.3 else bytes([byte]) for byte in token)
        for token in tokens[place : place + 1]
    ]


def _flip(tokens: Tokens, words: Sequence[bytes], chance: Random) -> None:
    """One bit."""
    place = _place(tokens, chance)
    if place < len(tokens):
        changed = bytearray(tokens[place])
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        tokens[place] = bytes(changed)


def _scatter(tokens: Tokens, words: Sequence[bytes], chance: Random) -> None:
    place = _place(tokens, chance)
    tokens[place:place] = [chance.randbytes(chance.choice((1, 1, 2, 4, 16)))]


def _cut(tokens: Tokens, words: Sequence[bytes], chance: Random) -> None:
    del tokens[_place(tokens, chance) :]


_CHANGES: Sequence[Callable[[Tokens, Sequence[bytes], Random], None]] = (
    *(_remove, _repeat, _repeat_lately, _exchange, _exchange, _insert, _insert, _replace, _replace),
    *(_change_case, _flip, _scatter, _cut),
)
