"""What `[[issuers]]` entries say: whose tokens are believed, for what, and how their claims are read."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from registry.auth.addresses import is_safe
from registry.kinds import FILE, SWITCH, Kind, Misfit
from registry.tables import read_tables, read_toml, texts

# What one side signs and the other can only verify: with HS256 a public key would be a secret to sign by.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA")

Value = str | int
"""Of a claim that is compared; bool is an int, but True is not 1 here."""

_RESERVED = ("cert", "token", "cli", "registry")  # prefixes of our own, in rules and in the audit trail
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?", re.ASCII)
_CLAIM = re.compile(r"[A-Za-z0-9_.:/-]{1,128}", re.ASCII)
_MOST_GROUPS = 16
_LONGEST = 1024


@dataclass(frozen=True, slots=True)
class Issuer:
    """One entry. `require` holds pairs of a claim and the values of which it must have one.

    With `access`, the issuer is a token server as distribution specifies it: its tokens say themselves what
    they allow, and challenges send clients to `realm` for one of `service`.
    """

    name: str
    issuer: str
    audience: str
    jwks: str = ""
    user: str = "sub"
    groups: tuple[str, ...] = ()
    require: tuple[tuple[str, tuple[Value, ...]], ...] = ()
    algorithms: tuple[str, ...] = ("RS256", "ES256")
    access: bool = False
    realm: str = ""
    service: str = ""


def find_token_server(issuers: tuple[Issuer, ...]) -> Issuer | None:
    """The one that clients are sent to; there is one at most."""
    return next((issuer for issuer in issuers if issuer.access), None)


def _is_line(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST and value.isprintable()


def _line(value: object) -> object:
    if not _is_line(value):
        raise ValueError
    return value


def _name(value: object) -> object:
    if not isinstance(value, str) or not _NAME.fullmatch(value) or value in _RESERVED:
        raise ValueError
    return value


def _claim(value: object) -> object:
    if not isinstance(value, str) or not _CLAIM.fullmatch(value):
        raise ValueError
    return value


def _claims(value: object) -> tuple[object, ...]:
    if not isinstance(value, list | tuple) or len(value) > _MOST_GROUPS:
        raise ValueError
    return tuple(map(_claim, value))


def _url(value: object) -> object:
    if not isinstance(value, str) or not is_safe(value):
        raise ValueError
    return value


def _jwks(value: object) -> object:
    """A file, or an address; what looks like an address must be a safe one."""
    return _url(value) if isinstance(value, str) and "://" in value else FILE.check(value)


def _require(value: object) -> tuple[tuple[object, tuple[Value, ...]], ...]:
    if not isinstance(value, Mapping):
        raise ValueError
    return tuple((_claim(claim), _values(wanted)) for claim, wanted in value.items())


def _values(wanted: object) -> tuple[Value, ...]:
    values = wanted if isinstance(wanted, list | tuple) else (wanted,)
    if not values or not all(_is_line(each) or isinstance(each, int) for each in values):
        raise ValueError
    return tuple(values)


_KEYS: Mapping[str, Kind] = {
    "name": Kind(
        f"1 to 32 of a-z 0-9 and -, not {' or '.join(_RESERVED)}: what is before the colon in names such as "
        '"github:repo:acme/app"',
        "",
        _name,
    ),
    "issuer": Kind("what the tokens have as iss, exactly", "", _line),
    "audience": Kind("what the tokens must have as aud, such as the address of this registry", "", _line),
    "jwks": Kind("an https address or a file with the issuer's public keys", "", _jwks),
    "user": Kind("the name of the claim that names who asks, such as sub", "", _claim),
    "groups": Kind(f'at most {_MOST_GROUPS} names of claims, such as ["repository", "ref"]', "", _claims),
    "require": Kind(
        'a table of claims and the value that each must have, or a list of such: {repository_owner = "acme"}',
        "",
        _require,
    ),
    "algorithms": texts(ALGORITHMS.__contains__, f"a list out of {', '.join(ALGORITHMS)}"),
    "access": SWITCH,
    "realm": Kind("the https address at which clients get tokens", "", _url),
    "service": Kind("the name of this registry at the token server", "", _line),
}


def _issuers(value: object) -> tuple[Issuer, ...]:
    given = read_tables(value, _KEYS, ["name", "issuer", "audience"])
    issuers = tuple(_issuer(each, f"entry {number}") for number, each in enumerate(given, 1))
    for key in ("name", "issuer"):
        seen = [getattr(issuer, key) for issuer in issuers]
        for number, each in enumerate(seen, 1):
            if each in seen[: number - 1]:
                raise Misfit(f"entry {number}: {key}", each, "another one than that of an entry before")
    servers = [number for number, issuer in enumerate(issuers, 1) if issuer.access]
    if len(servers) > 1:
        expected = "access = true in one entry at most: a challenge sends clients to one server"
        raise Misfit(f"entry {servers[1]}: access", True, expected)
    return issuers


def _issuer(given: dict[str, Any], where: str) -> Issuer:
    if given.get("access"):
        if "realm" not in given:
            raise Misfit(where, given, f"realm beside access = true, {_KEYS['realm'].expected}")
        if "groups" in given:
            raise Misfit(where, given, "no groups beside access = true: such tokens say what they allow")
        given.setdefault("service", given["audience"])
    elif stray := {"realm", "service"} & given.keys():
        raise Misfit(where, given, f"access = true beside {' and '.join(sorted(stray))}")
    if not given.get("jwks") and not is_safe(given["issuer"]):
        raise Misfit(where, given, "jwks, where the issuer is no https address that says where its keys are")
    return Issuer(**given)


ISSUERS = Kind(
    'tables such as [[issuers]] with name = "github", issuer = "https://token.actions.githubusercontent.com" '
    'and audience = "registry.example.com"; as text, [{name = "github", issuer = "…", audience = "…"}]',
    "TOML",
    _issuers,
    read_toml,
)
