"""What a request is about, as faults and switches tell requests apart."""

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.types import Scope

from registry.api.gate import decode_path
from registry.api.routes import ROUTES, match
from registry.api.token import PATH as TOKEN
from registry.errors import NameInvalid

CONTENT = "/_content/"  # where blobs are when a profile sends clients to another host for them

_OF_API = ("ping", "catalog", "uploads", "upload", "blob", "manifest", "tags", "referrers")
_NAMES = {route.pattern.pattern: name for route, name in zip(ROUTES, _OF_API, strict=True)}
NAMES = (*_OF_API, "token", "content")


@dataclass(frozen=True, slots=True)
class Target:
    """`route` is one of NAMES, or empty; `reference` a tag, digest or session. `path` is as it was sent."""

    method: str
    path: str
    route: str = ""
    repository: str = ""
    reference: str = ""


def target_of(scope: Scope) -> Target:
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    shown, method = raw.decode("ascii", "backslashreplace"), scope["method"]
    try:
        path = decode_path(scope)
    except NameInvalid:
        return Target(method, shown)
    if path == TOKEN:
        return Target(method, shown, "token")
    if path.startswith(CONTENT):
        return Target(method, shown, "content", reference=path.removeprefix(CONTENT))
    if (found := match(path)) is None:
        return Target(method, shown)
    route, parameters = found
    return Target(method, shown, _NAMES[route.pattern.pattern], parameters.get("name", ""), _last(parameters))


def _last(parameters: Mapping[str, str]) -> str:
    return next((text for name, text in parameters.items() if name != "name"), "")
