"""Where an upstream may not lead: to other hosts by redirects and realms, into this machine's networks."""

import asyncio
import socket
from typing import Any

import pytest

from registry.names import Tag
from registry.upstream.addresses import AddressForbidden, Found, is_public, socket_maker
from registry.upstream.client import Fetched
from registry.upstream.errors import UpstreamAstray, UpstreamError, UpstreamFailed
from storage.digest import Digest
from tests.upstream.clients import ACCEPT, APP, connected, taken
from tests.upstream.conftest import PASSWORD, USER
from tests.upstream.proxy import Fault, Rule, proxying

LOGIN: dict[str, Any] = {"username": USER, "password": PASSWORD}
BLOB = b"a blob"
DIGEST = Digest.of(BLOB)


def leads_to(location: str, status: int = 307) -> Fault:
    return Fault(status, {"Location": location})


def challenge(realm: str) -> Fault:
    return Fault(
        401, {"WWW-Authenticate": f'Bearer realm="{realm}",service="s",scope="repository:team/app:pull,push"'}
    )


FORBIDDEN = [
    ("http://169.254.169.254/latest/meta-data/", "address"),
    ("http://10.1.2.3/", "address"),
    ("http://[::1]:80/", "address"),
    ("http://[::ffff:127.0.0.1]/", "address"),
    ("http://[fe80::1]/", "address"),
    ("http://0.0.0.0/", "address"),
    ("http://224.0.0.1/", "address"),
    ("http://2130706433/", "no http or https"),
    ("http://0x7f.1/", "no http or https"),
    ("http://localhost:1/", "address"),
    ("ftp://127.0.0.1/", "no http or https"),
    ("file:///etc/passwd", "no http or https"),
    ("http://user:password@example.com/", "no http or https"),
    ("http://exa mple.com/", "no http or https"),
    ("http://[fe80::1%25eth0]/", "no http or https"),
    ("http://h:99999/", "no http or https"),
]


@pytest.mark.parametrize(("location", "why"), FORBIDDEN, ids=[row[0] for row in FORBIDDEN])
async def test_redirects_to_forbidden_addresses(location: str, why: str) -> None:
    async with proxying() as proxy, connected(proxy.url) as client:
        proxy.rules.append(Rule(leads_to(location), times=1))
        with pytest.raises(UpstreamAstray, match=why) as raised:
            await taken(client, DIGEST)
        assert "password" not in str(raised.value)
        assert not client.breaker.is_open()


async def test_another_port_of_this_machine_is_not_reached() -> None:
    async with proxying() as other, proxying() as proxy, connected(proxy.url) as client:
        proxy.rules.append(Rule(leads_to(f"{other.url}/x?X-Signature=secret")))
        with pytest.raises(UpstreamAstray, match="private = true") as raised:
            await taken(client, DIGEST)
        assert "secret" not in str(raised.value)
        assert other.connections == 0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_listed_host_gets_no_authorization(status: int) -> None:
    async with proxying() as other, proxying() as proxy:
        proxy.rules += [
            Rule(challenge(f"{proxy.url}/token"), "/v2/", times=1),
            Rule(Fault(200, body=b'{"token":"t"}'), "/token"),
            Rule(leads_to(f"{other.url}/b%2Fc?X-Signature=a%2Bb", status), "/v2/"),
        ]
        other.rules.append(Rule(Fault(200, body=BLOB)))
        async with connected(proxy.url, redirects=[other.host], **LOGIN) as client:
            assert await taken(client, DIGEST) == BLOB
        assert (other.secrets(), other.seen[0].target) == ([], "/b%2Fc?X-Signature=a%2Bb")
        assert other.seen[0].fields["host"] == other.host
        assert proxy.secrets()[-1] == "Bearer t"


async def test_who_is_led_away_and_back_shows_nothing() -> None:
    async with proxying() as other, proxying() as proxy:
        proxy.rules += [
            Rule(Fault(401, {"WWW-Authenticate": "Basic"}), "/v2/", times=1),
            Rule(leads_to(f"{other.url}/there"), "/v2/", times=1),
            Rule(Fault(200, body=BLOB), "/back"),
        ]
        other.rules.append(Rule(leads_to(f"{proxy.url}/back")))
        async with connected(proxy.url, redirects=[other.host], **LOGIN) as client:
            assert await taken(client, DIGEST) == BLOB
        assert ["authorization" in each.fields for each in proxy.seen] == [False, True, False]


async def test_a_host_that_is_not_listed() -> None:
    async with proxying() as proxy, connected(proxy.url, redirects=["cdn.example.com"]) as client:
        proxy.rules.append(Rule(leads_to("https://evil.example/x")))
        with pytest.raises(UpstreamAstray, match=r"add 'evil\.example' to its redirects"):
            await taken(client, DIGEST)


async def test_four_redirects_are_too_many() -> None:
    async with proxying() as proxy, connected(proxy.url) as client:
        for count in (3, 4):
            proxy.rules[:] = [Rule(leads_to("/again"), times=count), Rule(Fault(200, body=BLOB))]
            if count == 3:
                assert await taken(client, DIGEST) == BLOB
                continue
            with pytest.raises(UpstreamAstray, match="more than 3"):
                await taken(client, DIGEST)


async def test_a_refusal_behind_a_redirect_asks_for_no_login() -> None:
    async with proxying() as other, proxying() as proxy:
        proxy.rules.append(Rule(leads_to(f"{other.url}/x")))
        other.rules.append(Rule(challenge(f"{proxy.url}/token")))
        async with connected(proxy.url, redirects=[other.host], **LOGIN) as client:
            with pytest.raises(UpstreamFailed, match="answered 401"):
                await taken(client, DIGEST)
        assert proxy.secrets() + other.secrets() == []
        assert proxy.count("/token") == 0


@pytest.mark.parametrize(
    "realm",
    [
        "http://{}/token",
        "http://{}@evil.example/",
        "",
        "/token",
        "ftp://{}/",
        "http://localhost:1/",
        "http://169.254.169.254/",
    ],
)
async def test_a_hostile_realm_gets_no_secret(realm: str) -> None:
    async with proxying() as hostile, proxying() as proxy, connected(proxy.url, **LOGIN) as client:
        hostile.rules.append(Rule(Fault(200, body=b'{"token":"t"}')))
        proxy.rules.append(Rule(challenge(realm.format(hostile.host))))
        with pytest.raises(UpstreamAstray) as raised:
            await client.manifest(APP, Tag("v1"), ACCEPT)
        assert (hostile.connections, hostile.secrets(), proxy.secrets()) == (0, [], [])
        assert PASSWORD not in repr(raised.value)


async def test_a_listed_realm_gets_the_password_and_asks_for_pull_alone() -> None:
    async with proxying() as realm, proxying() as proxy:
        proxy.rules += [Rule(challenge(f"{realm.url}/token?a=b"), times=1), Rule(Fault(200, body=b"{}"))]
        realm.rules.append(Rule(Fault(200, body=b'{"access_token":"t","expires_in":300}')))
        async with connected(proxy.url, realms=[realm.host], **LOGIN) as client:
            assert isinstance(await client.manifest(APP, Tag("v1"), ACCEPT), Fetched)
        assert realm.seen[0].target == "/token?a=b&service=s&scope=repository%3Ateam%2Fapp%3Apull"
        assert realm.secrets()[0].startswith("Basic ")
        assert proxy.secrets() == ["Bearer t"]


REALM_ANSWERS = [
    (Fault(401), "refuses the login"),
    (Fault(403), "no such repository"),
    (Fault(429), "429"),
    (Fault(500), "answered 500"),
    (Fault(302, {"Location": "http://evil.example/"}), "answered 302"),
    (Fault(200, body=b"{}"), "no token"),
    (Fault(200, body=b'{"token":"a\\r\\nHost: b"}'), "no token"),
    (Fault(200, body=b'{"token":"a b"}'), "no token"),
    (Fault(200, body=b"[]"), "no token"),
    (Fault(200, body=b"\xff"), "no token"),
    (Fault(200, body=b'{"token":"' + b"x" * 70_000 + b'"}'), "more than the 65536 bytes"),
]


@pytest.mark.parametrize(("answer", "why"), REALM_ANSWERS)
async def test_what_a_realm_may_say(answer: Fault, why: str) -> None:
    async with proxying() as proxy, connected(proxy.url, **LOGIN) as client:
        proxy.rules += [Rule(answer, "^/token"), Rule(challenge(f"{proxy.url}/token"))]
        with pytest.raises(UpstreamError, match=why):
            await client.manifest(APP, Tag("v1"), ACCEPT)
        assert len(proxy.seen) == 2


async def test_the_address_that_is_checked_is_the_one_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a name was at an earlier look: there is one look, and its outcome is what is checked."""
    looks: list[str] = []

    async def look_up(host: str, port: int, **_: object) -> list[Found]:
        looks.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    async with proxying() as inner, proxying() as proxy, connected(proxy.url) as client:
        proxy.rules.append(Rule(leads_to(f"http://rebind.example:{inner.host.rpartition(':')[2]}/")))
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)
        for _ in range(2):
            with pytest.raises(UpstreamAstray, match=r"rebind\.example"):
                await taken(client, DIGEST)
        assert (inner.connections, set(looks)) == (0, {"rebind.example"})


def test_a_socket_is_made_for_a_checked_address_alone() -> None:
    make = socket_maker(is_public)
    with pytest.raises(AddressForbidden):
        make((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80)))
    with make((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("1.1.1.1", 80))) as made:
        assert made.getblocking() is False
