"""What a request is about, as faults and switches tell requests apart."""

from collections.abc import Mapping
from contextlib import suppress
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
    """`route` is one of NAMES, or empty; `reference` a tag, digest or session. `path` is as it was sent.

    `length` is the body's, None for a stream.
    """

    method: str
    path: str
    route: str = ""
    repository: str = ""
    reference: str = ""
    length: int | None = 0


def target_of(scope: Scope) -> Target:
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    shown, route = raw.decode("ascii", "backslashreplace"), ""
    parameters: Mapping[str, str] = {}
    with suppress(NameInvalid):
        route, parameters = _find(decode_path(scope))
    repository = parameters.get("name", "")
    return Target(scope["method"], shown, route, repository, _last(parameters), _length(scope))


def _find(path: str) -> tuple[str, Mapping[str, str]]:
    if path == TOKEN:
        return "token", {}
    if path.startswith(CONTENT):
        return "content", {"digest": path.removeprefix(CONTENT)}
    if (found := match(path)) is None:
        return "", {}
    route, parameters = found
    return _NAMES[route.pattern.pattern], parameters


def _length(scope: Scope) -> int | None:
    fields = dict[bytes, bytes](scope.get("headers", ()))
    if b"transfer-encoding" in fields:
        return None
    told = fields.get(b"content-length", b"0")
    return int(told) if told.isdigit() else 0


def _last(parameters: Mapping[str, str]) -> str:
    return next((text for name, text in parameters.items() if name != "name"), "")
