"""Who asks, and by which address: what is believed of whom."""

import json
import logging
from typing import Any

import httpx
import pytest

from registry.access import Actor, Shown
from registry.api.access_log import AccessLog
from registry.api.challenge import BearerChallenge
from registry.api.errors import HostInvalid, OriginUnclear
from registry.api.gate import Gate
from registry.api.origins import Origins, host_of, require_clear
from registry.errors import Unauthenticated
from registry.registry import Registry
from storage.store import Store
from tests.api.world import IMAGE, REPOSITORY, fill
from tests.inprocess import Answer, ask

PROXY, OTHER_PROXY, CLIENT, LIAR = "10.0.0.1", "10.9.9.9", "198.51.100.7", "203.0.113.66"
HERE = "192.0.2.7"  # the peer in tests.inprocess
TRUSTED = ("10.0.0.0/8", "2001:db8:ffff::/48")

Fields = tuple[tuple[str, str], ...]


def scope_of(peer: str | None, *fields: tuple[str, str], host: str = "inner:5000") -> dict[str, Any]:
    headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in (("Host", host), *fields)]
    return {
        "type": "http",
        "client": (peer, 4711) if peer is not None else None,
        "server": ("127.0.0.1", 5000),
        "scheme": "http",
        "headers": headers,
    }


def seen(peer: str | None, *fields: tuple[str, str]) -> tuple[str, str]:
    origins = Origins(TRUSTED)
    scope = origins.seen(scope_of(peer, *fields))
    return (scope["client"] or ("",))[0], origins.base_url(scope)


XFF, XFP, XFH, FWD = "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Forwarded"
INNER = "http://inner:5000"


@pytest.mark.parametrize(
    ("fields", "address"),
    [
        pytest.param([], PROXY, id="nothing"),
        pytest.param([(XFF, CLIENT)], CLIENT, id="one"),
        pytest.param([(XFF, f"{LIAR}, {CLIENT}")], CLIENT, id="a client that writes one itself"),
        pytest.param([(XFF, LIAR), (XFF, CLIENT)], CLIENT, id="in two fields"),
        pytest.param([(XFF, f"{LIAR},{CLIENT} , {OTHER_PROXY}")], CLIENT, id="two proxies"),
        pytest.param([(XFF, f"{OTHER_PROXY}, {PROXY}")], OTHER_PROXY, id="a proxy asks by itself"),
        pytest.param([(XFF, f"{CLIENT}:51234")], CLIENT, id="with a port"),
        pytest.param([(XFF, "[2001:db8::1]:443")], "2001:db8::1", id="brackets and port"),
        pytest.param([(XFF, "2001:DB8:0::1")], "2001:db8::1", id="the newer family"),
        pytest.param([(XFF, "::ffff:198.51.100.7")], CLIENT, id="the older in the newer's form"),
        pytest.param([(XFF, f"{CLIENT}, 2001:db8:ffff::2")], CLIENT, id="a proxy of the newer family"),
        pytest.param([(XFF, f"{LIAR}, unknown")], PROXY, id="unknown"),
        pytest.param([(XFF, f"{LIAR}, unknown, {OTHER_PROXY}")], OTHER_PROXY, id="unknown to the first"),
        pytest.param([(XFF, f"{LIAR}, ' OR 1=1")], PROXY, id="no address"),
        pytest.param([(XFF, "")], PROXY, id="empty"),
        pytest.param([(XFF, ",".join([CLIENT, *[PROXY] * 5000]))], PROXY, id="a long way"),
        pytest.param([("X-Real-IP", LIAR)], PROXY, id="another field"),
        pytest.param([(FWD, f"for={CLIENT};proto=http")], CLIENT, id="RFC 7239"),
        pytest.param([(FWD, f"for={LIAR}, FOR={CLIENT}")], CLIENT, id="RFC 7239, two"),
        pytest.param([(FWD, 'for="[2001:db8::1]:4711"')], "2001:db8::1", id="RFC 7239, quoted"),
        pytest.param([(FWD, f"for={CLIENT}, for={OTHER_PROXY};by=x")], CLIENT, id="RFC 7239, two proxies"),
        pytest.param([(FWD, "for=_hidden")], PROXY, id="RFC 7239, obfuscated"),
        pytest.param([(FWD, f'for="{LIAR}, for={CLIENT}')], CLIENT, id="a quote left open"),
        pytest.param(
            [(FWD, f'x="; for={LIAR}, for="{CLIENT}"')], CLIENT, id="a quote left open for the next"
        ),
        pytest.param([(FWD, f"for={LIAR};;for, for={CLIENT}")], CLIENT, id="a client's own mistakes"),
        pytest.param([(FWD, "=;,,")], PROXY, id="nothing that can be read"),
        pytest.param([(XFF, CLIENT), (FWD, f"for={CLIENT}")], CLIENT, id="both agree"),
    ],
)
def test_addresses(fields: list[tuple[str, str]], address: str) -> None:
    assert seen(PROXY, *fields)[0] == address


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ([], INNER),
        ([(XFP, "https")], "https://inner:5000"),
        ([(XFP, "http, HTTPS")], "https://inner:5000"),
        ([(XFP, "http"), (XFP, "https")], "https://inner:5000"),
        ([(XFP, "javascript")], INNER),
        ([(XFP, "https"), (XFH, "registry.example")], "https://registry.example"),
        ([(XFH, "evil, registry.example:8443")], "http://registry.example:8443"),
        ([(XFH, "evil"), (XFH, "good")], "http://good"),
        ([(XFH, 'a"b')], INNER),
        ([(XFH, "a/b")], INNER),
        ([(XFH, "user@evil")], INNER),
        ([(FWD, f'for={CLIENT};proto=https;host="registry.example:443"')], "https://registry.example:443"),
        ([(FWD, f"for={LIAR};host=evil, for={CLIENT};host=good")], "http://good"),
        ([(FWD, "proto=https;host=good")], "https://good"),
        ([(FWD, "host=evil"), (XFH, "good")], INNER),
        ([(FWD, "proto=http"), (XFP, "https")], INNER),
    ],
)
def test_urls(fields: list[tuple[str, str]], url: str) -> None:
    assert seen(PROXY, *fields)[1] == url


@pytest.mark.parametrize(
    ("old", "new"),
    [(CLIENT, f"for={LIAR}"), (f"{LIAR}, {CLIENT}", f"for={LIAR}"), (LIAR, f"for={LIAR}, for={CLIENT}")],
)
def test_two_clients_are_refused(old: str, new: str) -> None:
    """One of the fields is of the client's own invention: it may not hide behind the proxy's address."""
    with pytest.raises(OriginUnclear, match="has to write one of them and to clear the other"):
        require_clear(Origins(TRUSTED).seen(scope_of(PROXY, (XFF, old), (FWD, new))))
    # Of anyone else nothing is believed.
    require_clear(Origins(TRUSTED).seen(scope_of(CLIENT, (XFF, old), (FWD, new))))


@pytest.mark.parametrize("peer", [CLIENT, "::1", "", "11.0.0.1", None])
def test_only_listed_peers_are_believed(peer: str | None) -> None:
    assert seen(peer, (XFF, LIAR), (XFP, "https"), (XFH, "evil"), (FWD, f"for={LIAR}")) == (peer or "", INNER)


def test_a_proxy_may_come_in_the_other_family_s_form() -> None:
    assert seen("::ffff:10.0.0.1", (XFF, CLIENT))[0] == CLIENT


def test_an_external_url_is_taken_as_it_is() -> None:
    origins = Origins(TRUSTED, "https://registry.example")
    scope = origins.seen(scope_of(PROXY, (XFP, "http"), (XFH, "other")))
    assert origins.base_url(scope) == "https://registry.example"
    assert origins.is_own(scope, "https://registry.example")
    assert origins.is_own(scope, "http://other")
    assert not origins.is_own(scope, "https://inner:5000")
    assert not origins.is_own(scope, "null")


def test_without_an_external_url_no_origin_is_none() -> None:
    assert not Origins().is_own(scope_of(CLIENT), "")


@pytest.mark.parametrize(
    "host", ["a", "a:5000", "my_registry:5000", "127.0.0.1", "[::1]:5000", "registry.example."]
)
def test_hosts(host: str) -> None:
    assert host_of(scope_of(CLIENT, host=host)) == host


@pytest.mark.parametrize(
    "host",
    [
        'a"',
        "a b",
        "a/b",
        "a@b",
        "a,b",
        "a:b",
        "a:",
        ":80",
        "a:123456",
        "[::1",
        "http://a",
        "a\x00",
        "\xe4",
        "%61",
    ],
)
def test_what_is_no_host(host: str) -> None:
    with pytest.raises(HostInvalid, match="expected a name or an address"):
        host_of(scope_of(CLIENT, host=host))


def test_a_client_without_a_host_is_told_the_server_s() -> None:
    scope = scope_of(CLIENT, host="")
    assert host_of(scope) == "127.0.0.1:5000"
    assert host_of({**scope, "headers": [], "server": ("::1", 5000)}) == "[::1]:5000"
    assert host_of({**scope, "server": None}) == "localhost"


def test_an_unlisted_proxy_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    origins = Origins()
    for peer in ("10.0.0.5", "10.0.0.6"):
        assert origins.seen(scope_of(peer))["client"][0] == peer
    assert caplog.messages == []
    for _ in range(3):
        origins.seen(scope_of("10.0.0.5", (XFF, CLIENT), (XFP, "https")))
    (message,) = caplog.messages
    assert message.startswith("10.0.0.5 sends x-forwarded-for, x-forwarded-proto and is no listed proxy")
    assert 'trusted_proxies = ["10.0.0.5"]' in message
    assert caplog.records[0].levelno == logging.WARNING


# -- through the gate ------------------------------------------------------------------------------------


class Notes:
    """An authenticator that refuses who shows a credential, and notes whence anyone asks."""

    def __init__(self) -> None:
        self.addresses: list[str] = []

    async def identify(self, shown: Shown) -> Actor | None:
        self.addresses.append(shown.address)
        raise Unauthenticated("go away")


class World:
    def __init__(self, store: Store, trusted: tuple[str, ...]) -> None:
        self.lines: list[str] = []
        self.notes = Notes()
        origins = Origins(trusted)
        self.gate = Gate(
            Registry(store.names, store.blobs, store.uploads),
            authenticators=[self.notes],
            challenge=BearerChallenge("here", origins.base_url),
            origins=origins,
            log=AccessLog(sink=self.lines.append),
        )

    async def ask(self, method: str, path: str, *fields: tuple[str, str]) -> Answer:
        headers = tuple((name.lower().encode(), value.encode()) for name, value in fields)
        return await ask(self.gate, method, path.encode(), headers=headers)

    def remotes(self) -> list[str]:
        return [json.loads(line)["remote"] for line in self.lines]


@pytest.fixture
def proxied(store: Store) -> World:
    return World(store, (HERE,))


@pytest.fixture
def direct(store: Store) -> World:
    return World(store, ())


TOLD = ((XFF, f"{LIAR}, {CLIENT}"), (XFP, "https"), (XFH, "registry.example"))
SHOWS = ("Authorization", "Basic eDp5")
CHALLENGE = 'Bearer realm="{}/token",service="here"'


async def test_a_proxy_s_word_reaches_all_who_ask(proxied: World) -> None:
    answer = await proxied.ask("GET", "/v2/", SHOWS, *TOLD)
    assert answer.headers["www-authenticate"] == CHALLENGE.format("https://registry.example")
    assert proxied.notes.addresses == [CLIENT]
    assert proxied.remotes() == [CLIENT]


async def test_anyone_else_s_word_reaches_nobody(direct: World, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        answer = await direct.ask("GET", "/v2/", SHOWS, *TOLD)
        assert answer.headers["www-authenticate"] == CHALLENGE.format("http://registry.test")
    assert set(direct.notes.addresses) == set(direct.remotes()) == {HERE}
    assert len([each for each in caplog.messages if "trusted_proxies" in each]) == 1


async def test_a_host_that_is_none_is_refused(direct: World) -> None:
    answer = await direct.ask("GET", "/v2/", ("Host", 'a",error="b'), SHOWS)
    assert answer.status == 400
    assert "www-authenticate" not in answer.headers
    assert json.loads(answer.body)["errors"][0]["code"] == "UNSUPPORTED"


async def test_who_tells_of_two_clients_is_refused_and_never_answered_again(
    store: Store, client: httpx.AsyncClient, proxied: World
) -> None:
    await fill(client)
    target = f"/v2/{REPOSITORY}/manifests/latest"
    assert (await proxied.ask("GET", target)).body == IMAGE
    told = (XFF, CLIENT), (FWD, f"for={LIAR}")
    fields = [(name.lower().encode(), value.encode()) for name, value in told]
    assert proxied.gate.prompt.find(b"GET", target.encode(), [], (HERE, 4711)) is not None
    assert proxied.gate.prompt.find(b"GET", target.encode(), fields, (HERE, 4711)) is None
    answer = await proxied.ask("GET", target, *told)
    assert (answer.status, json.loads(answer.body)["errors"][0]["code"]) == (400, "UNSUPPORTED")


@pytest.mark.parametrize(("listed", "status"), [(True, 202), (False, 403)])
async def test_the_registry_s_own_pages_may_write_past_a_proxy(
    proxied: World, direct: World, listed: bool, status: int
) -> None:
    world = proxied if listed else direct
    told = (*TOLD, ("Origin", "https://registry.example"))
    assert (await world.ask("POST", "/v2/own/blobs/uploads/", *told)).status == status


async def test_what_was_answered_past_a_proxy_is_answered_again(
    store: Store, client: httpx.AsyncClient, proxied: World, direct: World
) -> None:
    await fill(client)
    target = f"/v2/{REPOSITORY}/manifests/latest"
    fields = [(name.lower().encode(), value.encode()) for name, value in TOLD]
    for world, found in ((proxied, True), (direct, False)):
        assert (await world.ask("GET", target, *TOLD)).body == IMAGE
        again = world.gate.prompt.find(b"GET", target.encode(), fields, (HERE, 4711))
        assert (again is not None) is found
    assert proxied.remotes() == [CLIENT, CLIENT]
