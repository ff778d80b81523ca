"""Tokens of others: good ones, and every forgery that we know of (RFC 8725, CVE-2025-24976)."""

import base64
import hmac
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from joserfc.jwk import RSAKey

from registry.access import Actor, Shown
from registry.auth.foreign import Foreign
from registry.auth.issuer_settings import ALGORITHMS, Issuer
from registry.auth.jwt import LONGEST
from registry.errors import Unauthenticated
from tests.auth.issuing import (
    AUDIENCE,
    NOW,
    Site,
    b64,
    claims_of,
    key_for,
    published,
    serving,
    signed,
    write,
)

HEADER: dict[str, Any] = {"alg": "RS256", "typ": "JWT", "kid": "one"}
RSA, OTHER_RSA = key_for("RS256"), key_for("RS256", 1)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with serving() as site:
        site.publish(
            published(RSA, "one"),
            published(key_for("ES256"), "curve"),
            published(key_for("ES384"), "larger"),
            published(key_for("EdDSA"), "edwards"),
        )
        yield site


@pytest.fixture(scope="module")
def other() -> Iterator[Site]:
    """Another issuer that is believed, with another key of the same id."""
    with serving() as site:
        site.publish(published(OTHER_RSA, "one"))
        yield site


@pytest.fixture
def issuer(site: Site) -> Issuer:
    return Issuer("ci", site.url, AUDIENCE, groups=("repository", "groups"), algorithms=ALGORITHMS)


@pytest.fixture
def foreign(issuer: Issuer, other: Site) -> Foreign:
    return Foreign([issuer, Issuer("other", other.url, AUDIENCE)], clock=lambda: NOW)


def good(site: Site, header: dict[str, Any] | None = None, **more: object) -> str:
    return signed("RS256", RSA, HEADER | (header or {}), claims_of(site.url, **more))


async def require_refusal(foreign: Foreign, token: str, why: str) -> None:
    with pytest.raises(Unauthenticated) as caught:
        await foreign.verify(token)
    text = str(caught.value)
    assert why in text
    assert caught.value.error == "invalid_token"
    assert not any(part in text for part in token.split(".") if len(part) > 1)
    assert len(text) < 300


KIDS = {"ES256": "curve", "ES384": "larger", "EdDSA": "edwards"}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_every_algorithm(site: Site, foreign: Foreign, algorithm: str) -> None:
    header = {"alg": algorithm, "kid": KIDS.get(algorithm, "one")}
    token = signed(algorithm, key_for(algorithm), header, claims_of(site.url))
    assert await foreign.verify(token) == Actor("ci:repo:acme/app", expires=NOW + 300)


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": ["elsewhere", AUDIENCE]},
        {"nbf": NOW + 60},
        {"iat": NOW + 60},
        {"iat": None},
        {"exp": NOW + 1},
        {"jti": "1", "unheard": {"of": [1, None]}},
    ],
)
async def test_good_claims(site: Site, foreign: Foreign, claims: dict[str, Any]) -> None:
    assert (await foreign.verify(good(site, **claims))).name == "ci:repo:acme/app"


@pytest.mark.parametrize("kind", ["JWT", "jwt", "at+jwt", "application/at+jwt"])
async def test_good_types(site: Site, foreign: Foreign, kind: str) -> None:
    assert (await foreign.verify(good(site, {"typ": kind}))).expires == NOW + 300


async def test_groups(site: Site, foreign: Foreign) -> None:
    token = good(site, repository="acme/app", groups=["a", 7, True, None])
    actor = await foreign.verify(token)
    assert actor == Actor(
        "ci:repo:acme/app",
        frozenset({"ci:repository=acme/app", "ci:groups=a", "ci:groups=7", "ci:groups=true"}),
        expires=NOW + 300,
    )


HEADERS: list[tuple[dict[str, Any], str]] = [
    *(
        ({"alg": name}, "algorithm")
        for name in ("none", "None", "NONE", "nOnE", "", "HS256", "ES512", "rs256")
    ),
    *(({"alg": value}, "algorithm") for value in (None, 1, ["RS256"], {"RS256": 1})),
    ({"kid": "two"}, "key id"),
    ({"kid": ""}, "key id"),
    ({"kid": "../../etc/passwd"}, "key id"),
    ({"kid": 1}, "key id"),
    ({"kid": ["one"]}, "key id"),
    ({"kid": "curve"}, "key id"),
    ({"crit": ["exp"], "exp": 1}, "crit"),
    ({"crit": []}, "crit"),
    ({"b64": False}, "b64"),
    ({"b64": True}, "b64"),
    ({"typ": "logout+jwt"}, "typ"),
    ({"typ": None}, "typ"),
    # The key is the issuer's, but not for this.
    ({"alg": "PS256"}, "signature"),
    ({"alg": "RS512"}, "signature"),
    ({"alg": "ES256"}, "key id"),
    ({"alg": "EdDSA"}, "key id"),
]


@pytest.mark.parametrize(("header", "why"), HEADERS)
async def test_a_header_that_is_refused(
    site: Site, foreign: Foreign, header: dict[str, Any], why: str
) -> None:
    await require_refusal(foreign, good(site, header), why)


CLAIMS: list[tuple[dict[str, Any], str]] = [
    ({"aud": "elsewhere"}, "aud"),
    ({"aud": ["elsewhere"]}, "aud"),
    ({"aud": []}, "aud"),
    ({"aud": None}, "aud"),
    ({"aud": {AUDIENCE: 1}}, "aud"),
    ({"aud": AUDIENCE + "."}, "aud"),
    ({"aud": AUDIENCE.upper()}, "aud"),
    ({"aud": [[AUDIENCE]]}, "aud"),
    ({"exp": NOW}, "expired"),
    ({"exp": NOW - 1}, "expired"),
    ({"exp": 0}, "expired"),
    ({"exp": None}, "no end"),
    *(({"exp": value}, "exp") for value in (str(NOW + 300), NOW + 300.5, True, [NOW + 300], -1)),
    *(({"exp": value}, "exp") for value in (10**12, 2**63, 10**30, 1e300)),
    ({"nbf": NOW + 61}, "nbf"),
    ({"nbf": "0"}, "nbf"),
    ({"nbf": False}, "nbf"),
    ({"iat": NOW + 61}, "iat"),
    ({"iat": 1.5}, "iat"),
    ({"sub": None}, "sub"),
    *(({"sub": value}, "sub") for value in ("", 7, ["a"], "a\nb", "a\x1b[2Jb", "a\u202eb", "a\0", "x" * 257)),
    ({"repository": "acme/app\r\nci:repository=acme/other"}, "repository"),
    ({"repository": "\x7f"}, "repository"),
    ({"repository": ""}, "repository"),
    ({"repository": 1.5}, "repository"),
    ({"repository": {"a": 1}}, "repository"),
    ({"groups": ["a", "b\tc"]}, "groups"),
    ({"groups": [["a"]]}, "groups"),
    ({"groups": ["x" * 257]}, "groups"),
    ({"groups": [str(number) for number in range(101)]}, "more than 100 groups"),
]


@pytest.mark.parametrize(("claims", "why"), CLAIMS)
async def test_claims_that_are_refused(
    site: Site, foreign: Foreign, claims: dict[str, Any], why: str
) -> None:
    await require_refusal(foreign, good(site, **claims), why)


def text(claims: Mapping[str, object]) -> bytes:
    return json.dumps(claims).encode()


def doubled(site: Site) -> bytes:
    return text(claims_of(site.url))[:-1] + b', "sub": "admin"}'


def nan(site: Site) -> bytes:
    return text(claims_of(site.url, exp=float("nan")))


def infinite(site: Site) -> bytes:
    return text(claims_of(site.url, exp=float("inf")))


def deep(site: Site) -> bytes:
    return text(claims_of(site.url))[:-1] + b', "a": ' + b"[" * 2000 + b"]" * 2000 + b"}"


def half_a_pair(site: Site) -> bytes:
    return text(claims_of(site.url, sub="\ud800"))


def wide(site: Site) -> bytes:
    return text(claims_of(site.url)).decode().encode("utf-16")


RAW: list[tuple[Callable[[Site], bytes], str]] = [
    (doubled, "twice"),
    (nan, "NaN"),
    (infinite, "Infinity"),
    (deep, "deeper"),
    (half_a_pair, "surrogate"),
    (wide, "UTF-8"),
    (lambda site: b"[]", "no JSON object"),
    (lambda site: b'"x"', "no JSON object"),
    (lambda site: b"{", "not JSON"),
]


@pytest.mark.parametrize(("claims", "why"), RAW)
async def test_claims_that_readers_take_differently(
    site: Site, foreign: Foreign, claims: Callable[[Site], bytes], why: str
) -> None:
    token = signed("RS256", RSA, HEADER, claims(site))
    await require_refusal(foreign, token, why)
    assert await foreign.identify(Shown(b"Bearer " + token.encode())) is None


@pytest.mark.parametrize(
    "header",
    [b'{"alg": "none", "alg": "RS256", "kid": "one"}', b'{"alg": "RS256", "kid": "one", "kid": "two"}'],
)
async def test_a_header_with_a_key_twice(site: Site, foreign: Foreign, header: bytes) -> None:
    await require_refusal(foreign, signed("RS256", RSA, header, claims_of(site.url)), "twice")


async def test_the_public_key_as_a_secret(site: Site, foreign: Foreign) -> None:
    assert isinstance(RSA, RSAKey)
    for shared in (RSA.as_pem(private=False), RSA.as_der(private=False)):
        for algorithm, why in (("HS256", "algorithm"), ("RS256", "signature")):
            message = f"{write(HEADER | {'alg': algorithm})}.{write(claims_of(site.url))}"
            digest = hmac.digest(shared, message.encode(), "sha256")
            await require_refusal(foreign, f"{message}.{b64(digest)}", why)


async def test_keys_that_a_token_brings_along(site: Site, other: Site, foreign: Foreign) -> None:
    chain: dict[str, object] = {"x5c": ["MIIB"], "x5u": f"{other.url}/chain", "jku": f"{other.url}/keys"}
    key: dict[str, object] = {"jwk": published(OTHER_RSA)}
    for brought in (key, chain, key | chain):
        asked = other.asked.copy()
        token = signed("RS256", OTHER_RSA, HEADER | brought, claims_of(site.url))
        await require_refusal(foreign, token, "signature")
        unknown = signed("RS256", OTHER_RSA, HEADER | {"kid": "mine"} | brought, claims_of(site.url))
        await require_refusal(foreign, unknown, "are not used")
        # Beside a good signature they do no harm.
        assert (await foreign.verify(good(site, brought))).name == "ci:repo:acme/app"
        assert other.asked == asked


async def test_the_key_of_another_issuer(site: Site, other: Site, foreign: Foreign) -> None:
    theirs = signed("RS256", OTHER_RSA, HEADER, claims_of(other.url))
    assert (await foreign.verify(theirs)).name == "other:repo:acme/app"
    await require_refusal(foreign, signed("RS256", OTHER_RSA, HEADER, claims_of(site.url)), "signature")
    await require_refusal(foreign, signed("RS256", RSA, HEADER, claims_of(other.url)), "signature")


@pytest.mark.parametrize("name", [None, "", "https://evil.example", 7, ["x"], "{url}/", "{url}?", " {url}"])
async def test_an_issuer_that_is_not_known(site: Site, foreign: Foreign, name: object) -> None:
    claimed = name.format(url=site.url) if isinstance(name, str) else name
    token = signed("RS256", RSA, HEADER, claims_of(site.url, iss=claimed))
    await require_refusal(foreign, token, "iss")
    assert await foreign.identify(Shown(b"Bearer " + token.encode())) is None


async def test_changed_parts(site: Site, foreign: Foreign) -> None:
    header, claims, signature = good(site).split(".")
    admin = write(claims_of(site.url, sub="admin"))
    for changed in (
        f"{write(HEADER | {'x': 1})}.{claims}.{signature}",
        f"{header}.{admin}.{signature}",
        f"{header}.{claims}.{signature[:-8]}AAAAAAAA"[: len(good(site))],
    ):
        await require_refusal(foreign, changed, "signature")


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "ES384", "EdDSA"])
@pytest.mark.parametrize("length", [1, 63, 64, 65, 96, 128, 255, 256, 257])
async def test_signatures_of_zeros(site: Site, foreign: Foreign, algorithm: str, length: int) -> None:
    header = {"alg": algorithm, "kid": KIDS.get(algorithm, "one")}
    token = f"{write(header)}.{write(claims_of(site.url))}.{b64(bytes(length))}"
    await require_refusal(foreign, token, "signature")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda token: token.rpartition(".")[0] + ".",
        lambda token: token.rpartition(".")[0],
        lambda token: token + ".",
        lambda token: token + "=",
        lambda token: token + "\n",
        lambda token: " " + token,
        lambda token: token + "+",
        lambda token: token.replace(".", "..", 1),
        lambda token: token[:-1] + chr(ord(token[-1]) + 1),  # spare bits: another spelling of the same bytes
        lambda token: token[:-1] + "é",
        lambda token: "",
        lambda token: "..",
        lambda token: "a.b.c.d.e",
    ],
)
async def test_no_token_at_all(site: Site, foreign: Foreign, spoil: Callable[[str], str]) -> None:
    token = spoil(good(site))
    with pytest.raises(Unauthenticated):
        await foreign.verify(token)


async def test_size_comes_first(site: Site, foreign: Foreign, monkeypatch: pytest.MonkeyPatch) -> None:
    fill = LONGEST - len(good(site, fill=""))
    almost = good(site, fill="x" * (fill * 3 // 4 - 4))
    assert LONGEST - 16 < len(almost) <= LONGEST
    assert (await foreign.verify(almost)).expires == NOW + 300
    monkeypatch.setattr("registry.auth.jwt._TOKEN", None)  # whoever looks further fails
    for token in (good(site, fill="x" * fill), "x" * 2**20, "a.b." + "x" * 2**20):
        await require_refusal(foreign, token, "longer than")


async def test_without_a_key_id_there_must_be_no_choice() -> None:
    with serving() as site:
        site.publish(*(published(key) for key in (key_for("ES256"), RSA, OTHER_RSA)))
        foreign = Foreign([Issuer("ci", site.url, AUDIENCE)], clock=lambda: NOW)
        token, doubtful = (
            signed(algorithm, key_for(algorithm), {"alg": algorithm}, claims_of(site.url))
            for algorithm in ("ES256", "RS256")
        )
        assert (await foreign.verify(token)).expires == NOW + 300
        await require_refusal(foreign, doubtful, "fit 2 of")


async def test_an_algorithm_that_the_issuer_does_not_use(site: Site, issuer: Issuer) -> None:
    only = Foreign([replace(issuer, algorithms=("ES256",))], clock=lambda: NOW)
    await require_refusal(only, good(site), "algorithm")


REQUIRED: list[tuple[object, bool]] = [
    ("acme", True),
    ("other", True),
    (["x", "acme"], True),
    ("evil", False),
    ("ACME", False),
    (None, False),
    ([], False),
    ({"acme": 1}, False),
    (True, False),
]


@pytest.mark.parametrize(("owner", "passes"), REQUIRED)
async def test_required_claims(site: Site, issuer: Issuer, owner: object, passes: bool) -> None:
    required = Foreign([replace(issuer, require=(("owner", ("acme", "other", 1)),))], clock=lambda: NOW)
    if passes:
        assert (await required.verify(good(site, owner=owner))).expires == NOW + 300
    else:
        await require_refusal(required, good(site, owner=owner), "owner")


async def test_what_is_refused_anyway_fetches_nothing() -> None:
    with serving() as site:
        site.publish(published(RSA, "one"))
        foreign = Foreign([Issuer("ci", site.url, AUDIENCE)], clock=lambda: NOW)
        await require_refusal(foreign, good(site, exp=NOW), "exp")
        await require_refusal(foreign, good(site, nbf=NOW + 61), "nbf")
        await require_refusal(foreign, good(site, aud="elsewhere"), "aud")
        await require_refusal(foreign, good(site, {"alg": "none"}), "algorithm")
        assert not site.asked


async def test_keys_that_are_not_at_hand(site: Site) -> None:
    with serving() as down:
        foreign = Foreign([Issuer("ci", down.url, AUDIENCE)], clock=lambda: NOW)
        await require_refusal(foreign, good(down), "not at hand")


@pytest.mark.parametrize("scheme", [b"Bearer", b"bearer", b"BEARER"])
async def test_identify(site: Site, foreign: Foreign, scheme: bytes) -> None:
    actor = await foreign.identify(Shown(scheme + b" " + good(site).encode()))
    assert actor == Actor("ci:repo:acme/app", expires=NOW + 300)


@pytest.mark.parametrize("user", ["oidc", "", "anyone at all", "é"])
async def test_a_token_as_a_password(site: Site, foreign: Foreign, user: str) -> None:
    actor = await foreign.identify(Shown(basic(f"{user}:{good(site)}")))
    assert actor == Actor("ci:repo:acme/app", expires=NOW + 300)
    with pytest.raises(Unauthenticated, match="expired"):
        await foreign.identify(Shown(basic(f"{user}:{good(site, exp=NOW)}")))


def basic(text: str) -> bytes:
    return b"Basic " + base64.b64encode(text.encode())


@pytest.mark.parametrize(
    "header",
    [
        *(
            b"",
            b"Bearer",
            b"Bearer ",
            b"Bearer a.b.c",
            b"Bearer \xff.\xff.\xff",
            b"Basic",
            b"Basic !",
            b"Basic YQ",
        ),
        *(basic("alice"), basic("alice:secret"), basic("alice:a.b.c"), basic("\0:\0")),
    ],
)
async def test_what_is_of_no_issuer_is_left_to_others(foreign: Foreign, header: bytes) -> None:
    assert await foreign.identify(Shown(header)) is None


@pytest.mark.parametrize("scheme", ["Basic", "Digest", "Negotiate", ""])
async def test_other_schemes_are_left_to_others(site: Site, foreign: Foreign, scheme: str) -> None:
    assert await foreign.identify(Shown(f"{scheme} {good(site)}".encode())) is None
    assert await foreign.identify(Shown(f"Bearer {good(site)}".encode()))


async def test_a_bad_token_of_a_known_issuer_is_refused(site: Site, foreign: Foreign) -> None:
    with pytest.raises(Unauthenticated, match="expired"):
        await foreign.identify(Shown(b"Bearer " + good(site, exp=NOW).encode()))
