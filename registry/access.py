"""Who asks, for what, and the seams that decide it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Protocol

from registry.names import RepositoryName
from registry.patterns import matches


class Action(Enum):
    """PUSH takes new content and new tags; MOVE gives an existing tag other content."""

    LOGIN = "login"
    PING = "ping"
    LIST = "list"
    PULL = "pull"
    PUSH = "push"
    MOVE = "move"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Operation:
    """An action on a repository; on none, for what concerns the registry as a whole."""

    action: Action
    repository: RepositoryName | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """Actions on every repository that one of the patterns matches; `*` stands for anything, slashes too."""

    repositories: tuple[str, ...]
    actions: frozenset[Action]

    def covers(self, operation: Operation) -> bool:
        if operation.action not in self.actions:
            return False
        return operation.repository is None or matches(self.repositories, operation.repository)


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks; the empty name is anonymous. A name with a colon is of no user: `token:ci`, `cert:build`.

    `grants` are rights of its own, beside those that rules give to the name and the groups. `limit` is what
    the token at hand was made for: rights beyond it need another token. `address` is whence it asks.
    `expires` is when that which proves it ends, in seconds since the epoch, and `fingerprint` that of the
    password or secret that was shown.
    """

    name: str = ""
    groups: frozenset[str] = frozenset()
    grants: tuple[Grant, ...] = ()
    limit: tuple[Grant, ...] | None = None
    address: str = ""
    expires: int | None = None
    fingerprint: str = ""

    @property
    def unlimited(self) -> "Actor":
        """The same, whatever token is at hand."""
        return self if self.limit is None else replace(self, limit=None)


ANONYMOUS = Actor()


@dataclass(frozen=True, slots=True)
class Shown:
    """What a request shows of who it is from.

    `authorization` is the header as it came, `certificate` the name in a client certificate that the TLS
    layer has verified, `address` the client's.
    """

    authorization: bytes = b""
    certificate: str = ""
    address: str = ""


class Authenticator(Protocol):
    async def identify(self, shown: Shown) -> Actor | None:
        """The actor that this proves, None where it is nothing that this one reads.

        Raises Unauthenticated for what is wrong, TooManyRequests after too much of that.
        """


class Policy(Protocol):
    """Pure: it is asked any number of times in a request, about operations that are not the request's too."""

    def allow(self, actor: Actor, operation: Operation) -> None:
        """Return to allow; raise Denied or Unauthenticated. Asked before a byte of the body is read."""


class Meter(Protocol):
    """Of requests, also those that are denied, in two steps: what one meter refuses, no other has counted."""

    def ask(self, actor: Actor, operation: Operation) -> None:
        """Return to let it pass; raise TooManyRequests. Nothing is counted yet."""

    def count(self, actor: Actor, operation: Operation) -> None:
        """It passes."""


def meter(meters: Sequence[Meter], actor: Actor, operation: Operation) -> None:
    """Once for each request. Raises TooManyRequests."""
    for each in meters:
        each.ask(actor, operation)
    for each in meters:
        each.count(actor, operation)
