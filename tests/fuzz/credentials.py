"""Targets of who asks: tokens, passwords, the files that they are held to, and what proxies say."""

import base64
import json
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address

from registry.api.access_log import describe
from registry.api.origins import Origins, host_of
from registry.auth import basic, htpasswd, robots
from registry.auth.addresses import is_local, is_safe
from registry.auth.claims import actor_of, check_claims
from registry.auth.htpasswd import User
from registry.auth.issuer_settings import Issuer
from registry.auth.jwt import algorithm_of, take_apart
from registry.auth.public_keys import KeysUnavailable, read_keys
from registry.auth.scopes import WORDS
from registry.auth.tokens import Tokens
from registry.errors import Unauthenticated
from registry.strict_json import JsonInvalid, loads
from tests.fuzz import oracles

NOW = 1_800_000_000
ISSUER = Issuer(
    "ci", "https://ci.test", "registry.test", groups=("team", "ref"), require=(("org", ("acme",)),)
)
SERVER = replace(ISSUER, access=True, require=())
ALGORITHMS = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"}
TOKENS = Tokens(b"k" * 32, "registry.test", clock=lambda: NOW)
# Of `TOKENS`, for alice and repository:team/app:pull, until NOW + 300.
SIGNED = (
    b"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."
    b"eyJpc3MiOiJvY2ktcmVnaXN0cnkiLCJzdWIiOiJhbGljZSIsImF1ZCI6InJlZ2lzdHJ5LnRlc3QiLCJpYXQiOjE4MD"
    b"AwMDAwMDAsIm5iZiI6MTgwMDAwMDAwMCwiZXhwIjoxODAwMDAwMzAwLCJqdGkiOiI4ZTE3MmIyZThlMDE5YWQ2ZTg0"
    b"M2ZkMDAiLCJmaW5nZXJwcmludCI6ImYiLCJncm91cHMiOltdLCJhY2Nlc3MiOlt7InR5cGUiOiJyZXBvc2l0b3J5Ii"
    b"wibmFtZSI6InRlYW0vYXBwIiwiYWN0aW9ucyI6WyJwdWxsIl19XX0."
    b"zt7DFnC7WOLkMZscgmR9jIypNGnKyObgPe_gYQgceDA"
)
ORIGINS = Origins(["10.0.0.0/8"])
PROXY = ("10.0.0.1", 4000)
PROXIED = (
    (b"x-forwarded-for", b"203.0.113.9", "203.0.113.9"),
    (b"x-forwarded-for", b" [2001:db8::1]:80", "2001:db8::1"),
    (b"forwarded", b"for=203.0.113.9;proto=https", "203.0.113.9"),
    (b"forwarded", b' for="[2001:db8::1]:80";host=b.test', "2001:db8::1"),
)
NEWCOMER = User("new comer", b"$2b$04$" + b"." * 53)


def text_of(data: bytes) -> str:
    return data.decode("latin-1")


def own_token(data: bytes) -> None:
    """Only what was signed is believed, to the last bit (T27)."""
    with suppress(Unauthenticated):
        if TOKENS.read(data) is not None:
            assert data == SIGNED


def jwt(data: bytes) -> None:
    """Three lines are the parts of a token, one is a token. What was read has that one spelling (T27)."""
    lines = data.split(b"\n")
    spelled = (base64.urlsafe_b64encode(line).rstrip(b"=") for line in lines)
    token = text_of(b".".join(spelled) if len(lines) == 3 else data)
    try:
        parts = take_apart(token)
        kid, algorithm = parts.kid, algorithm_of(parts, ("RS256", "ES256"))
    except Unauthenticated:
        return
    head, claims, seal = token.split(".")
    assert parts.message == f"{head}.{claims}".encode()
    assert base64.urlsafe_b64encode(parts.signature).rstrip(b"=").decode() == seal
    header = json.loads(base64.urlsafe_b64decode(head + "=="))
    assert (header["alg"], header.get("kid")) == (algorithm, kid)
    assert "crit" not in header


def claims(data: bytes) -> None:
    """Of a token whose signature is right: the first byte chooses between the two kinds of issuers (T27)."""
    issuer = SERVER if data[:1] == b"1" else ISSUER
    try:
        read = loads(data[1:])
    except JsonInvalid:
        return
    if not isinstance(read, dict):
        return
    try:
        expires = check_claims(issuer, read, NOW)
        actor = actor_of(issuer, read, expires)
    except Unauthenticated:
        return
    assert read["iss"] == issuer.issuer
    assert issuer.audience in read["aud"] if isinstance(read["aud"], list) else read["aud"] == issuer.audience
    assert NOW < expires == actor.expires
    assert actor.name.startswith("ci:") or (issuer.access and not actor.name)
    assert all(group.startswith(("ci:team=", "ci:ref=")) for group in actor.groups)
    assert all(each.isprintable() for each in (actor.name, *actor.groups))
    for grant in actor.grants:
        assert all(map(oracles.is_name, grant.repositories))
    assert issuer.access or (actor.limit is None and not actor.grants)


def credentials(data: bytes) -> None:
    """Of Basic. A line feed in front: what follows is encoded first (T25)."""
    encoded = base64.b64encode(data[1:]) if data[:1] == b"\n" else data
    try:
        user, password = basic.read(encoded)
    except Unauthenticated:
        return
    assert ":" not in user
    assert base64.b64decode(encoded) == f"{user}:{password}".encode()


def users_file(data: bytes) -> None:
    """A user comes and goes, and all others are as they were."""
    users, problems = htpasswd.parse(data)
    assert not any(user.hash.decode() in problem for user in users.values() for problem in problems)
    assert all(htpasswd.check_name(name) == user.name == name for name, user in users.items())
    others = {name: user for name, user in users.items() if name != NEWCOMER.name}
    added = htpasswd.with_user(data, NEWCOMER)
    assert htpasswd.parse(added)[0] == {**others, NEWCOMER.name: NEWCOMER}
    assert htpasswd.parse(htpasswd.without_user(added, NEWCOMER.name))[0] == others


def robots_file(data: bytes) -> None:
    try:
        read = robots.parse(data)
    except ValueError:
        return
    assert robots.parse(robots.render(read)) == read
    for robot in read.values():
        assert all(grant.actions <= WORDS["*"] or not grant.repositories for grant in robot.grants)


def secret(data: bytes) -> None:
    """A robot's, by its form."""
    text = text_of(data)
    if (number := robots.number_of(text)) is not None:
        assert text.startswith(f"ocir_{number}_")
        assert len(text) == len("ocir_") + 8 + 1 + 64 + 8


def key_set(data: bytes) -> None:
    try:
        keys = read_keys(data)
    except KeysUnavailable:
        return
    for key in keys:
        assert key.algorithms <= ALGORITHMS
        algorithm = min(key.algorithms)
        assert not key.verifies(algorithm, b"message", b"no signature")


def address(data: bytes) -> None:
    """Of keys: whom plain http leads to is this machine (T31)."""
    url = text_of(data)
    if is_local(url):
        host = url.removeprefix("http://").partition("/")[0].partition("?")[0]
        assert host.startswith(("localhost", "127.", "[")) or "LOCALHOST" in host.upper()
        assert is_safe(url)
    if is_safe(url):
        assert url.startswith(("http://", "https://"))
        assert url.isprintable()


def forwarded(data: bytes) -> None:
    """What a client wrote before its proxy added to it changes nothing of whom the proxy saw (T28)."""
    text = bytes(byte for byte in data if byte not in b"\0\r\n")
    for field, added, client in PROXIED:
        headers = [(b"host", b"a.test"), (field, text + b"," + added)]
        scope = {"type": "http", "scheme": "http", "client": PROXY, "headers": headers}
        seen = ORIGINS.seen(scope)
        assert seen["client"] == (client, 0)
        assert ORIGINS.unwrap(headers, PROXY)[1] == (client, 0)
        assert seen["scheme"] in ("http", "https")
        assert host_of(seen).isprintable()
    for field, _, _ in PROXIED:  # and alone it is an address, or nothing
        found = ORIGINS.seen({**scope, "headers": [(field, text)], "server": ("127.0.0.1", 80)})
        assert found["client"] == PROXY or str(ip_address(found["client"][0])) == found["client"][0]
        host_of(found)


def log_line(data: bytes) -> None:
    """One line of JSON that does nothing to a terminal, and no value of an unknown parameter in it (T29)."""
    line = describe("GET", b"/token?" + data + b"&password=hunter2hunter2&" + data, 200, 0)
    assert set(json.loads(f"{{{line}}}")) == {"method", "target", "status", "bytes"}
    assert line.isascii()
    assert line.isprintable()
    assert "hunter2hunter2" not in line


TARGETS = (
    forwarded,
    log_line,
    own_token,
    jwt,
    claims,
    credentials,
    users_file,
    robots_file,
    secret,
    key_set,
    address,
)
