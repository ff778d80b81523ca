"""The composition root: settings → store → registry → ASGI app. The only place that chooses."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

from starlette.routing import BaseRoute, Match, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from registry.access import Authenticator, Meter, Policy
from registry.api.access_log import AccessLog, Lines
from registry.api.access_log import logger as access_logger
from registry.api.audit import Audit
from registry.api.browsers import Requirement, require_private_name
from registry.api.cache_count import CacheCount
from registry.api.challenge import BearerChallenge
from registry.api.cursors import Cursors
from registry.api.gate import Gate, Witness
from registry.api.health import health_routes
from registry.api.identities import Identities
from registry.api.origins import Origins
from registry.api.prompt import PROMPT
from registry.api.routes import ROUTES
from registry.api.token import TokenEndpoint
from registry.auth.accounts import Accounts
from registry.auth.addresses import is_loopback
from registry.auth.basic import BasicAuthenticator
from registry.auth.bearer import BearerAuthenticator, Owners
from registry.auth.certificates import Certificates
from registry.auth.foreign import Foreign
from registry.auth.htpasswd import Htpasswd
from registry.auth.issuer_settings import find_token_server
from registry.auth.open_door import OpenDoor
from registry.auth.passwords import Passwords
from registry.auth.robots import Robots
from registry.auth.rules import Rules
from registry.auth.tokens import Tokens
from registry.build_caches import superseded_of
from registry.builds import keep_builds
from registry.cache.bounds import Bounds
from registry.cache.budgets import budgets_of
from registry.cache.cache import Cache
from registry.cache.fetches import Fetches
from registry.cache.figures import Figures, note_in_turn
from registry.cache.routing import Routing
from registry.changes import Guard
from registry.consistency import access_rules_of
from registry.gc import collect_in_turn, rules_of
from registry.guards.immutable_tags import ImmutableTags
from registry.meters.request_rate import RequestRate
from registry.policies.access_rules import AccessRules
from registry.policies.no_delete import NoDelete
from registry.policies.read_only import ReadOnly
from registry.policies.upstream_names import UpstreamNames
from registry.pulls import Pulls
from registry.quotas import limits_of
from registry.registry import Registry
from registry.retention import retain
from registry.retention_rules import untagged_of
from registry.scrub import scrub
from registry.settings import Settings
from registry.trail import STDERR, Sink, Trail
from registry.upstream.client import UpstreamClient
from registry.upstream.settings import Upstream
from storage import contracts, figures
from storage.secrets import Secrets
from storage.store import Store, open_store

logger = logging.getLogger("registry")

THREADS = "threads"  # in the lifespan's state, beside PROMPT: where our server may send

SERVICE = "oci-registry"  # whom tokens are for

_PULLS = 60.0  # seconds between two notes of what was pulled
_PULLS_TO_EVICT_BY = 0.25  # the same where another worker may evict what was not pulled for longest
_SWEEPS = 4  # in one expiry: a session lives a quarter longer than it must
_LONGEST_SWEEP = 60.0  # seconds between two at most, for a server that is stopped forgets what it saw since
_BALLAST = 5.0  # seconds between two looks at it: one stat of a file, one of the disk


def open_settings(settings: Settings) -> Store:
    """The store that the settings name. Raises StoreUnusable."""
    return open_store(
        settings.root,
        durable=not settings.ephemeral,
        lean=settings.ephemeral,
        allow_network=settings.allow_network_fs,
        serving=True,
    )


def figures_of(settings: Settings, store: Store) -> Figures | None:
    return Figures(partial(figures.add, store.database)) if settings.upstreams else None


def cache_of(
    settings: Settings,
    store: Store,
    registry: Registry,
    bounding: Sequence[Bounds],
    counts: Figures | None,
) -> Cache | None:
    if counts is None:
        return None

    def look() -> None:
        for bounds in bounding:
            bounds.look_soon()

    async def await_room(repository: str) -> None:
        for bounds in bounding:
            await bounds.await_room(repository)

    def connect(upstream: Upstream) -> UpstreamClient:
        return UpstreamClient(upstream, notes=counts.of(upstream.name))

    fetches = Fetches(store.fetches, store.blobs, await_room=await_room, ended=look)
    return Cache(registry, fetches, offline=settings.offline, connect=connect)


def routing_of(settings: Settings) -> Routing:
    return Routing(settings.upstreams, settings.local, settings.external_url)


def policies(settings: Settings, rules: Rules) -> list[Policy]:
    undeletable: list[Policy] = [] if settings.delete else [NoDelete()]
    unchanging: list[Policy] = [ReadOnly()] if settings.read_only else []
    fetched: list[Policy] = [UpstreamNames(routing_of(settings))] if settings.upstreams else []
    return [*unchanging, AccessRules(rules), *fetched, *undeletable]


@dataclass(frozen=True, slots=True)
class Entrance:
    """How anyone comes in, and what a token is made for."""

    rules: Rules
    accounts: Accounts
    authenticators: list[Authenticator]
    endpoint: TokenEndpoint
    close: Callable[[], None]


def entrance(store: Store, settings: Settings) -> Entrance:
    secrets = Secrets(store.files, store.layout)
    htpasswd = Htpasswd(settings.htpasswd or store.layout.htpasswd)
    robots = Robots(store.layout.robots)
    rules = access_rules_of(settings)
    accounts = Accounts(htpasswd, robots)
    tokens, owners = Tokens(secrets.key("token"), SERVICE), Owners(accounts)
    passwords = Passwords(htpasswd, secrets.key("password"))
    foreign = [Foreign(settings.issuers)] if settings.issuers else []
    known: list[Authenticator] = [
        BearerAuthenticator(tokens, owners),
        *foreign,
        BasicAuthenticator(passwords, robots),
        *([Certificates()] if settings.tls_client_ca else []),
    ]
    authenticators: list[Authenticator] = [OpenDoor(rules, known)]
    endpoint = TokenEndpoint(tokens, owners, rules, Identities(authenticators))
    return Entrance(rules, accounts, authenticators, endpoint, close=passwords.close)


def challenge(settings: Settings, origins: Origins) -> BearerChallenge:
    """Where clients are sent for a token: to the token server, if there is one."""
    elsewhere = find_token_server(settings.issuers)
    if elsewhere is None:
        return BearerChallenge(SERVICE, origins.base_url)
    return BearerChallenge(elsewhere.service, origins.base_url, elsewhere.realm)


def requirements(settings: Settings, rules: Rules) -> list[Requirement]:
    known = urlsplit(settings.external_url).hostname or ""
    return [require_private_name(lambda: rules.open, known)] if is_loopback(settings.host) else []


def guards(settings: Settings) -> list[Guard]:
    return [ImmutableTags(settings.immutable_tags)] if settings.immutable_tags else []


def meters(settings: Settings) -> list[Meter]:
    return [RequestRate(rate) for rate in settings.rate]


def layers(settings: Settings) -> list[Callable[[ASGIApp], ASGIApp]]:
    """What is around the whole service, the innermost first."""
    if not (settings.profile or settings.faults):
        return []
    # Only who tests clients has a use for it.
    from registry.testing.wrapping import around

    return [around(settings.profile, settings.faults)]


def audits(settings: Settings, coming: Entrance, lines: Sink) -> list[Audit]:
    if not settings.audit_log:
        return []
    sink = lines if settings.audit_log == STDERR else Trail(settings.audit_log)
    return [Audit(sink, why=coming.rules.why, knows=coming.accounts.has)]


def bounds(registry: Registry, store: Store, settings: Settings) -> list[Bounds]:
    budgets = budgets_of(settings.upstreams, settings.cache_size)
    return [Bounds(store, budgets, registry.pulls.flush)] if settings.upstreams else []


def tasks(
    registry: Registry, store: Store, settings: Settings, bounding: Sequence[Bounds] = ()
) -> list[Coroutine[object, object, None]]:
    """What goes on in the background, for as long as the service does."""
    noting = _note_pulls(registry.pulls, _PULLS_TO_EVICT_BY if bounding or settings.build_cache else _PULLS)
    fetched = [each.keep() for each in bounding]
    idle = settings.upload_expiry
    lost = _expire_in_turn(partial(_expire_fetches, store.fetches, idle), idle)
    if settings.read_only:
        # Or rules would take what was pulled all the time for unused. Upstreams are asked all the same: what
        # comes of them would fill the disk.
        return [noting, *fetched, lost]
    kept = [] if settings.ephemeral else [_keep_ballast(store)]
    rules = rules_of(
        grace=settings.gc_grace,
        untagged=untagged_of(settings.retention, settings.untagged),
        superseded=superseded_of(settings.build_cache),
    )
    retention = partial(retain, store, settings.retention, guards(settings), tell=registry.tell)
    collecting = [collect_in_turn(store, rules, retention)] if settings.gc else []
    builds = (settings.build_cache, rules, guards(settings), registry.tell, registry.pulls.flush)
    building = [keep_builds(store, *builds)] if settings.gc and settings.build_cache else []
    reading = [scrub(store, settings.scrub_rate)] if settings.scrub_rate else []
    expiring = _expire_in_turn(partial(_expire_uploads, registry, idle), idle)
    always = [expiring, noting, *fetched, lost]
    return [*always, *kept, *collecting, *building, *reading]


def build(
    store: Store, settings: Settings, *, lines: Lines | None = None, witnesses: Sequence[Witness] = ()
) -> Router:
    """The whole service over an open store; the caller closes the store. `lines` takes the access log."""
    sink = lines or access_logger.info
    log = AccessLog(write=settings.access_log, sink=sink)
    coming = entrance(store, settings)
    audited = audits(settings, coming, sink)
    registry = Registry(
        store.names,
        store.blobs,
        store.uploads,
        guards=guards(settings),
        listeners=audited,
        limits_of=partial(limits_of, settings.quota),
        sparse=settings.sparse,
    )
    counts = figures_of(settings, store)
    counted = [CacheCount(counts.count)] if counts else []
    bounding = bounds(registry, store, settings)
    cache = cache_of(settings, store, registry, bounding, counts)
    origins = Origins(settings.trusted_proxies, settings.external_url)
    gate = Gate(
        registry,
        authenticators=coming.authenticators,
        policies=policies(settings, coming.rules),
        meters=meters(settings),
        challenge=challenge(settings, origins),
        routes=(*ROUTES, coming.endpoint.route),
        origins=origins,
        witnesses=[*audited, *counted, *witnesses],
        requirements=requirements(settings, coming.rules),
        cursors=Cursors(Secrets(store.files, store.layout).key("cursor")),
        routing=routing_of(settings),
        cache=cache,
        counted=counted[0].again if counted else None,
        log=log,
    )

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[dict[str, object]]:
        noting = [note_in_turn(counts)] if counts else []
        working = (*tasks(registry, store, settings, bounding), *noting)
        running = [asyncio.create_task(task) for task in working]
        try:
            yield {PROMPT: gate.prompt, THREADS: store.threads}
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            if cache:
                await cache.close()
            coming.close()
            if lines:
                lines.write()

    # A bare Router: the gate answers every error, so Starlette's layers for that would only cost.
    return Router(
        [Everything(gate, "/v2/"), *health_routes(store.require_ready), Everything(gate)], lifespan=lifespan
    )


def create_app(settings: Settings, *, lines: Lines | None = None) -> Router:
    """A worker's app, which opens its store for itself and closes it with the process."""
    return build(open_settings(settings), settings, lines=lines)


def wrapped(app: ASGIApp, settings: Settings) -> ASGIApp:
    """The service with what is around it. Raises ValueError for a profile or faults that cannot be read."""
    for layer in layers(settings):
        app = layer(app)
    return app


class Everything(BaseRoute):
    """Any path that begins so: a Mount's pattern stops at a line feed, and Starlette would answer."""

    def __init__(self, app: ASGIApp, prefix: str = "") -> None:
        self._app, self._prefix = app, prefix

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        mine = scope["type"] == "http" and scope["path"].startswith(self._prefix)
        return Match.FULL if mine else Match.NONE, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


async def _expire_in_turn(expire: Callable[[], Coroutine[object, object, None]], idle: int) -> None:
    while True:
        try:
            await expire()
        except Exception:  # whatever it was, the next round may do better
            logger.exception("what is idle could not be expired")
        await asyncio.sleep(min(idle / _SWEEPS, _LONGEST_SWEEP))


async def _expire_uploads(registry: Registry, idle: int) -> None:
    if ended := await registry.expire_uploads(idle):
        logger.info("%d idle upload sessions expired", ended)


async def _expire_fetches(fetches: contracts.Fetches, idle: int) -> None:
    if left := await fetches.expire(idle):
        logger.info("%d fetches that nobody goes on with expired", len(left))


async def _keep_ballast(store: Store) -> None:
    while True:
        try:
            await store.threads.run(store.ballast.lay)
        except Exception:
            logger.exception("the ballast could not be laid")
        await asyncio.sleep(_BALLAST)


async def _note_pulls(pulls: Pulls, seconds: float) -> None:
    try:
        while True:
            await pulls.wait(seconds)
            if not await _flush(pulls):
                await asyncio.sleep(seconds)
    finally:
        await _flush(pulls)


async def _flush(pulls: Pulls) -> bool:
    try:
        await pulls.flush()
    except Exception:
        logger.exception("pulls could not be noted")
        return False
    return True
