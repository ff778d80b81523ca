"""The gate: every request comes in through it, is parsed, known and allowed; every answer goes out by it."""

import asyncio
import os
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from registry.access import Action, Actor, Authenticator, Meter, Operation, Policy, Shown, meter
from registry.api import errors
from registry.api.access_log import AccessLog, Entry, remote_of
from registry.api.body import Body
from registry.api.browsers import Requirement, require_same_origin
from registry.api.cursors import Cursors
from registry.api.identities import Identities, authorization_of
from registry.api.origins import Origins, host_of, require_clear
from registry.api.prompt import Prompt
from registry.api.routes import ROUTES, Route, match
from registry.api.wire import ALWAYS, Call, Held, Lasting, LoggedIn
from registry.cache.cache import Cache
from registry.cache.routing import Routing, Way
from registry.errors import NameInvalid, RegistryError, TagInvalid, Unauthenticated
from registry.names import RepositoryName, parse_reference
from registry.registry import Registry
from storage.digest import Digest
from storage.errors import ManifestMissing

_FORBIDDEN = re.compile(rb"%(?:2f|5c|00)", re.IGNORECASE)
_PLAIN = re.compile(rb"[\x21-\x7e]*")
_SINGLE = frozenset({b"content-type", b"content-range", b"range", b"if-range", b"origin"})
_HELD = 64 * 2**20  # bytes of manifests on their way in, in one worker
_CACHE_STATUS = {
    "hit": "hit",
    "miss": "fwd=miss",
    "stale": "hit; detail=stale",
    "negative": "hit; detail=negative",
}

Challenge = Callable[[Request, Unauthenticated], str]
"""What `WWW-Authenticate` says."""


Counted = Callable[[str, int], None]
"""Told of each answer with an upstream's content that `Prompt` gives again: whose, and its body's bytes."""


def no_challenge(_: Request, fact: Unauthenticated) -> str:
    """There is no account to log in to; HTTP wants a word all the same (RFC 9110, section 15.5.2)."""
    return 'Basic realm="registry"'


class Witness(Protocol):
    """Sees every request that the gate itself answers, errors too; what `Prompt` gives again, it does not."""

    def begin(self, entry: Entry) -> None:
        """In the request's own context (contextvars), before anything of it is known."""

    def end(self, entry: Entry) -> None:
        """After the answer. Must not raise."""


class Gate:
    """The distribution API as an ASGI app."""

    def __init__(
        self,
        registry: Registry,
        *,
        authenticators: Sequence[Authenticator] = (),
        policies: Sequence[Policy] = (),
        meters: Sequence[Meter] = (),
        challenge: Challenge = no_challenge,
        routes: Sequence[Route] = ROUTES,
        origins: Origins | None = None,
        requirements: Sequence[Requirement] = (),
        witnesses: Sequence[Witness] = (),
        cursors: Cursors | None = None,
        routing: Routing | None = None,
        cache: Cache | None = None,
        counted: Counted | None = None,
        log: AccessLog,
    ) -> None:
        self._registry, self._routes, self._log, self._witnesses = registry, routes, log, witnesses
        self._origins = origins or Origins()
        self._requirements = (require_same_origin(self._origins), *requirements)
        self._identities = Identities(authenticators)
        self._policies, self._meters, self._challenge = policies, meters, challenge
        self._routing, self._cache, self._counted = routing or Routing(), cache, counted
        self._held = Held(_HELD)
        self._cursors = cursors or Cursors(os.urandom(32))
        self.prompt = Prompt(
            registry.names.generation,
            registry.blobs.size,
            identities=self._identities,
            policies=policies,
            meters=meters,
            origins=self._origins,
            sink=log.sink,
            pulls=registry.pulls,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = os.urandom(16).hex()
        scope = self._origins.seen(scope)
        body = Body(scope, receive)
        entry = self._log.begin(scope, request_id)
        watched = entry.watch(send)
        for witness in self._witnesses:
            witness.begin(entry)
        try:
            await self._respond(scope, body, watched, entry, request_id)
        except asyncio.CancelledError:
            # Only a stop that has waited long enough cancels a request.
            stopping = errors.Stopping()
            entry.failed(stopping, *errors.look_up(stopping))
            if not entry.started:
                response = errors.render(stopping, request_id=request_id)
                response.headers["Connection"] = "close"
                await _complete(response, request_id)(scope, body.receive, watched)
        except Exception as error:
            entry.failed(error, *errors.look_up(error))
            raise
        finally:
            entry.end()
            for witness in self._witnesses:
                witness.end(entry)
            entry.fact = None  # which would keep all that its frames hold, see `_refuse`

    async def _respond(self, scope: Scope, body: Body, send: Send, entry: Entry, request_id: str) -> None:
        request = Request(scope, body.receive)
        try:
            response = await self._answer(request, body, entry)
        except ClientDisconnect as error:
            entry.failed(error, *errors.look_up(error))
            return
        except Exception as error:
            response = self._refuse(request, errors.fact_of(error), entry, request_id)
        if not await body.spent():
            response.headers["Connection"] = "close"
            send = body.lingering(send)
        if scope["method"] == "HEAD":
            response.body = b""
        await _complete(response, request_id)(scope, body.receive, send)

    def _refuse(self, request: Request, fact: Exception, entry: Entry, request_id: str) -> Response:
        """Apart from where it was raised: a frame that holds its own error waits to be found as a cycle.

        With it would all that the error's other frames hold, such as a manifest of a hundred thousand parts.
        """
        entry.failed(fact, *errors.look_up(fact))
        response = errors.render(fact, request_id=request_id)
        if isinstance(fact, Unauthenticated):
            response.headers["WWW-Authenticate"] = self._challenge(request, fact)
        if response.status_code == 405:
            response.headers.setdefault("Allow", self._others(request.scope))
        _say_whence(response, entry)
        return response

    async def _answer(self, request: Request, body: Body, entry: Entry) -> Response:
        require_clear(request.scope)
        host_of(request.scope)
        path = decode_path(request.scope)
        found = match(path, self._routes)
        if found is None:
            raise errors.RouteMissing(path)
        route, parameters = found
        if request.method not in route.methods:
            raise errors.MethodUnknown(request.method, route.allow)
        action, handler = route.methods[request.method]
        parsed = parse_parameters(parameters, request.method)
        require_single(request)
        for require in self._requirements:
            require(request)
        way = self._find_way(request, parsed, entry)
        operation = Operation(action, way.names[0] if way else None)
        entry.operation, entry.parameters = operation, parsed
        actor = await self._identify(request)
        entry.actor = actor
        operation = entry.operation = self._choose(actor, operation, way)
        self._admit(actor, operation)
        for encoding in request.headers.getlist("content-encoding"):
            if encoding.lower() != "identity":
                raise errors.EncodingUnsupported(encoding)
        asks = partial(self._allows, actor), partial(self._allows, actor.unlimited)
        opened = partial(self._cache.open, note=entry.note_cache) if self._cache else None
        call = Call(
            request,
            body,
            self._registry,
            actor,
            *asks,
            self._held,
            self._cursors,
            way=way,
            find_way=self._routing.find,
            open_remote=opened,
            **parsed,
        )
        generation = self.prompt.generation
        response = await handler(call)
        _say_whence(response, entry)
        if isinstance(response, LoggedIn):
            entry.actor = response.actor
        # A listing of repositories hangs on more than the one operation.
        if isinstance(response, Lasting) and action is not Action.LIST and _is_same_for_all(way, entry):
            again = partial(self._counted, entry.upstream) if self._counted and entry.upstream else None
            needs = _needs(operation, way)
            self.prompt.keep(request.scope, needs, response, generation, actor, entry.cached, again)
        return response

    def _find_way(self, request: Request, parsed: dict[str, Any], entry: Entry) -> Way | None:
        """Where the path's name leads, and the namespace that containerd adds. Raises NamespaceUnknown."""
        if "name" not in parsed:
            return None
        namespace = request.query_params.get("ns", "") if request.scope["query_string"] else ""
        way = self._routing.find(parsed["name"], namespace)
        if way.names[0].startswith(f"{namespace}/"):  # an upstream's, not one that stands for this registry
            entry.namespace = namespace
        return way

    def _choose(self, actor: Actor, operation: Operation, way: Way | None) -> Operation:
        """Of the names that mean the same, the first to which there is a right, if there is one."""
        others = way.names[1:] if way else ()
        if not others or self._allows(actor, operation):
            return operation
        named = (Operation(operation.action, name) for name in others)
        return next((each for each in named if self._allows(actor, each)), operation)

    def _others(self, scope: Scope) -> str:
        """The methods of a path beside the one refused: every 405 lists them (RFC 9110, section 15.5.6)."""
        found = match(decode_path(scope), self._routes)
        return ", ".join(method for method in found[0].methods if method != scope["method"]) if found else ""

    async def _identify(self, request: Request) -> Actor:
        scope = request.scope
        return await self._identities.identify(
            Shown(authorization_of(scope["headers"]), certificate_of(scope), remote_of(scope.get("client")))
        )

    def _admit(self, actor: Actor, operation: Operation) -> None:
        """What is denied counts as well, but no challenge: with that most clients begin, and then log in."""
        try:
            self._require(actor, operation)
        except Unauthenticated:
            raise
        except RegistryError:
            meter(self._meters, actor, operation)
            raise
        meter(self._meters, actor, operation)

    def _require(self, actor: Actor, operation: Operation) -> None:
        for policy in self._policies:
            policy.allow(actor, operation)

    def _allows(self, actor: Actor, operation: Operation) -> bool:
        try:
            self._require(actor, operation)
        except RegistryError:
            return False
        return True


def _say_whence(response: Response, entry: Entry) -> None:
    """`ns` is echoed (distribution-spec, "Registry Proxying"); Cache-Status is of RFC 9211."""
    if entry.namespace:
        response.headers["OCI-Namespace"] = entry.namespace
    if entry.cache:
        response.headers["Cache-Status"] = f"oci-registry; {_CACHE_STATUS[entry.cache]}"


def _is_same_for_all(way: Way | None, entry: Entry) -> bool:
    """Whether an answer is right for whoever has the rights to it, and says of itself what the next would."""
    mixed = way is not None and way.remote is not None and way.local is not None
    return entry.cache == "hit" or not (entry.cache or mixed)


def _needs(operation: Operation, way: Way | None) -> tuple[Operation, ...]:
    """All that has to be allowed to one who gets what the default upstream has under a plain name."""
    if way is None or way.remote is None or way.local is None:
        return (operation,)
    return operation, Operation(operation.action, way.remote.public)


def require_single(request: Request) -> None:
    """Raises FieldRepeated (RFC 9110, section 5.3): we would read the first, a proxy perhaps the last."""
    names = [name for name, _ in request.scope["headers"] if name in _SINGLE]
    for name in names:
        if names.count(name) > 1:
            raise errors.FieldRepeated(name.decode())


def certificate_of(scope: Scope) -> str:
    """Of the client, as the ASGI specification's TLS extension has it."""
    return scope.get("extensions", {}).get("tls", {}).get("client_cert_name") or ""


def _complete(response: Response, request_id: str) -> Response:
    # Straight to the raw list: Starlette would look for each name among all before it.
    response.raw_headers += [*ALWAYS, (b"x-request-id", request_id.encode())]
    return response


def decode_path(scope: Scope) -> str:
    """The path, decoded once. Raises NameInvalid for what could be read in two ways.

    From the bytes on the wire: the server's own decoding turns `%2f` into a slash.
    """
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    shown = raw[:160].decode("ascii", "backslashreplace")
    if _FORBIDDEN.search(raw):
        raise NameInvalid(shown, "it must not have an encoded slash, backslash or NUL")
    decoded = unquote_to_bytes(raw)
    if not _PLAIN.fullmatch(decoded):
        raise NameInvalid(shown, "only printable ASCII is allowed")
    return decoded.decode("ascii")


def parse_parameters(parameters: dict[str, str], method: str) -> dict[str, Any]:
    """As checked types. Raises NameInvalid, InvalidDigest, TagInvalid, ManifestMissing."""
    parsed: dict[str, Any] = {}
    for key, text in parameters.items():
        match key:
            case "name":
                parsed["name"] = RepositoryName(text)
            case "digest":
                parsed["digest"] = Digest.parse(text)
            case "subject":
                parsed["digest"] = Digest.parse_any(text)
            case "upload":
                parsed["upload"] = text
            case "reference":
                try:
                    parsed["reference"] = parse_reference(text)
                except TagInvalid:
                    if method == "PUT":
                        raise
                    raise ManifestMissing(text[:160]) from None
    return parsed
