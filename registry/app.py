"""The composition root: settings → store → registry → ASGI app. The only place that chooses."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial

from starlette.routing import BaseRoute, Match, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from registry.access import Policy
from registry.api.access_log import AccessLog, Lines
from registry.api.gate import Gate
from registry.api.health import health_routes
from registry.config import Settings
from registry.gc import collect_in_turn, rules_of
from registry.policies.anonymous_pull import AnonymousPull
from registry.policies.no_delete import NoDelete
from registry.registry import Registry
from storage.store import Store, open_store

Task = Callable[[], Coroutine[object, object, None]]

logger = logging.getLogger("registry")

# In the lifespan's state, for our server: whom to ask before it makes an ASGI call, and where it may send.
PROMPT, THREADS = "prompt", "threads"

_SWEEPS = 4  # in one expiry: a session lives a quarter longer than it must


def open_settings(settings: Settings) -> Store:
    """The store that the settings name. Raises StoreUnusable."""
    return open_store(
        settings.root,
        durable=not settings.ephemeral,
        allow_network=settings.allow_network_fs,
        serving=True,
    )


def policies(settings: Settings) -> list[Policy]:
    pull_only: list[Policy] = [AnonymousPull()] if settings.anonymous == "pull" else []
    undeletable: list[Policy] = [] if settings.delete else [NoDelete()]
    return [*pull_only, *undeletable]


def tasks(store: Store, registry: Registry, settings: Settings) -> list[Task]:
    """What goes on beside the requests, in every worker, until the server stops."""
    collecting = [partial(collect_in_turn, store, rules_of(grace=settings.gc_grace))] if settings.gc else []
    return [partial(_expire_uploads, registry, settings.upload_expiry), *collecting]


def build(store: Store, settings: Settings, *, lines: Lines | None = None) -> Router:
    """The whole service over an open store; the caller closes the store. `lines` takes the access log."""
    registry = Registry(store.names, store.blobs, store.uploads, sparse=settings.sparse)
    log = AccessLog(write=settings.access_log, sink=lines) if lines else AccessLog(write=settings.access_log)
    gate = Gate(registry, policies=policies(settings), log=log)

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[dict[str, object]]:
        running = [asyncio.create_task(task()) for task in tasks(store, registry, settings)]
        try:
            yield {PROMPT: gate.prompt, THREADS: store.threads}
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            if lines:
                lines.write()

    # A bare Router: the gate answers every error, so Starlette's layers for that would only cost.
    return Router(
        [Everything(gate, "/v2/"), *health_routes(store.require_ready), Everything(gate)], lifespan=lifespan
    )


def create_app(settings: Settings, *, lines: Lines | None = None) -> Router:
    """A worker's app, which opens its store for itself and closes it with the process."""
    return build(open_settings(settings), settings, lines=lines)


class Everything(BaseRoute):
    """Any path that begins so: a Mount's pattern stops at a line feed, and Starlette would answer."""

    def __init__(self, app: ASGIApp, prefix: str = "") -> None:
        self._app, self._prefix = app, prefix

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        mine = scope["type"] == "http" and scope["path"].startswith(self._prefix)
        return Match.FULL if mine else Match.NONE, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


async def _expire_uploads(registry: Registry, idle: int) -> None:
    while True:
        try:
            if ended := await registry.expire_uploads(idle):
                logger.info("%d idle upload sessions expired", ended)
        except Exception:  # whatever it was, the next round may do better
            logger.exception("idle upload sessions could not be expired")
        await asyncio.sleep(idle / _SWEEPS)
