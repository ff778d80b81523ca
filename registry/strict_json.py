"""JSON that every reader understands alike (RFC 8259 §4 and §8, RFC 7493).

Python takes NaN and keeps the last of two equal keys. Go's encoding/json keeps the last of two keys that
differ only in case, and reads a lone surrogate as U+FFFD. What readers take differently is refused here.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import NoReturn, TypeAlias

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

MAX_TOKENS = 200_000  # of { [ and , together: 4 MB of `{},` would otherwise take 25 times its size
MAX_DEPTH = 32
_LONGEST_INTEGER = 20  # characters of -(2**63)
_LONGEST_KEY = 32  # of those that a caller knows
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
# Go folds as Unicode does: beside A to Z, the long s and the kelvin sign are taken for ASCII letters.
_FOLD = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)} | {0x17F: ord("s"), 0x212A: ord("k")}


class JsonInvalid(ValueError):
    """The bytes are no JSON, or JSON that readers take differently, or that costs too much to read."""


def loads(raw: bytes) -> Json:
    """The value. An integer of more than 20 characters is read as an infinite float. Raises JsonInvalid.

    Strings hold no lone surrogate, objects hold no key twice, nothing is nested deeper than MAX_DEPTH.
    """
    if sum(map(raw.count, (b"{", b"[", b","))) > MAX_TOKENS:
        raise JsonInvalid(f"it has more than {MAX_TOKENS} of the characters {{ [ and , together")
    try:
        value: Json = json.loads(
            raw.decode("utf-8"),  # from bytes, json.loads would also take UTF-16 and UTF-32
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_constant=_constant,
        )
        if _SURROGATE.search(raw):
            json.dumps(value, ensure_ascii=False).encode()  # half a pair cannot be encoded
    except UnicodeDecodeError as error:
        raise JsonInvalid(f"it is not UTF-8 at byte {error.start}") from None
    except UnicodeEncodeError:
        raise JsonInvalid("a \\u escape is half of a surrogate pair") from None
    except json.JSONDecodeError as error:
        raise JsonInvalid(f"it is not JSON: {error.msg} at character {error.pos}") from None
    except RecursionError:
        raise _too_deep() from None
    except MemoryError:
        raise JsonInvalid("there is not enough memory to read it") from None
    _check_depth(value)
    return value


def key_table(*names: str) -> Mapping[str, str]:
    """What `miscased` compares with: folded name → name."""
    assert all(name.isascii() and len(name) <= _LONGEST_KEY for name in names)
    return {_folded(name): name for name in names}


def miscased(keys: Iterable[str], table: Mapping[str, str]) -> str | None:
    """The first key that only a reader which ignores case would take for one of the table's."""
    for key in keys:
        # Folding keeps the length, so longer keys need not be looked at.
        if len(key) <= _LONGEST_KEY and table.get(_folded(key), key) != key:
            return key
    return None


def _folded(key: str) -> str:
    return key.translate(_FOLD)


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise JsonInvalid(f"the key {key[:80]!r} is twice in one object")
        seen.add(key)
    raise AssertionError("a dict is shorter than its pairs only if a key repeats")


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONGEST_INTEGER else math.inf


def _constant(name: str) -> NoReturn:
    raise JsonInvalid(f"it is not JSON: {name} is no value")


def _too_deep() -> JsonInvalid:
    return JsonInvalid(f"it is nested deeper than {MAX_DEPTH} levels")


def _check_depth(value: Json) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        # A level at a time: recursion would need a limit of its own.
        level = [child for node in level for child in _children(node) if isinstance(child, (dict, list))]
        if not level:
            return
    raise _too_deep()


def _children(node: Json) -> Iterable[Json]:
    if isinstance(node, dict):
        return node.values()
    return node if isinstance(node, list) else ()
