"""Bearer tokens: each names an account that is asked for again, and reaches as far as it was made for."""

from dataclasses import dataclass, field, replace

import pytest

from registry.access import ANONYMOUS, Action, Actor, Authenticator, Grant, Shown
from registry.auth.bearer import BearerAuthenticator, Owners
from registry.auth.open_door import OpenDoor
from registry.auth.rules import Rules
from registry.auth.scopes import Scope
from registry.auth.tokens import Tokens
from registry.errors import Unauthenticated

NOW = 1_800_000_000
SCOPE = Scope("repository", "team/app", frozenset({"pull"}))
LIMIT = (Grant(("team/app",), frozenset({Action.PULL})),)
ALICE = Actor("alice", fingerprint="f1")
ROBOT = Actor("token:ci", grants=LIMIT, fingerprint="f2")


@dataclass(slots=True)
class Book:
    """The accounts that there are."""

    kept: dict[str, Actor] = field(default_factory=lambda: {"alice": ALICE, "token:ci": ROBOT})

    def find(self, name: str) -> Actor | None:
        return self.kept.get(name)


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture
def owners(book: Book) -> Owners:
    return Owners(book)


@pytest.fixture
def tokens() -> Tokens:
    return Tokens(b"k" * 32, "here", lambda: NOW)


@pytest.fixture
def bearer(tokens: Tokens, owners: Owners) -> BearerAuthenticator:
    return BearerAuthenticator(tokens, owners)


@pytest.mark.parametrize(
    "actor",
    [
        ANONYMOUS,
        ALICE,
        ROBOT,
        Actor("cert:build", expires=NOW + 9),
        Actor("github:x", frozenset({"github:ref=main"}), expires=NOW + 9),
    ],
    ids=lambda actor: actor.name or "anonymous",
)
async def test_a_token_names_who_it_was_made_for(
    bearer: BearerAuthenticator, tokens: Tokens, owners: Owners, actor: Actor
) -> None:
    token = tokens.sign(owners.ticket(actor, expires=NOW + 9, scopes=(SCOPE,)))
    for scheme in ("Bearer", "bearer"):
        found = await bearer.identify(Shown(f"{scheme} {token}".encode()))
        assert found == replace(actor, limit=LIMIT)


async def test_it_never_outlives_what_it_was_made_of(owners: Owners) -> None:
    short = replace(Actor("github:x"), expires=NOW + 3)
    assert owners.ticket(short, expires=NOW + 300, scopes=()).expires == NOW + 3


@pytest.mark.parametrize("name", ["alice", "token:ci"])
@pytest.mark.parametrize("change", ["removed", "another password"])
async def test_it_ends_with_its_account(
    bearer: BearerAuthenticator, tokens: Tokens, owners: Owners, book: Book, name: str, change: str
) -> None:
    actor = book.kept[name]
    token = tokens.sign(owners.ticket(actor, expires=NOW + 300, scopes=(SCOPE,)))
    if change == "removed":
        del book.kept[name]
    else:
        book.kept[name] = replace(actor, fingerprint="f9")
    with pytest.raises(Unauthenticated, match="gone, or has a new password"):
        await bearer.identify(Shown(f"Bearer {token}".encode()))


async def test_what_an_account_may_is_what_it_may_now(
    bearer: BearerAuthenticator, tokens: Tokens, owners: Owners, book: Book
) -> None:
    token = tokens.sign(owners.ticket(ROBOT, expires=NOW + 300, scopes=(SCOPE,)))
    book.kept["token:ci"] = replace(ROBOT, grants=())
    found = await bearer.identify(Shown(f"Bearer {token}".encode()))
    assert found is not None
    assert found.grants == ()


@pytest.mark.parametrize("name", ["carol", "token:gone", "alice"])
@pytest.mark.parametrize("fingerprint", ["", "f9"])
def test_none_is_made_for_an_account_that_is_gone_or_has_changed(
    owners: Owners, name: str, fingerprint: str
) -> None:
    """Or who was let in by the old password a moment ago would have tokens of the new one."""
    with pytest.raises(Unauthenticated):
        owners.ticket(Actor(name, fingerprint=fingerprint), expires=NOW + 300, scopes=())


async def test_a_refresh_token_opens_nothing(
    bearer: BearerAuthenticator, tokens: Tokens, owners: Owners
) -> None:
    token = tokens.sign(owners.ticket(ALICE, expires=NOW + 300, scopes=None))
    with pytest.raises(Unauthenticated, match="refresh token"):
        await bearer.identify(Shown(f"Bearer {token}".encode()))


@pytest.mark.parametrize(
    ("actor", "can"),
    [("", False), ("alice", True), ("token:ci", True), ("cert:a", False), ("github:b", False)],
)
def test_who_gets_a_refresh_token(owners: Owners, actor: str, can: bool) -> None:
    assert owners.can_refresh(Actor(actor)) is can


@pytest.mark.parametrize("header", [b"", b"Basic YTpi", b"Bearer", b"Bearer ", b"Bearer a.b.c", b"Bearerx y"])
async def test_other_headers_are_for_others(bearer: BearerAuthenticator, header: bytes) -> None:
    assert await bearer.identify(Shown(header)) is None


# -- the open door ------------------------------------------------------------------------------------------


class Refuses:
    async def identify(self, shown: Shown) -> Actor | None:
        raise Unauthenticated("wrong")


class Knows:
    async def identify(self, shown: Shown) -> Actor | None:
        return Actor("alice")


class Passes:
    async def identify(self, shown: Shown) -> Actor | None:
        return None


@pytest.mark.parametrize(
    ("anonymous", "authenticators", "found"),
    [
        ("push", [Refuses()], ANONYMOUS),
        ("push", [Passes()], ANONYMOUS),
        ("push", [Passes(), Knows()], Actor("alice")),
        ("none", [Passes()], None),
        ("none", [Passes(), Knows()], Actor("alice")),
    ],
)
async def test_an_open_door(anonymous: str, authenticators: list[Authenticator], found: Actor | None) -> None:
    door = OpenDoor(Rules((), {}, anonymous, lambda: True), authenticators)
    assert await door.identify(Shown(b"x")) == found


async def test_a_door_that_is_not_open_says_what_is_wrong() -> None:
    with pytest.raises(Unauthenticated, match="wrong"):
        await OpenDoor(Rules((), {}, "pull", lambda: True), [Refuses()]).identify(Shown(b"x"))
