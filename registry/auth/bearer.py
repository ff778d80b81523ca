"""`Authorization: Bearer` with a token of ours: who it names, if that one still is who it was given to."""

from dataclasses import replace
from typing import Protocol

from registry.access import ANONYMOUS, Actor, Grant, Shown
from registry.auth.robots import ROBOT
from registry.auth.scopes import Scope
from registry.auth.tokens import Ticket, Tokens
from registry.errors import Unauthenticated

_BEARER = b"bearer "


class Accounts(Protocol):
    """Who has an account now: each is asked for again whenever a token names it."""

    def find(self, name: str) -> Actor | None:
        """The user, or the robot with its grants; None if there is none, or no longer."""


class Owners:
    """From tickets to actors."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    def ticket(self, actor: Actor, *, expires: int, scopes: tuple[Scope, ...] | None) -> Ticket:
        """What a token for the actor says.

        Raises Unauthenticated where the account has just changed: a token is bound to what was shown for it.
        """
        if self.can_refresh(actor) and not self._is_current(actor.name, actor.fingerprint):
            raise Unauthenticated("the account is gone, or has a new password")
        ends = expires if actor.expires is None else min(expires, actor.expires)
        return Ticket(actor.name, ends, scopes, actor.fingerprint, tuple(sorted(actor.groups)))

    def can_refresh(self, actor: Actor) -> bool:
        return bool(actor.name) and not _is_vouched_for_elsewhere(actor.name)

    def find(self, ticket: Ticket) -> Actor:
        """Whom a ticket names, without the ticket's limit. Raises Unauthenticated."""
        if not ticket.name:
            return ANONYMOUS
        if _is_vouched_for_elsewhere(ticket.name):
            return Actor(ticket.name, groups=frozenset(ticket.groups), expires=ticket.expires)
        actor = self._accounts.find(ticket.name)
        if actor is None or not ticket.fingerprint or actor.fingerprint != ticket.fingerprint:
            raise Unauthenticated("the token's account is gone, or has a new password", error="invalid_token")
        return actor

    def _is_current(self, name: str, fingerprint: str) -> bool:
        actor = self._accounts.find(name)
        return actor is not None and bool(fingerprint) and actor.fingerprint == fingerprint


class BearerAuthenticator:
    def __init__(self, tokens: Tokens, owners: Owners) -> None:
        self._tokens, self._owners = tokens, owners

    async def identify(self, shown: Shown) -> Actor | None:
        """None for other schemes and for tokens that others have signed."""
        if shown.authorization[: len(_BEARER)].lower() != _BEARER:
            return None
        ticket = self._tokens.read(shown.authorization[len(_BEARER) :].strip())
        if ticket is None:
            return None
        if ticket.scopes is None:
            raise Unauthenticated("a refresh token is good for getting others only", error="invalid_token")
        return replace(self._owners.find(ticket), limit=limit_of(ticket))


def _is_vouched_for_elsewhere(name: str) -> bool:
    """By a certificate or by another's token, which cannot be asked again: our own end soon."""
    return ":" in name and not name.startswith(ROBOT)


def limit_of(ticket: Ticket) -> tuple[Grant, ...]:
    return tuple(scope.grant for scope in ticket.scopes or ())
