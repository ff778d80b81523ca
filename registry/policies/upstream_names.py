"""What upstreams have is only fetched: nothing is pushed under their names, or deleted there."""

from registry.access import Action, Actor, Operation
from registry.cache.routing import Routing
from registry.errors import Denied


class UpstreamNames:
    def __init__(self, routing: Routing) -> None:
        self._routing = routing

    def allow(self, actor: Actor, operation: Operation) -> None:
        name = operation.repository
        if name is None or operation.action not in (Action.PUSH, Action.MOVE, Action.DELETE):
            return
        way = self._routing.find(name)
        if way.local is None and way.remote:
            raise Denied(
                f"{name} comes from {way.remote.upstream.name}, and only from there: "
                "push under another name, or let the settings list this one in `local`"
            )
