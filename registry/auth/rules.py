"""Who may do what: the entries of `[[access]]`, the groups, the short form `anonymous`; and why.

Entries only allow. What none allows, is not. Users have what anyone has, too.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from registry.access import Action, Actor, Operation
from registry.patterns import matches

UNCLAIMED: Final = "unclaimed"

_LOOK = 0.5  # seconds
_ANYONE = {"pull": frozenset({Action.PULL}), "push": frozenset(Action)}


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: whom it names, and what they may. Patterns of names never reach over a colon."""

    repositories: tuple[str, ...]
    actions: frozenset[Action]
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    anonymous: bool = False

    def names(self, actor: Actor, groups: frozenset[str]) -> bool:
        if self.anonymous or _named(self.users, actor.name):
            return True
        return any(_named(self.groups, group) for group in groups)


@dataclass(frozen=True, slots=True)
class Decision:
    allowed: bool
    why: str


class Rules:
    """`has_accounts` says whether there is any account: until then `unclaimed` lets anyone do everything.

    It is asked at once, and then twice a second at most.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        groups: Mapping[str, Sequence[str]],
        anonymous: str,
        has_accounts: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock, self._next_look = clock, clock() + _LOOK
        self._entries, self._anonymous, self._has_accounts = entries, anonymous, has_accounts
        self._closed = anonymous != UNCLAIMED or bool(entries) or has_accounts()
        self._memberships = {
            member: frozenset(group for group, names in groups.items() if member in names)
            for members in groups.values()
            for member in members
        }

    @property
    def open(self) -> bool:
        """Whether everyone may do everything, so that nobody needs to log in."""
        return self._anonymous == "push" or self.unclaimed

    @property
    def unclaimed(self) -> bool:
        """Whether that is because there is no account yet."""
        if not self._closed and (now := self._clock()) >= self._next_look:
            self._next_look = now + _LOOK
            # For good: an editor may let the file of the passwords vanish for a moment.
            self._closed = self._has_accounts()
        return not self._closed

    def decide(self, actor: Actor, operation: Operation) -> Decision:
        """Pure but for `open`; the limit of the actor's token is not looked at."""
        if self.open:
            return Decision(True, self._why_open())
        if operation.repository is None:
            return self._decide_whole(actor, operation)
        if operation.action in _ANYONE.get(self._anonymous, ()):
            return Decision(True, f"anonymous = {self._anonymous}: anyone may")
        if any(grant.covers(operation) for grant in actor.grants):
            return Decision(True, f"the scope of {actor.name}")
        groups = self.groups_of(actor)
        for number, entry in enumerate(self._entries, 1):
            if (
                operation.action in entry.actions
                and matches(entry.repositories, operation.repository)
                and entry.names(actor, groups)
            ):
                return Decision(True, f"entry {number} of access")
        if not self._entries and _is_user(actor.name):
            return Decision(True, "access has no entries: users may do everything")
        return Decision(False, "nothing allows it")

    def why(self, actor: Actor, operation: Operation) -> str:
        return self.decide(actor, operation).why

    def _decide_whole(self, actor: Actor, operation: Operation) -> Decision:
        """What is listed is filtered by what may be pulled; the rest is for everyone who is known."""
        if operation.action is Action.LOGIN:
            return Decision(True, "anyone may try")
        if actor.name or actor.limit is not None:
            return Decision(True, "whoever has logged in, or has a token")
        readers = self._anonymous in _ANYONE or any(entry.anonymous for entry in self._entries)
        listed = operation.action is Action.LIST and readers
        return Decision(listed, "what anyone may pull, anyone may list" if listed else "log in first")

    def _why_open(self) -> str:
        return "anonymous = push: anyone may" if self._anonymous == "push" else "nobody has an account yet"

    def groups_of(self, actor: Actor) -> frozenset[str]:
        """Those that come with the identity, and those that the settings put the name into."""
        return actor.groups | self._memberships.get(actor.name, frozenset())


def _is_user(name: str) -> bool:
    """Of the password file, or by a certificate of our own authority; foreign identities need an entry."""
    return bool(name) and (":" not in name or name.startswith("cert:"))


def _named(patterns: Sequence[str], name: str) -> bool:
    """What is before a colon says who vouches for a name: no star stands for that."""
    kind, rest = _split(name)
    return bool(name) and any(
        kind == asked and matches((pattern,), rest) for asked, pattern in map(_split, patterns)
    )


def _split(name: str) -> tuple[str, str]:
    kind, colon, rest = name.partition(":")
    return (kind, rest) if colon else ("", name)
