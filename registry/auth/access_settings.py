"""What `[[access]]` entries and `[groups]` say, read from the settings."""

import re
from collections.abc import Mapping

from registry.auth.rules import Entry
from registry.auth.scopes import WORDS
from registry.kinds import SWITCH, Kind, Misfit
from registry.tables import read_tables, read_toml, texts

_REPOSITORY = re.compile(r"(?:[a-z0-9._/:-]|\*)+", re.ASCII)  # upstreams may have a port in their names
_GROUP = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_LONGEST = 1000  # characters of a name
_WHOM = {"users", "groups", "anonymous"}


def _is_name(text: str) -> bool:
    return 0 < len(text) <= _LONGEST and text.isprintable() and text == text.strip()


_USERS = texts(_is_name, 'a list of names such as ["alice"], * for every user')

_KEYS: Mapping[str, Kind] = {
    "repositories": texts(_REPOSITORY.fullmatch, 'a list of patterns such as ["team/*"], * for anything'),
    "users": _USERS,
    "groups": texts(_is_name, 'a list of groups such as ["developers"]'),
    "anonymous": SWITCH,
    "actions": texts(WORDS.__contains__, f"a list out of {', '.join(WORDS)}"),
}


def _entries(value: object) -> tuple[Entry, ...]:
    entries = []
    for number, given in enumerate(read_tables(value, _KEYS, ["repositories", "actions"]), 1):
        if not _WHOM & given.keys():
            raise Misfit(
                f"entry {number}", given, "users, groups or anonymous among its keys: whom it is for"
            )
        actions = frozenset().union(*(WORDS[word] for word in given.pop("actions")))
        entries.append(Entry(actions=actions, **given))
    return tuple(entries)


def _groups(value: object) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Pairs: settings are values that can be compared and hashed."""
    if not isinstance(value, Mapping):
        raise ValueError
    for group, members in value.items():
        if not _GROUP.fullmatch(group):
            raise Misfit(group, members, "a name of letters, digits, dots, underscores and dashes")
        try:
            _USERS.check(members)
        except ValueError:
            raise Misfit(group, members, _USERS.expected) from None
    return tuple((group, tuple(members)) for group, members in value.items())


ACCESS = Kind(
    'tables such as [[access]] with repositories = ["team/*"], users = ["alice"] and actions = ["pull", '
    '"push"]; as text, [{repositories = ["team/*"], users = ["alice"], actions = ["pull", "push"]}]',
    "TOML",
    _entries,
    read_toml,
)
GROUPS = Kind(
    'a table of lists of users, such as {developers = ["alice", "bob"]}', "TOML", _groups, read_toml
)
