"""Second opinions: what fuzzed readers must agree with, written without a look at how they do it.

No expression of theirs is used again, and nothing here has to be fast.
"""

import json
from collections.abc import Callable, Iterator
from functools import cache
from itertools import groupby
from string import ascii_letters, ascii_lowercase, digits, hexdigits
from typing import Any

from registry.api.ranges import Span

Pairs = list[tuple[str, Any]]
Found = tuple[object, object, object]
"""Media type, digest and size of a descriptor."""

_ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json"


def _fold(key: str) -> str:
    """As readers do that ignore case, Go's for one: character by character, by Unicode's simple folding."""
    return "".join(folded if len(folded := character.casefold()) == 1 else character for character in key)


def _exact_last(pairs: Pairs) -> dict[str, Any]:
    return dict(pairs)


def _exact_first(pairs: Pairs) -> dict[str, Any]:
    return dict(reversed(pairs))


def _folded_last(pairs: Pairs) -> dict[str, Any]:
    return {_fold(key): value for key, value in pairs}


def _folded_first(pairs: Pairs) -> dict[str, Any]:
    return {_fold(key): value for key, value in reversed(pairs)}


READERS: tuple[tuple[Callable[[Pairs], dict[str, Any]], Callable[[str], str]], ...] = (
    (_exact_last, str),
    (_exact_first, str),
    (_folded_last, _fold),
    (_folded_first, _fold),
)
"""How objects are read, and what a key is called then."""


def readings(raw: bytes, media_type: str) -> Iterator[list[Found]]:
    """All that each reader would take a manifest to refer to, sorted."""
    for read, name in READERS:
        body = json.loads(raw.decode("utf-8-sig"), object_pairs_hook=read)
        yield sorted(_references(body, media_type, name), key=repr)


def _references(body: dict[str, Any], media_type: str, name: Callable[[str], str]) -> Iterator[Found]:
    lists = ["layers", "manifests", *(["blobs"] if media_type == _ARTIFACT else [])]
    found = [body.get(name("config")), body.get(name("subject"))]
    for value in [body.get(name(key)) for key in lists]:
        found += value if isinstance(value, list) else [value]
    for each in found:
        if isinstance(each, dict):
            yield each.get(name("mediaType")), each.get(name("digest")), each.get(name("size"))
        elif each is not None:
            yield each, None, None  # which no reader of ours finds


def is_digest(text: str) -> bool:
    """As the specification's grammar has it, with the lengths of those algorithms that are known."""
    algorithm, colon, encoded = text.partition(":")
    if not colon or not encoded or len(text) > 255 or not set(encoded) <= set(ascii_letters + digits + "=_-"):
        return False
    for separator in "+_-":
        algorithm = algorithm.replace(separator, ".")
    parts = algorithm.split(".")
    if not all(part and set(part) <= set(ascii_lowercase + digits) for part in parts):
        return False
    length = {"sha256": 64, "sha512": 128}.get(text.partition(":")[0])
    return length is None or (len(encoded) == length and set(encoded) <= set(hexdigits.lower()))


def is_name(text: str) -> bool:
    return len(text) <= 255 and all(map(_is_component, text.split("/")))


def _is_component(text: str) -> bool:
    letters = set(ascii_lowercase + digits)
    runs = ["".join(run) for _, run in groupby(text, key=lambda character: character in letters)]
    between = [run for run in runs if run[0] not in letters]
    if not runs or runs[0] in between or runs[-1] in between:
        return False
    return all(run in (".", "_", "__") or set(run) == {"-"} for run in between)


def is_tag(text: str) -> bool:
    allowed = set(ascii_letters + digits + "._-")
    return 0 < len(text) <= 128 and set(text) <= allowed and text[0] not in ".-"


def covered(header: str, size: int) -> list[list[int]] | None:
    """The bytes that each member of a readable Range asks for; None: it cannot be read."""
    unit, equals, text = header.strip(" \t").partition("=")
    if unit.lower() != "bytes" or not equals:
        return None
    members = [member.strip(" \t") for member in text.split(",")]
    found = [_positions(member, size) for member in members if member]
    readable = [each for each in found if each is not None]
    return readable if found and len(readable) == len(found) else None


def _positions(member: str, size: int) -> list[int] | None:
    first, dash, last = member.partition("-")
    known = all(len(text) <= 19 and set(text) <= set(digits) for text in (first, last))
    if not dash or not known or not (first or last):
        return None
    everything = range(size)
    if not first:
        return list(everything[max(size - int(last), 0) :])
    stop = int(last) if last else size
    return [position for position in everything if int(first) <= position <= stop]


def expand(spans: list[Span]) -> list[list[int]]:
    return [list(range(span.start, span.start + span.length)) for span in spans]


def matches(pattern: str, name: str) -> bool:
    """By trying every length for every star, each once."""

    @cache
    def at(left: int, right: int) -> bool:
        if left == len(pattern):
            return right == len(name)
        if pattern[left] == "*":
            return at(left + 1, right) or (right < len(name) and at(left, right + 1))
        return right < len(name) and pattern[left] == name[right] and at(left + 1, right + 1)

    return at(0, 0)
