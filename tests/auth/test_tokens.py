"""Tokens of our own: what comes back is what was signed; nothing else is believed (T27)."""

import base64
import hmac
import json
from dataclasses import replace

import pytest

from registry.auth.scopes import Scope
from registry.auth.tokens import Ticket, Tokens
from registry.errors import Unauthenticated

NOW = 1_800_000_000
SCOPE = Scope("repository", "team/app", frozenset({"pull", "push"}))
TICKET = Ticket("alice", NOW + 300, (SCOPE,), "f1", ("developers",))
KEY = b"k" * 32


def tokens(at: float = NOW, key: bytes = KEY, service: str = "here") -> Tokens:
    return Tokens(key, service, lambda: at)


def encode(value: object) -> bytes:
    raw = value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def forge(header: object, key: bytes = KEY, **changes: object) -> bytes:
    """A token with this header, sealed with `key`."""
    payload = json.loads(base64.urlsafe_b64decode(tokens().sign(TICKET).split(".")[1] + "=="))
    head = encode(header) + b"." + encode({**payload, **changes})
    return head + b"." + encode(hmac.digest(key, head, "sha256"))


@pytest.mark.parametrize(
    "ticket", [TICKET, replace(TICKET, scopes=()), Ticket("", NOW + 9), Ticket("a:b", NOW + 9)]
)
def test_what_is_signed_is_read(ticket: Ticket) -> None:
    assert tokens().read(tokens().sign(ticket).encode()) == ticket


@pytest.mark.parametrize(("after", "good"), [(-61, False), (-60, True), (0, True), (299, True), (300, False)])
def test_it_lasts_its_time(after: int, good: bool) -> None:
    signed = tokens().sign(TICKET).encode()
    if good:
        assert tokens(NOW + after).read(signed) == TICKET
        return
    with pytest.raises(Unauthenticated) as raised:
        tokens(NOW + after).read(signed)
    assert raised.value.error == "invalid_token"


def test_no_two_are_alike() -> None:
    assert tokens().sign(TICKET) != tokens().sign(TICKET)


HEADER = {"alg": "HS256", "typ": "JWT"}


@pytest.mark.parametrize(
    "token",
    [
        forge({"alg": "none", "typ": "JWT"}),
        forge({"alg": "None", "typ": "JWT"}),
        forge({"alg": "HS512", "typ": "JWT"}),
        forge({"alg": "RS256", "typ": "JWT"}),
        forge({**HEADER, "jwk": {"kty": "oct", "k": "AAAA"}}),
        forge({**HEADER, "jku": "http://192.0.2.1/keys"}),
        forge({**HEADER, "x5u": "http://192.0.2.1/keys"}),
        forge({**HEADER, "x5c": ["AAAA"]}),
        forge({**HEADER, "kid": "../../dev/null"}),
        forge({**HEADER, "crit": ["exp"]}),
        forge({"typ": "JWT", "alg": "HS256"}),
        b"",
        b"..",
        b"ocir_something",
        b"x" * 20_000,
        tokens().sign(TICKET).encode() + b"x" * 20_000,
    ],
)
def test_what_is_not_ours_is_left_to_others(token: bytes) -> None:
    """Even sealed with our key: only the one header is ours."""
    assert tokens().read(token) is None


def altered(position: int) -> bytes:
    parts = tokens().sign(TICKET).encode().split(b".")
    parts[position] = parts[position][:-2] + (b"AA" if parts[position][-2:] != b"AA" else b"BB")
    return b".".join(parts)


@pytest.mark.parametrize(
    "token",
    [
        forge(HEADER, key=b"another"),
        forge(HEADER, key=b""),
        forge(HEADER, aud="elsewhere"),
        forge(HEADER, iss="elsewhere"),
        altered(1),
        altered(2),
        tokens().sign(TICKET).encode() + b".x",
        tokens().sign(TICKET).encode().rpartition(b".")[0] + b".",
        tokens().sign(TICKET).encode().rpartition(b".")[0],
        tokens(service="there").sign(TICKET).encode(),
    ],
)
def test_forged_ones_are_refused(token: bytes) -> None:
    with pytest.raises(Unauthenticated) as raised:
        tokens().read(token)
    assert raised.value.error == "invalid_token"
    assert "alice" not in str(raised.value)
