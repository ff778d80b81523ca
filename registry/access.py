"""Who asks, for what, and the seams that decide it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from registry.names import RepositoryName


class Action(Enum):
    PING = "ping"
    LIST = "list"
    PULL = "pull"
    PUSH = "push"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks; the empty name is anonymous."""

    name: str = ""


ANONYMOUS = Actor()


@dataclass(frozen=True, slots=True)
class Operation:
    """An action on a repository; on none, for what concerns the registry as a whole."""

    action: Action
    repository: RepositoryName | None = None


class Authenticator(Protocol):
    def identify(self, headers: Mapping[str, str]) -> Actor | None:
        """The actor these headers prove, None where they say nothing. Raises Unauthenticated."""


class Policy(Protocol):
    def allow(self, actor: Actor, operation: Operation) -> None:
        """Return to allow; raise Denied or Unauthenticated. Asked before a byte of the body is read."""
