"""Settings that are lists of tables, such as `[[retention]]`: each table with keys of known kinds."""

import difflib
import tomllib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from registry.kinds import Kind, Misfit


def read_tables(value: object, keys: Mapping[str, Kind], required: Sequence[str]) -> list[dict[str, Any]]:
    """The tables' checked values. Raises ValueError for no list at all, Misfit for what is wrong inside."""
    if not isinstance(value, list | tuple):
        raise ValueError
    return [_read(each, f"entry {number}", keys, required) for number, each in enumerate(value, 1)]


def _read(entry: object, where: str, keys: Mapping[str, Kind], required: Sequence[str]) -> dict[str, Any]:
    if not isinstance(entry, Mapping):
        raise Misfit(where, entry, f"a table with keys out of {', '.join(keys)}")
    for key in required:
        if key not in entry:
            raise Misfit(where, entry, f"{key} among its keys, {keys[key].expected}")
    values: dict[str, Any] = {}
    for key, value in entry.items():
        if key not in keys:
            close = difflib.get_close_matches(key, keys, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise Misfit(f"{where}: {key}", value, f"only the keys {', '.join(keys)}{hint}")
        try:
            values[key] = keys[key].check(value)
        except ValueError:
            raise Misfit(f"{where}: {key}", value, keys[key].expected) from None
    return values


def texts(fits: Callable[[str], object], expected: str) -> Kind:
    """A list of texts, at least one, that each fit."""

    def check(value: object) -> tuple[str, ...]:
        if not isinstance(value, list | tuple) or not value:
            raise ValueError
        if not all(isinstance(each, str) and fits(each) for each in value):
            raise ValueError
        return tuple(value)

    return Kind(expected, "", check)


def load_toml(text: str) -> dict[str, Any]:
    """Raises ValueError: for what is no TOML, and for numbers and depths that Python gives up."""
    try:
        return tomllib.loads(text)
    except RecursionError:  # it calls itself for each bracket
        raise ValueError("too many brackets in each other") from None


def read_toml(text: str) -> object:
    """A value as TOML writes it, of a variable or a flag. Raises ValueError."""
    try:
        read = load_toml(f"value = {text}")
    except ValueError:
        raise ValueError from None
    if set(read) != {"value"}:
        raise ValueError
    return read["value"]
