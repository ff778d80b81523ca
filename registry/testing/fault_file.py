"""Faults as TOML or JSON writes them: `[[fault]]` tables."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from registry.kinds import Kind, Misfit, whole
from registry.tables import load_toml, read_tables, texts
from registry.testing.effects import BY_NAME
from registry.testing.faults import Fault
from registry.testing.targets import NAMES

_MOST = 10**9
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


class FaultsInvalid(ValueError):
    """What cannot be read as faults; the text says where, and what was expected."""


def _number(low: float, high: float) -> Kind:
    def check(value: object) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError
        return float(value)

    return Kind(f"a number from {low:g} to {high:g}", "", check)


def _switch(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _one_or_more(kind: Kind) -> Kind:
    return Kind(kind.expected, "", lambda value: kind.check([value] if isinstance(value, str) else value))


def _effect(value: object) -> str:
    if not isinstance(value, str) or value not in BY_NAME:
        raise ValueError
    return value


def _code(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value


# Whom a fault hits: the fields of Fault.
MATCH: Mapping[str, Kind] = {
    "method": _one_or_more(texts(_METHODS.__contains__, f"one of {', '.join(_METHODS)}, or a list of them")),
    "route": _one_or_more(texts(NAMES.__contains__, f"one of {', '.join(NAMES)}, or a list of them")),
    "repository": _one_or_more(texts(len, "a pattern of repositories, or a list of them; * for anything")),
    "nth": whole(1, _MOST),
    "times": whole(1, _MOST),
    "per_path": Kind("true or false", "", _switch),
    "at_least": whole(0, _MOST),
    "probability": _number(0, 1),
    "seed": whole(0, _MOST),
}
# What it does: the fields of effects.
_WORKINGS: Mapping[str, Kind] = {
    "status": whole(400, 599),
    "retry_after": whole(0, _MOST),
    "code": Kind("a code in capitals", "", _code),
    "seconds": _number(0, 3600),
    "rate": whole(1, _MOST),
    "after": whole(0, _MOST),
    "sending": Kind("true or false", "", _switch),
    "at": whole(0, _MOST),
    "by": whole(-_MOST, _MOST),
}
_DO = Kind(f"one of {', '.join(BY_NAME)}", "", _effect)


def parse(text: str) -> tuple[Fault, ...]:
    """From TOML. Raises FaultsInvalid."""
    try:
        table = load_toml(text)
    except ValueError as error:
        raise FaultsInvalid(f"the faults are not TOML: {error}") from error
    return read(table)


def read(table: object) -> tuple[Fault, ...]:
    """Raises FaultsInvalid."""
    if not isinstance(table, dict) or set(table) - {"fault"}:
        raise FaultsInvalid("faults are tables [[fault]], and nothing beside them")
    try:
        entries = read_tables(table.get("fault", []), {"do": _DO, **MATCH, **_WORKINGS}, ["do"])
        return tuple(_fault(f"entry {number}", entry) for number, entry in enumerate(entries, 1))
    except Misfit as error:
        raise FaultsInvalid(f"{error.where} = {error.value!r}: expected {error.expected}") from None
    except ValueError:
        raise FaultsInvalid("faults are a list of tables [[fault]]") from None


def _fault(where: str, entry: dict[str, Any]) -> Fault:
    effect = BY_NAME[entry.pop("do")]
    matching = {key: entry.pop(key) for key in list(entry) if key in MATCH}
    known = [field.name for field in dataclasses.fields(effect)]
    for key, value in entry.items():
        if key not in known:
            raise Misfit(f"{where}: {key}", value, f"out of {', '.join(known)} only" if known else "nothing")
    return Fault(effect(**entry), **matching)


def load(path: str) -> tuple[Fault, ...]:
    """From a TOML file. Raises FaultsInvalid."""
    try:
        with open(path, encoding="utf-8") as file:
            return parse(file.read())
    except (OSError, UnicodeDecodeError) as error:
        raise FaultsInvalid(f"the faults {path} cannot be read: {error}") from error


def describe(fault: Fault) -> dict[str, Any]:
    """As `read` takes it, for JSON."""
    names = {effect: name for name, effect in BY_NAME.items()}
    said: dict[str, Any] = {"do": names[type(fault.effect)]}
    for part in (fault.effect, fault):
        said |= {
            field.name: getattr(part, field.name)
            for field in dataclasses.fields(part)
            if field.name != "effect" and getattr(part, field.name) != field.default
        }
    return {key: list(value) if isinstance(value, tuple) else value for key, value in said.items()}
