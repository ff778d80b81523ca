"""`delete = false`: nothing is ever deleted over the API."""

from registry.access import Action, Actor, Operation
from registry.errors import Unsupported


class NoDelete:
    def allow(self, actor: Actor, operation: Operation) -> None:
        if operation.action is Action.DELETE:
            raise Unsupported("deleting is switched off on this registry (delete = false)")
