"""`/healthz`: the process answers. `/readyz`: it can store what it is sent."""

import os
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from registry.api.wire import ALWAYS
from storage.errors import StorageError

_HEADERS = {name.decode(): value.decode() for name, value in ALWAYS}


def _headers() -> dict[str, str]:
    return {**_HEADERS, "X-Request-Id": os.urandom(16).hex()}


def health_routes(require_ready: Callable[[], None]) -> list[Route]:
    """`require_ready` raises the fact that makes the store unready."""

    async def healthy(_: Request) -> Response:
        return JSONResponse({"status": "ok"}, headers=_headers())

    async def ready(_: Request) -> Response:
        try:
            require_ready()
        except StorageError as fact:
            return JSONResponse({"status": "unready", "why": str(fact)}, status_code=503, headers=_headers())
        return JSONResponse({"status": "ok"}, headers=_headers())

    return [Route("/healthz", healthy), Route("/livez", healthy), Route("/readyz", ready)]
