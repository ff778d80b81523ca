"""`/token`: where clients change what they know for a token (distribution, "Token Authentication").

GET with Basic, and POST with a form (OAuth 2.0, RFC 6749) with a password or a refresh token. What is asked
for and not allowed is left out of the token: nothing is an error but wrong credentials.
"""

import base64
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import parse_qsl

from starlette.responses import Response

from registry.access import Action, Actor, Operation, Shown
from registry.api.errors import FormInvalid
from registry.api.identities import Identities
from registry.api.routes import Route
from registry.api.wire import Call, LoggedIn
from registry.auth.bearer import Owners
from registry.auth.rules import Rules
from registry.auth.scopes import Scope, intersect, parse_scopes
from registry.auth.tokens import LIFETIME, REFRESH_LIFETIME, Tokens
from registry.errors import NameInvalid, Unauthenticated
from registry.names import parse_public_name

PATH = "/token"

_LONGEST = 2**15  # bytes of a form: the password may be a token of another issuer
_MOST_SCOPES = 32  # a mount has two
_LONGEST_SCOPES = 2**13  # bytes of their text: more would only make a token that no header holds
_MOST_FIELDS = 200


class TokenEndpoint:
    def __init__(self, tokens: Tokens, owners: Owners, rules: Rules, identities: Identities) -> None:
        self._tokens, self._owners, self._rules, self._identities = tokens, owners, rules, identities

    @property
    def route(self) -> Route:
        return Route(
            re.compile(re.escape(PATH)),
            {"GET": (Action.LOGIN, self.get), "POST": (Action.LOGIN, self.post)},
        )

    async def get(self, call: Call) -> Response:
        """Raises Unauthenticated."""
        asked = call.request.query_params
        offline = asked.get("offline_token", "").lower() in ("true", "1")
        return self._answer(call.actor, asked.getlist("scope"), offline=offline)

    async def post(self, call: Call) -> Response:
        """Raises FormInvalid, Unauthenticated, TooManyRequests."""
        form = await _read_form(call)
        offline = form.get("access_type") == "offline"
        match form.get("grant_type"):
            case "password":
                actor = await self._log_in(call, form.get("username", ""), form.get("password", ""))
                return self._answer(actor, [form.get("scope", "")], offline=offline)
            case "refresh_token":
                refresh = form.get("refresh_token", "")
                ticket = self._tokens.read(refresh.encode())
                if ticket is None or ticket.scopes is not None:
                    raise Unauthenticated("this is no refresh token of this registry: log in again")
                return self._answer(self._owners.find(ticket), [form.get("scope", "")], refresh=refresh)
            case other:
                raise FormInvalid(f"grant_type is {(other or '')[:40]!r}: expected password or refresh_token")

    async def _log_in(self, call: Call, user: str, password: str) -> Actor:
        """As Basic would, so that every kind of password is known here too."""
        credentials = base64.b64encode(f"{user}:{password}".encode())
        return await self._identities.identify(Shown(b"Basic " + credentials, address=call.actor.address))

    def _answer(
        self, actor: Actor, texts: Sequence[str], *, offline: bool = False, refresh: str = ""
    ) -> Response:
        if actor.limit is not None:
            raise Unauthenticated("a token cannot be changed for another: log in with a password")
        asked = parse_scopes([" ".join(texts)[:_LONGEST_SCOPES]])[:_MOST_SCOPES]
        granted = tuple(self._grant(actor, scope) for scope in asked)
        now = self._tokens.now
        ticket = self._owners.ticket(actor, expires=now + LIFETIME, scopes=granted)
        token = self._tokens.sign(ticket)
        answer = {
            "token": token,
            "access_token": token,  # Docker reads this one, skopeo the other
            "expires_in": max(ticket.expires - now, 1),
            "issued_at": datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        if offline and self._owners.can_refresh(actor):
            lasting = self._owners.ticket(actor, expires=now + REFRESH_LIFETIME, scopes=None)
            refresh = self._tokens.sign(lasting)
        if refresh:
            answer["refresh_token"] = refresh
        # RFC 6749, section 5.1: no cache may keep it.
        headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
        return LoggedIn(json.dumps(answer), headers=headers, actor=actor)

    def _grant(self, actor: Actor, scope: Scope) -> Scope:
        if scope.kind == "registry":
            listed = self._rules.decide(actor, Operation(Action.LIST)).allowed
            return scope if listed and scope.name == "catalog" else Scope(scope.kind, scope.name, frozenset())
        try:
            name = parse_public_name(scope.name)
        except NameInvalid:
            return Scope(scope.kind, scope.name, frozenset())
        return intersect(scope, lambda action: self._rules.decide(actor, Operation(action, name)).allowed)


async def _read_form(call: Call) -> Mapping[str, str]:
    """The first value of each field. Raises FormInvalid."""
    kind = call.request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise FormInvalid(f"the body is {kind[:80]!r}: expected application/x-www-form-urlencoded")
    raw = bytearray()
    with call.held.lent() as lend:
        async for piece in call.request.stream():
            raw += piece
            if len(raw) > _LONGEST:
                raise FormInvalid(f"the form is longer than {_LONGEST} bytes")
            lend(len(piece))
    try:
        fields = parse_qsl(raw.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict")
    except ValueError:
        raise FormInvalid(f"the form is not UTF-8, or has more than {_MOST_FIELDS} fields") from None
    return dict(reversed(fields))
