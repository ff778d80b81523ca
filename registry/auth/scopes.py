"""Scopes: what a token is asked for and made for, such as `repository:team/app:pull,push`.

Grammar: distribution, "Token Scope Documentation". A name may be a pattern where we write it ourselves.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from registry.access import Action, Grant, Operation

WORDS: Mapping[str, frozenset[Action]] = {
    "pull": frozenset({Action.PULL}),
    "create": frozenset({Action.PUSH}),
    "move": frozenset({Action.MOVE}),
    "push": frozenset({Action.PUSH, Action.MOVE}),
    "delete": frozenset({Action.DELETE}),
    "*": frozenset({Action.PULL, Action.PUSH, Action.MOVE, Action.DELETE}),
}
"""Actions as people write them, in scopes and in rules: pushing is creating tags and moving them."""

_CATALOG = "registry:catalog:*"
_NEEDED = {Action.PULL: "pull", Action.PUSH: "pull,push", Action.MOVE: "pull,push", Action.DELETE: "delete"}
# The name is all between the first colon and the last: it may begin with a host that has a port.
_SCOPE = re.compile(r"([a-z0-9]+)(?:\([a-z0-9]+\))?:([^\s]+):([a-z*]+(?:,[a-z*]+)*)?", re.ASCII)

Allows = Callable[[Operation], bool]


@dataclass(frozen=True, slots=True)
class Scope:
    kind: str
    name: str
    words: frozenset[str]

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}:{','.join(sorted(self.words))}"

    @property
    def grant(self) -> Grant:
        if self.kind == "registry":
            listed = self.name == "catalog" and "*" in self.words
            return Grant((), frozenset({Action.LIST}) if listed else frozenset())
        actions = [WORDS[word] for word in self.words if word in WORDS]
        return Grant((self.name,), frozenset().union(*actions))


def parse_scopes(texts: Iterable[str]) -> list[Scope]:
    """Each text may hold several, separated by spaces. What cannot be read asks for nothing."""
    found = [_SCOPE.fullmatch(part) for text in texts for part in text.split(" ") if part]
    return [Scope(scope[1], scope[2], _words(scope[3])) for scope in found if scope]


def _words(text: str | None) -> frozenset[str]:
    return frozenset(text.split(",")) if text else frozenset()


def scope_of(operation: Operation) -> str:
    """What a token for it has to be made for; empty: any token will do."""
    if operation.action is Action.LIST:
        return _CATALOG
    if operation.repository is None:
        return ""
    return f"repository:{operation.repository}:{_NEEDED[operation.action]}"


def intersect(scope: Scope, allows: Callable[[Action], bool]) -> Scope:
    """The scope with those of its words of which all that clients mean by them is allowed.

    Of `push` only creating: whether a tag may be moved is asked once there is one.
    """
    words = frozenset(word for word in scope.words if word in WORDS and all(map(allows, _meant(word))))
    if "*" in scope.words and "*" not in words:
        words |= {word for word in ("pull", "push", "delete") if all(map(allows, _meant(word)))}
    return Scope(scope.kind, scope.name, words)


def _meant(word: str) -> frozenset[Action]:
    return WORDS["create"] if word == "push" else WORDS[word]
