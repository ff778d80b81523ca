"""A profile and faults around an app, which knows of neither."""

import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from registry.api.prompt import PROMPT
from registry.testing.admin import Admin
from registry.testing.exchange import Ask, Head, Reply
from registry.testing.faults import Faults
from registry.testing.profiles import NONE, Profile
from registry.testing.switches.switch import Switch
from registry.testing.switches.table import switches_of

logger = logging.getLogger("registry")


def wrap(
    app: ASGIApp, profile: Profile = NONE, faults: Faults | None = None, *, admin: bool = False
) -> ASGIApp:
    """The app as a client of that registry sees it. Faults come first, as the network and proxies do.

    With `admin`, the faults can be changed by requests to /_test/faults.
    """
    if switches := switches_of(profile):
        app = Profiled(app, profile.name, switches)
    if faults is not None:
        app = Failing(app, faults)
    if faults is not None and admin:
        app = Admin(app, faults)
    return Unprompted(app)


class Unprompted:
    """Takes from our server what would answer a request before it comes as far as here."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def started(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                scope.get("state", {}).pop(PROMPT, None)
            await send(message)

        await self._app(scope, receive, started if scope["type"] == "lifespan" else send)


class Profiled:
    def __init__(self, app: ASGIApp, name: str, switches: list[Switch]) -> None:
        self._app, self._name, self._switches = app, name, switches

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        ask = Ask(scope, receive)
        for switch in self._switches:
            if reply := await switch.refuse(ask):
                logger.info(
                    "profile %s: %s %s: %d", self._name, ask.target.method, ask.target.path, reply.status
                )
                await ask.reply(reply, send)
                return
        for switch in self._switches:
            switch.amend(ask)
        answer = _Altered(ask, self._switches, send)
        await self._app(ask.scope, ask.receive, answer.send)
        if answer.instead:
            await ask.reply(answer.instead, send)


class _Altered:
    """The registry's answer on its way out; `instead` is what is given in its place."""

    def __init__(self, ask: Ask, switches: list[Switch], send: Send) -> None:
        self._ask, self._switches, self._send = ask, switches, send
        self.instead: Reply | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": list(message["headers"])}
            head = Head(message)
            for switch in self._switches:
                self.instead = self.instead or switch.alter(self._ask, head)
        if self.instead is None:
            await self._send(message)


class Failing:
    def __init__(self, app: ASGIApp, faults: Faults) -> None:
        self._app, self._faults = app, faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        ask = Ask(scope, receive)
        effects = self._faults.hitting(ask.target)
        app = self._app
        for effect in reversed(effects):
            app = effect.around(app)
        await app(scope, receive, send)
