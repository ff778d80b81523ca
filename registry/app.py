"""The composition root: settings → store → registry → ASGI app. The only place that chooses."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from registry.access import Policy
from registry.api.access_log import AccessLog
from registry.api.gate import Gate
from registry.api.health import health_routes
from registry.config import Settings
from registry.policies.anonymous_pull import AnonymousPull
from registry.policies.no_delete import NoDelete
from registry.registry import Registry
from storage.store import Store, open_store

log = logging.getLogger("registry")

_SWEEPS = 4  # in one expiry: a session lives a quarter longer than it must


def open_settings(settings: Settings) -> Store:
    """The store that the settings name. Raises StoreUnusable."""
    return open_store(settings.root, durable=not settings.ephemeral, allow_network=settings.allow_network_fs)


def policies(settings: Settings) -> list[Policy]:
    pull_only: list[Policy] = [AnonymousPull()] if settings.anonymous == "pull" else []
    undeletable: list[Policy] = [] if settings.delete else [NoDelete()]
    return [*pull_only, *undeletable]


def build(store: Store, settings: Settings) -> Starlette:
    """The whole service over an open store; the caller closes the store."""
    registry = Registry(store.names, store.blobs, store.uploads, sparse=settings.sparse)
    gate = Gate(registry, policies=policies(settings), log=AccessLog(write=settings.access_log))

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(_expire_uploads(registry, settings.upload_expiry))
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    return Starlette(routes=[*health_routes(store.require_ready), Everything(gate)], lifespan=lifespan)


def create_app(settings: Settings) -> Starlette:
    """A worker's app, which opens its store for itself and closes it with the process."""
    return build(open_settings(settings), settings)


class Everything(BaseRoute):
    """Any path at all: a Mount's pattern stops at a line feed, which Starlette would answer by itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return Match.FULL if scope["type"] == "http" else Match.NONE, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


async def _expire_uploads(registry: Registry, idle: int) -> None:
    while True:
        try:
            if ended := await registry.expire_uploads(idle):
                log.info("%d idle upload sessions expired", ended)
        except Exception:  # whatever it was, the next round may do better
            log.exception("idle upload sessions could not be expired")
        await asyncio.sleep(idle / _SWEEPS)
