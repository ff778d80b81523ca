"""`read_only`: everything is served, nothing is taken or deleted."""

from registry.access import Action, Actor, Operation
from registry.errors import Unsupported


class ReadOnly:
    def allow(self, actor: Actor, operation: Operation) -> None:
        if operation.action in (Action.PUSH, Action.DELETE):
            raise Unsupported(
                "the registry is read-only (read_only = true): pulls go on, pushes and deletes must wait"
            )
