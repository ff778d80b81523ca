"""`/token`: every form that clients use, and what each gets (distribution, "Token Authentication")."""

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from registry.access import Action, Actor, Authenticator, Grant, Shown
from registry.api.access_log import AccessLog
from registry.api.challenge import BearerChallenge
from registry.api.gate import Gate
from registry.api.identities import Identities
from registry.api.routes import ROUTES
from registry.api.token import TokenEndpoint
from registry.auth.bearer import BearerAuthenticator, Owners
from registry.auth.rules import Entry, Rules
from registry.auth.tokens import Tokens
from registry.errors import TooManyRequests, Unauthenticated
from registry.policies.access_rules import AccessRules
from registry.registry import Registry
from storage.store import Store
from tests.api.rows import Row, assert_error, check
from tests.api.world import IMAGE, LAYER, World, digest
from tests.inprocess import connect_app

READ = frozenset({Action.PULL})
ENTRIES = (
    Entry(("team/app",), READ | {Action.PUSH}, users=("alice",)),
    Entry(("public/*",), READ, anonymous=True),
)
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@dataclass(slots=True)
class House:
    """Accounts, and the way to log in to them; `now` is everyone's clock."""

    passwords: dict[str, str] = field(default_factory=lambda: {"alice": "secret", "bob": "b"})
    now: float = 1_800_000_000

    def find(self, name: str) -> Actor | None:
        if name == "token:ci":
            return Actor(name, grants=(Grant(("ci/*",), READ),), fingerprint="robot")
        return Actor(name, fingerprint=self.passwords[name]) if name in self.passwords else None

    async def identify(self, shown: Shown) -> Actor | None:
        scheme, _, encoded = shown.authorization.partition(b" ")
        if scheme != b"Basic":
            return None
        user, _, password = base64.b64decode(encoded).decode().partition(":")
        if password == "too often":
            raise TooManyRequests("too many wrong passwords", retry_after=9)
        if password == "robot":
            return self.find("token:ci")
        if user not in self.passwords or self.passwords[user] != password:
            raise Unauthenticated("wrong user name or password")
        return self.find(user)


@dataclass(slots=True)
class Place:
    client: httpx.AsyncClient
    tokens: Tokens
    house: House

    async def get(
        self, *scopes: str, user: str = "", password: str = "secret", **query: str
    ) -> httpx.Response:
        pairs = urlencode([("service", "here"), *(("scope", scope) for scope in scopes), *query.items()])
        auth = httpx.BasicAuth(user, password) if user else None
        return await self.client.get("/token", params=httpx.QueryParams(pairs), auth=auth)

    async def post(self, **form: str) -> httpx.Response:
        return await self.client.post("/token", data=form)

    def granted(self, answer: httpx.Response) -> set[str]:
        assert answer.status_code == 200, answer.text
        ticket = self.tokens.read(answer.json()["token"].encode())
        assert ticket is not None
        assert ticket.scopes is not None
        return {str(scope) for scope in ticket.scopes}


@pytest.fixture
async def place(store: Store) -> AsyncIterator[Place]:
    house = House()
    tokens, owners = Tokens(b"k" * 32, "here", lambda: house.now), Owners(house)
    rules = Rules(ENTRIES, {}, "none", lambda: True)
    authenticators: list[Authenticator] = [BearerAuthenticator(tokens, owners), house]
    endpoint = TokenEndpoint(tokens, owners, rules, Identities(authenticators))
    gate = Gate(
        Registry(store.names, store.blobs, store.uploads),
        authenticators=authenticators,
        policies=[AccessRules(rules)],
        challenge=BearerChallenge("here", lambda scope: "http://registry.test"),
        routes=(*ROUTES, endpoint.route),
        log=AccessLog(),
    )
    async with connect_app(gate) as client:
        yield Place(client, tokens, house)


@pytest.mark.parametrize(
    ("user", "scopes", "granted"),
    [
        ("", [], set()),
        ("", ["repository:team/app:pull"], {"repository:team/app:"}),
        ("", ["repository:public/x:pull,push"], {"repository:public/x:pull"}),
        ("", ["registry:catalog:*"], {"registry:catalog:*"}),
        ("alice", ["repository:team/app:push,pull"], {"repository:team/app:pull,push"}),
        ("alice", ["repository:team/app:*"], {"repository:team/app:pull,push"}),
        ("alice", ["repository:other:pull"], {"repository:other:"}),
        (
            "alice",
            ["repository:team/app:pull,push", "repository:public/x:pull"],
            {"repository:team/app:pull,push", "repository:public/x:pull"},
        ),
        (
            "alice",
            ["repository:team/app:pull,push repository:public/x:pull"],
            {"repository:team/app:pull,push", "repository:public/x:pull"},
        ),
        ("alice", ["registry:catalog:*"], {"registry:catalog:*"}),
        ("alice", ["registry:everything:*"], {"registry:everything:"}),
        ("alice", ["repository:NO/NAME:pull"], {"repository:NO/NAME:"}),
        ("alice", ["nonsense", "repository:team/app:frobnicate"], {"repository:team/app:"}),
    ],
)
async def test_what_is_granted_is_what_is_asked_and_allowed(
    place: Place, user: str, scopes: list[str], granted: set[str]
) -> None:
    assert place.granted(await place.get(*scopes, user=user)) == granted
    if user:
        form = {"grant_type": "password", "username": user, "password": "secret", "service": "here"}
        answer = await place.post(**form, scope=" ".join(scopes))
        assert place.granted(answer) == granted


async def test_the_answer_is_what_every_client_reads(place: Place) -> None:
    answer = await place.get("repository:team/app:pull", user="alice", account="alice", client_id="docker")
    body = answer.json()
    assert set(body) == {"token", "access_token", "expires_in", "issued_at"}
    assert body["token"] == body["access_token"]
    assert body["expires_in"] >= 60
    assert datetime.fromisoformat(body["issued_at"]).timestamp() == place.house.now
    assert answer.headers["Cache-Control"] == "no-store"
    assert "X-Request-Id" in answer.headers


async def refresh_token(place: Place, **how: str) -> str:
    answer = await place.get(user="alice", offline_token="true", **how)
    return str(answer.json()["refresh_token"])


async def test_a_refresh_token_stands_for_the_password(place: Place) -> None:
    refresh = await refresh_token(place)
    place.house.now += 200 * 86_400
    form = {"grant_type": "refresh_token", "refresh_token": refresh, "service": "here", "client_id": "docker"}
    answer = await place.post(**form, scope="repository:team/app:pull,push")
    assert place.granted(answer) == {"repository:team/app:pull,push"}
    assert answer.json()["refresh_token"] == refresh


async def test_a_form_may_ask_for_one_too(place: Place) -> None:
    form = {"grant_type": "password", "username": "alice", "password": "secret"}
    assert "refresh_token" not in (await place.post(**form)).json()
    assert (await place.post(**form, access_type="offline")).json()["refresh_token"]


async def test_nobody_that_is_anonymous_gets_one(place: Place) -> None:
    assert "refresh_token" not in (await place.get(offline_token="true")).json()


@pytest.mark.parametrize("change", ["password", "removed", "expired"])
async def test_a_refresh_token_ends(place: Place, change: str) -> None:
    refresh = await refresh_token(place)
    match change:
        case "password":
            place.house.passwords["alice"] = "another"
        case "removed":
            del place.house.passwords["alice"]
        case _:
            place.house.now += 366 * 86_400
    answer = await place.post(grant_type="refresh_token", refresh_token=refresh)
    assert_error(answer, 401, "UNAUTHORIZED")


async def test_an_access_token_is_no_refresh_token(place: Place) -> None:
    token = (await place.get("repository:team/app:pull", user="alice")).json()["token"]
    answer = await place.post(grant_type="refresh_token", refresh_token=token)
    assert_error(answer, 401, "UNAUTHORIZED", "no refresh token")


async def test_a_token_does_not_widen_itself(place: Place) -> None:
    token = (await place.get("repository:public/x:pull", user="alice")).json()["token"]
    headers = {"Authorization": f"Bearer {token}"}
    answer = await place.client.get("/token?scope=repository:team/app:push", headers=headers)
    assert_error(answer, 401, "UNAUTHORIZED", "changed for another")


@pytest.mark.parametrize(("user", "password"), [("alice", "wrong"), ("nobody", "secret")])
async def test_wrong_credentials_are_an_error_and_no_anonymous_token(
    place: Place, user: str, password: str
) -> None:
    for answer in (
        await place.get("repository:public/x:pull", user=user, password=password),
        await place.post(grant_type="password", username=user, password=password),
    ):
        assert_error(answer, 401, "UNAUTHORIZED", "wrong user name or password")
        assert answer.headers["WWW-Authenticate"] == 'Basic realm="registry"'


async def test_too_many_of_them(place: Place) -> None:
    answer = await place.get(user="alice", password="too often")
    assert_error(answer, 429, "TOOMANYREQUESTS")
    assert answer.headers["Retry-After"] == "9"


@pytest.mark.parametrize(
    ("body", "headers", "says"),
    [
        (b"", FORM, "grant_type is ''"),
        (b"grant_type=magic", FORM, "'magic'"),
        (b"grant_type=password", {"Content-Type": "application/json"}, "application/json"),
        (b"grant_type=password", {}, "urlencoded"),
        (b"a=%ff", FORM, "UTF-8"),
        (b"a=\xff", FORM, "UTF-8"),
        (b"&".join([b"a=b"] * 201), FORM, "200 fields"),
        (b"a=" + b"b" * 70_000, FORM, "longer than"),
        (b"grant_type=" + b"b" * 9_000, FORM, "'bbbbbbbb"),
    ],
)
async def test_forms_that_are_none(place: Place, body: bytes, headers: dict[str, str], says: str) -> None:
    answer = await place.client.post("/token", content=body, headers=headers)
    assert_error(answer, 400, "UNSUPPORTED", says)


async def test_the_first_of_two_values_counts(place: Place) -> None:
    """As for queries; a proxy in front that reads the last one checked another."""
    body = urlencode(
        [("grant_type", "password"), ("username", "alice"), ("password", "x"), ("password", "secret")]
    )
    answer = await place.client.post("/token", content=body, headers=FORM)
    assert_error(answer, 401, "UNAUTHORIZED")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "HEAD"])
async def test_other_methods(place: Place, method: str) -> None:
    answer = await place.client.request(method, "/token")
    assert answer.status_code == 405
    assert answer.headers["Allow"] == "GET, POST"


# -- with the token ------------------------------------------------------------------------------------------


def challenge(scope: str = "", error: str = "") -> str:
    said = 'Bearer realm="http://registry.test/token",service="here"'
    return said + (f',scope="{scope}"' if scope else "") + (f',error="{error}"' if error else "")


@pytest.mark.parametrize(
    ("method", "target", "scope"),
    [
        ("GET", "/v2/", ""),
        ("GET", "/v2/team/app/manifests/latest", "repository:team/app:pull"),
        ("GET", "/v2/none/manifests/latest", "repository:none:pull"),
        ("GET", "/v2/team/app/blobs/{layer}", "repository:team/app:pull"),
        ("HEAD", "/v2/team/app/blobs/{layer}", "repository:team/app:pull,push"),
        ("POST", "/v2/team/app/blobs/uploads/", "repository:team/app:pull,push"),
        ("DELETE", "/v2/team/app/manifests/latest", "repository:team/app:delete"),
    ],
)
async def test_who_shows_nothing_is_challenged(
    place: Place, world: World, method: str, target: str, scope: str
) -> None:
    row = Row(method, target, 401, "UNAUTHORIZED", expect={"WWW-Authenticate": challenge(scope)})
    await check(place.client, row, **world.named())


async def ask(place: Place, method: str, target: str, token: str, **more: Any) -> httpx.Response:
    return await place.client.request(method, target, headers={"Authorization": f"Bearer {token}"}, **more)


async def test_an_anonymous_token_is_an_answer_to_the_ping(place: Place, world: World) -> None:
    token = (await place.get()).json()["token"]
    assert (await ask(place, "GET", "/v2/", token)).status_code == 200
    refused = await ask(place, "GET", "/v2/team/app/manifests/latest", token)
    assert_error(refused, 401, "UNAUTHORIZED")


async def test_a_token_reaches_as_far_as_it_was_made_for(place: Place, world: World) -> None:
    token = (await place.get("repository:team/app:pull", user="alice")).json()["token"]
    assert (await ask(place, "GET", "/v2/team/app/manifests/latest", token)).content == IMAGE
    short = await ask(place, "POST", "/v2/team/app/blobs/uploads/", token)
    assert_error(short, 401, "UNAUTHORIZED", "not made to push")
    assert short.headers["WWW-Authenticate"] == challenge(
        "repository:team/app:pull,push", "insufficient_scope"
    )
    token = (await place.get("repository:team/app:pull,push", user="alice")).json()["token"]
    assert (await ask(place, "POST", "/v2/team/app/blobs/uploads/", token)).status_code == 202
    # What no token would change is said for good.
    never = await ask(place, "DELETE", "/v2/team/app/manifests/latest", token)
    assert_error(never, 403, "DENIED", "alice may not")


async def test_a_token_is_worth_what_its_owner_may_now(place: Place, world: World) -> None:
    token = (await place.get("repository:team/app:pull", user="alice")).json()["token"]
    place.house.passwords["alice"] = "another"
    refused = await ask(place, "GET", "/v2/team/app/manifests/latest", token)
    assert_error(refused, 401, "UNAUTHORIZED")
    assert 'error="invalid_token"' in refused.headers["WWW-Authenticate"]


async def test_moving_a_tag_is_a_right_of_its_own(place: Place, world: World) -> None:
    """T13: alice may create tags in team/app, and not move them, whatever names them."""
    moved = json.loads(IMAGE) | {"annotations": {"moved": "yes"}}
    raw = json.dumps(moved).encode()
    auth, kind = httpx.BasicAuth("alice", "secret"), {"Content-Type": moved["mediaType"]}

    async def put(target: str, content: bytes) -> httpx.Response:
        return await place.client.put(
            f"/v2/team/app/manifests/{target}", content=content, auth=auth, headers=kind
        )

    assert (await put("latest", IMAGE)).status_code == 201, "the tag names it already"
    for target in (
        "latest",
        f"{digest(raw)}?tag=latest",
        "fresh?tag=latest",
        f"{digest(raw)}?tag=a&tag=latest",
    ):
        assert_error(await put(target, raw), 403, "DENIED", "tag latest is", "moving")
    for target in ("fresh", "a", digest(raw)):
        found = await place.client.get(f"/v2/team/app/manifests/{target}", auth=auth)
        assert found.status_code == 404, "nothing is left of what was refused"
    assert (await put("fresh?tag=a", raw)).status_code == 201


async def test_the_catalog_shows_what_may_be_read(place: Place, world: World) -> None:
    token = (await place.get("registry:catalog:*", user="alice")).json()["token"]
    assert (await ask(place, "GET", "/v2/_catalog", token)).json() == {"repositories": ["team/app"]}
    token = (await place.get("registry:catalog:*", user="bob", password="b")).json()["token"]
    assert (await ask(place, "GET", "/v2/_catalog", token)).json() == {"repositories": []}
    token = (await place.get("repository:team/app:pull", user="alice")).json()["token"]
    answer = await ask(place, "GET", "/v2/_catalog", token)
    assert_error(answer, 401, "UNAUTHORIZED")
    assert answer.headers["WWW-Authenticate"] == challenge("registry:catalog:*", "insufficient_scope")


async def test_a_mount_needs_to_read_its_source(place: Place, world: World) -> None:
    """T12: without the right it looks as if nothing were there."""
    place.house.passwords["team"] = "secret"
    target = f"/v2/team/app/blobs/uploads/?mount={digest(LAYER)}&from=hidden/x"
    absent = f"/v2/team/app/blobs/uploads/?mount={digest(LAYER)}&from=none"
    auth = httpx.BasicAuth("alice", "secret")
    answers = [await place.client.post(each, auth=auth) for each in (target, absent)]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert {name for name, _ in answers[0].headers.items()} == {
        name for name, _ in answers[1].headers.items()
    }
