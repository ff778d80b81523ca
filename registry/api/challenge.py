"""What a 401 asks for: a Bearer token from here, so that anonymous clients get one, too.

Of the four ways to let anyone pull and only some push, this is the one that docker, podman, skopeo, crane
and containerd all understand: `/v2/` always challenges, with Bearer.
"""

from collections.abc import Callable

from starlette.requests import Request
from starlette.types import Scope

from registry.api.token import PATH
from registry.errors import Unauthenticated

BaseUrl = Callable[[Scope], str]
"""Scheme and host as the client saw them."""


class BearerChallenge:
    """`realm` is where another server gives tokens; empty: here."""

    def __init__(self, service: str, base_url: BaseUrl, realm: str = "") -> None:
        self._service, self._base_url, self._realm = service, base_url, realm

    def __call__(self, request: Request, fact: Unauthenticated) -> str:
        if request.scope["path"] == PATH:
            return 'Basic realm="registry"'
        said = {
            "realm": self._realm or self._base_url(request.scope) + PATH,
            "service": self._service,
            "scope": _wider(fact.scope) if _begins_push(request) else fact.scope,
            "error": fact.error,
        }
        return "Bearer " + ",".join(f'{key}="{value}"' for key, value in said.items() if value)


def _begins_push(request: Request) -> bool:
    """Who asks whether a blob is here is mostly about to push it."""
    return request.method == "HEAD" and "/blobs/" in request.scope["path"]


def _wider(scope: str) -> str:
    """With pushing: oras for Python asks for one token only, and whoever may not push gets one for pulls."""
    return f"{scope},push" if scope.endswith(":pull") else scope
