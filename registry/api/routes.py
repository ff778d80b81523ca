"""The distribution API in one table: path, method, the action that it takes, and who answers."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from starlette.responses import Response

from registry.access import Action
from registry.api import blobs, listings, manifests, uploads
from registry.api.wire import Call

Handler = Callable[[Call], Awaitable[Response]]
Methods = Mapping[str, tuple[Action, Handler]]


@dataclass(frozen=True, slots=True)
class Route:
    pattern: re.Pattern[str]
    methods: Methods

    @property
    def allow(self) -> str:
        return ", ".join(self.methods)


def _route(path: str, methods: Methods) -> Route:
    """A name takes all it can, as it may hold `blobs` or `tags`: paths are read from the right."""
    pattern = path.replace("{name}", "(?P<name>.+)")
    pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", pattern)
    return Route(re.compile(pattern), methods)


ROUTES = (
    _route("/v2/?", {"GET": (Action.PING, listings.ping), "HEAD": (Action.PING, listings.ping)}),
    _route("/v2/_catalog", {"GET": (Action.LIST, listings.catalog), "HEAD": (Action.LIST, listings.catalog)}),
    _route("/v2/{name}/blobs/uploads/?", {"POST": (Action.PUSH, uploads.begin)}),
    _route(
        "/v2/{name}/blobs/uploads/{upload}",
        {
            "GET": (Action.PUSH, uploads.status),
            "HEAD": (Action.PUSH, uploads.status),
            "PATCH": (Action.PUSH, uploads.append),
            "PUT": (Action.PUSH, uploads.finish),
            "DELETE": (Action.PUSH, uploads.cancel),
        },
    ),
    _route(
        "/v2/{name}/blobs/{digest}",
        {
            "GET": (Action.PULL, blobs.read),
            "HEAD": (Action.PULL, blobs.head),
            "DELETE": (Action.DELETE, blobs.delete),
        },
    ),
    _route(
        "/v2/{name}/manifests/{reference}",
        {
            "GET": (Action.PULL, manifests.read),
            "HEAD": (Action.PULL, manifests.head),
            "PUT": (Action.PUSH, manifests.write),
            "DELETE": (Action.DELETE, manifests.delete),
        },
    ),
    _route(
        "/v2/{name}/tags/list",
        {"GET": (Action.PULL, listings.tags), "HEAD": (Action.PULL, listings.tags)},
    ),
    _route(
        "/v2/{name}/referrers/{subject}",
        {"GET": (Action.PULL, listings.referrers), "HEAD": (Action.PULL, listings.referrers)},
    ),
)


def match(path: str, routes: Sequence[Route] = ROUTES) -> tuple[Route, dict[str, str]] | None:
    """The route of a decoded path and the path's parameters."""
    for route in routes:
        if found := route.pattern.fullmatch(path):
            return route, found.groupdict()
    return None
