"""What `[[rate]]` entries say: how many requests a client may make."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from registry.access import Action, Actor
from registry.kinds import Kind, one_of, seconds, whole
from registry.tables import read_tables, read_toml, texts

_FORM = re.compile(r"(\d{1,9})/(\w+)", re.ASCII)
_MOST = 10**9
_ACTIONS = [action.value for action in Action if action is not Action.MOVE]


@dataclass(frozen=True, slots=True)
class Rate:
    """`number` requests in `period` seconds, and `burst` of them at once, for each client that `who` means.

    `actions`: of which requests; all if empty.
    """

    number: int
    period: int
    burst: int
    who: str = "all"
    actions: tuple[str, ...] = ()

    def covers(self, actor: Actor, action: Action) -> bool:
        if self.actions and action.value not in self.actions:
            return False
        return self.who == "all" or (self.who == "known") is bool(actor.name)


def _requests(value: object) -> tuple[int, int]:
    """100/s, 1000/1m, 100/6h."""
    found = _FORM.fullmatch(value) if isinstance(value, str) else None
    if not found:
        raise ValueError
    number, unit = int(found[1]), found[2]
    period = seconds(1).check(unit if unit[0].isdigit() else f"1{unit}")
    assert isinstance(period, int)
    if not number:
        raise ValueError
    return number, period


_KEYS: Mapping[str, Kind] = {
    "requests": Kind("requests in a time, such as 100/s, 1000/1m or 100/6h", "", _requests),
    "burst": whole(1, _MOST),
    "who": one_of("all", "anonymous", "known"),
    "actions": texts(_ACTIONS.__contains__, f"a list out of {', '.join(_ACTIONS)}"),
}


def _rates(value: object) -> tuple[Rate, ...]:
    return tuple(_rate(*table.pop("requests"), **table) for table in read_tables(value, _KEYS, ["requests"]))


def _rate(number: int, period: int, burst: int | None = None, **others: Any) -> Rate:
    return Rate(number, period, burst or number, **others)


RATE = Kind(
    'tables such as [[rate]] with requests = "100/s"; as text, [{requests = "100/s"}]',
    "TOML",
    _rates,
    read_toml,
)
