"""`--anonymous pull`: who is not known may read, and only read."""

from registry.access import Action, Actor, Operation
from registry.errors import Denied


class AnonymousPull:
    def allow(self, actor: Actor, operation: Operation) -> None:
        if not actor.name and operation.action in (Action.PUSH, Action.DELETE):
            raise Denied("anonymous clients may only pull here (the server runs with --anonymous pull)")
