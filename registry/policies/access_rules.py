"""Who may do what: the rules, and what the token at hand was made for."""

from registry.access import Action, Actor, Operation
from registry.auth.rules import Rules
from registry.auth.scopes import scope_of
from registry.errors import Denied, Unauthenticated

_FREE = (Action.LOGIN, Action.PING)  # no token is made for them


class AccessRules:
    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    def allow(self, actor: Actor, operation: Operation) -> None:
        decision = self._rules.decide(actor, operation)
        what = _describe(operation)
        if not decision.allowed:
            if actor.name:
                raise Denied(f"{actor.name} may not {what}: {decision.why}")
            raise Unauthenticated(f"log in to {what}", scope=scope_of(operation))
        if actor.limit is None or operation.action in _FREE:
            return
        if not any(grant.covers(operation) for grant in actor.limit):
            raise Unauthenticated(
                f"the token was not made to {what}", scope=scope_of(operation), error="insufficient_scope"
            )


def _describe(operation: Operation) -> str:
    match operation.action:
        case Action.LIST:
            return "list the repositories"
        case Action.PULL | Action.PUSH | Action.DELETE:
            preposition = {Action.PULL: "pull", Action.PUSH: "push to", Action.DELETE: "delete in"}
            return f"{preposition[operation.action]} {operation.repository}"
        case Action.MOVE:
            return f"move tags of {operation.repository}"
        case _:
            return "use this registry"
