"""What the values of settings may be."""

import ipaddress
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

_WORDS = {
    "true": True,
    "1": True,
    "yes": True,
    "on": True,
    "false": False,
    "0": False,
    "no": False,
    "off": False,
}
NEVER: Final = "never"
_UNITS = {"w": 604_800, "d": 86_400, "h": 3600, "m": 60, "s": 1}
_PATTERN = re.compile(r"[a-z0-9._/*-]+:[A-Za-z0-9_.*-]+", re.ASCII)
_REPOSITORIES = re.compile(r"[a-z0-9._/:*-]+", re.ASCII)
_URL = re.compile(r"(https?://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?)/?", re.ASCII | re.IGNORECASE)
_DURATION = re.compile("".join(rf"(?:(\d{{1,9}}){unit})?" for unit in _UNITS), re.ASCII)


_SIZE = re.compile(r"(\d{1,18}(?:\.\d{1,9})?) ?(|B|[kKMGTP]i?B)", re.ASCII)
_MOST_BYTES = 2**62


class Misfit(ValueError):
    """A mistake inside a value: where, what is there, what was expected."""

    def __init__(self, where: str, value: object, expected: str) -> None:
        super().__init__(where)
        self.where, self.value, self.expected = where, value, expected


@dataclass(frozen=True, slots=True)
class Kind:
    """What a key accepts: `check` takes a typed value, `read` the text of a variable or a flag.

    Both raise ValueError. `secret`: a value may hold a password, so no message shows it. `several`: the flag
    may be given again and again.
    """

    expected: str
    metavar: str
    check: Callable[[object], object]
    read: Callable[[str], object] = str
    secret: bool = False
    several: bool = False


def _text(value: object) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError
    return value


def _path(value: object) -> str:
    return os.path.abspath(os.path.expanduser(_text(value)))


def _file(value: object) -> str:
    return "" if value == "" else _path(value)


def _log(value: object) -> str:
    return "-" if value == "-" else _file(value)


def _host(value: object) -> str:
    host = _text(value)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if not re.fullmatch(r"[A-Za-z0-9._:%-]+", host):
        raise ValueError
    return host


def _hosts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError
    return tuple(_host(each) for each in value)


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _word(text: str) -> bool:
    try:
        return _WORDS[text.strip().lower()]
    except KeyError:
        raise ValueError from None


def _from_duration(text: str) -> int:
    if text.isascii() and text.isdigit():
        return int(text)
    found = _DURATION.fullmatch(text)
    if not found or not text:
        raise ValueError
    return sum(int(number or 0) * size for number, size in zip(found.groups(), _UNITS.values(), strict=True))


def _size(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_BYTES:
        return value
    found = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if not found:
        raise ValueError
    number, unit = found.groups()
    factor = (1024 if unit.endswith("iB") else 1000) ** " kMGTP".index((unit[:1] or " ").replace("K", "k"))
    return _size(round(Decimal(number) * (1 if unit in ("", "B") else factor)))


def _patterns(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        raise ValueError
    if not all(_PATTERN.fullmatch(each) for each in value):
        raise ValueError
    return tuple(value)


def _repositories(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        raise ValueError
    if not all(_REPOSITORIES.fullmatch(each) for each in value):
        raise ValueError
    return tuple(value)


def _networks(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        raise ValueError
    return tuple(str(ipaddress.ip_network(each)) for each in value)


def _url(value: object) -> str:
    if value == "":
        return ""
    found = _URL.fullmatch(_text(value))
    if not found:
        raise ValueError
    return found[1].lower()


def _profile(value: object) -> str:
    """A path stays right, wherever a worker starts."""
    if value == "":
        return ""
    return _path(value) if _text(value).endswith(".toml") else _text(value)


def seconds(low: int) -> Kind:
    """Whole seconds, or weeks, days, hours, minutes and seconds as in 1h30m."""

    def check(value: object) -> int:
        if isinstance(value, str):
            value = _from_duration(value.strip())
        if not isinstance(value, int) or isinstance(value, bool) or value < low:
            raise ValueError
        return value

    least = f", {low} at least" if low else ""
    return Kind(f"seconds, or a duration such as 90s, 1h30m or 14d{least}", "TIME", check)


def _span(value: object) -> object:
    if value is False or (isinstance(value, str) and value.strip().lower() in (NEVER, "false")):
        return NEVER
    return seconds(0).check(value)


def whole(low: int, high: int) -> Kind:
    def check(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError
        return value

    return Kind(f"a whole number from {low} to {high}", "NUMBER", check, int)


def one_of(*choices: str) -> Kind:
    def check(value: object) -> str:
        if not isinstance(value, str) or value not in choices:
            raise ValueError
        return value

    return Kind(
        "one of " + ", ".join(f'"{choice}"' for choice in choices), "|".join(filter(None, choices)), check
    )


PATH = Kind("the path of a folder", "DIR", _path)
LOG = Kind("the path of a file, - for standard error, or nothing", "FILE", _log)
PROFILE = Kind("the name of a profile, the path of a .toml file, or nothing", "PROFILE", _profile)
FAULTS = Kind("the path of a file, - for none to begin with, or nothing", "FILE", _log)
FILE = Kind("the path of a file, or nothing", "FILE", _file)
HOST = Kind("an address such as 127.0.0.1 or ::1, or a host name", "HOST", _host)
PATTERNS = Kind(
    'patterns REPO:TAG such as "*:v*", * for anything; as text, separated by spaces or commas',
    "PATTERNS",
    _patterns,
    lambda text: text.replace(",", " ").split(),
)
REPOSITORIES = Kind(
    'patterns such as "team/*", * for anything; as text, separated by spaces or commas',
    "PATTERNS",
    _repositories,
    lambda text: text.replace(",", " ").split(),
    several=True,
)
NETWORKS = Kind(
    "addresses or networks such as 10.0.0.0/8 or 2001:db8::5; as text, separated by spaces or commas",
    "ADDRESSES",
    _networks,
    lambda text: text.replace(",", " ").split(),
)
URL = Kind(
    "a URL such as https://registry.example, with a port if need be and no path, or nothing", "URL", _url
)
SIZE = Kind('bytes, or a size such as "500MB" or "50GiB"', "SIZE", _size)
HOSTS = Kind(
    "host names and addresses; as text, separated by spaces or commas",
    "NAMES",
    _hosts,
    lambda text: text.replace(",", " ").split(),
)
SPAN = Kind(f'{seconds(0).expected}; "{NEVER}" for no end', "TIME", _span)
SWITCH = Kind("true or false", "", _boolean, _word)
