"""`/_test/faults`: the faults of a running server, changed by the test that talks to it.

GET tells which are in force and what they did, PUT takes others instead and POST more, as TOML or, by their
Content-Type, as JSON; DELETE ends them. There only where faults were asked for, and to no web page.
"""

import json
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from registry.api.browsers import is_browser
from registry.testing import fault_file
from registry.testing.fault_file import FaultsInvalid
from registry.testing.faults import Fault, Faults

PATH = "/_test/faults"

_LARGEST = 2**20  # bytes of what is sent here


class Admin:
    def __init__(self, app: ASGIApp, faults: Faults) -> None:
        self._app, self._faults = app, faults
        self._changes: dict[str, Callable[[tuple[Fault, ...]], None]] = {
            "PUT": faults.replace,
            "POST": lambda more: faults.add(*more),
            "DELETE": lambda _: faults.clear(),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == PATH:
            await (await self._answer(Request(scope, receive)))(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if is_browser(request):
            return _json(403, {"error": "this is for programs, not for web pages"})
        if request.method in self._changes:
            try:
                given = await _read(request) if request.method != "DELETE" else ()
            except FaultsInvalid as error:
                return _json(400, {"error": str(error)})
            self._changes[request.method](given)
        elif request.method != "GET":
            return _json(405, {"error": "expected GET, PUT, POST or DELETE"})
        return _json(200, self._state())

    def _state(self) -> dict[str, object]:
        fired = [
            {"fault": fault_file.describe(each.fault), "method": each.method, "path": each.path}
            for each in list(self._faults.fired)
        ]
        return {"fault": [fault_file.describe(fault) for fault in self._faults.faults], "fired": fired}


async def _read(request: Request) -> tuple[Fault, ...]:
    """Raises FaultsInvalid."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > _LARGEST:
            raise FaultsInvalid(f"more than {_LARGEST} bytes")
    is_json = request.headers.get("content-type", "").startswith("application/json")
    try:
        text = body.decode()
        table = json.loads(text) if is_json else None
    except (ValueError, RecursionError) as error:
        raise FaultsInvalid(f"the faults are no {'JSON' if is_json else 'text'}: {error}") from error
    return fault_file.read(table) if is_json else fault_file.parse(text)


def _json(status: int, value: object) -> Response:
    return Response(json.dumps(value) + "\n", status_code=status, media_type="application/json")
