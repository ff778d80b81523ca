"""WWW-Authenticate (RFC 9110, section 11.6.1): what an upstream's 401 asks for."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_LONGEST = 8192
_WORD = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_SCHEME = re.compile(rf"[ \t,]*({_WORD})(?:[ \t]+|(?=,)|$)", re.ASCII)
_PARAMETER = re.compile(
    rf'[ \t,]*({_WORD})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|({_WORD}))[ \t]*(?=,|$)', re.ASCII
)


@dataclass(frozen=True, slots=True)
class Challenge:
    """`scheme` and the parameters' names in lower case."""

    scheme: str
    parameters: Mapping[str, str]


def read_challenges(values: Iterable[str]) -> tuple[Challenge, ...]:
    """Those of all fields of this name, up to what cannot be read."""
    return tuple(each for value in values if len(value) <= _LONGEST for each in _read(value))


def _read(value: str) -> Iterable[Challenge]:
    place = 0
    while found := _SCHEME.match(value, place):
        place = found.end()
        parameters: dict[str, str] = {}
        while parameter := _PARAMETER.match(value, place):
            place = parameter.end()
            name, quoted, plain = parameter.groups()
            parameters.setdefault(name.lower(), plain or re.sub(r"\\(.)", r"\1", quoted or ""))
        yield Challenge(found[1].lower(), parameters)
