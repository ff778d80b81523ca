"""What a token claims: whether it is for us and for now, and whom it makes of its bearer. Pure."""

from collections.abc import Iterator, Mapping

from registry.access import Actor, Grant
from registry.auth.issuer_settings import Issuer, Value
from registry.auth.jwt import refused
from registry.auth.scopes import Scope
from registry.errors import NameInvalid
from registry.names import RepositoryName
from registry.strict_json import Json

Claims = Mapping[str, Json]

_SKEW = 60  # seconds that the issuer's clock may be ahead of ours
_LAST = 253_402_300_799  # the year 9999 ends: what comes later is no date
_LONGEST = 256  # characters of a name or a group's value
_MOST = 100  # groups, and entries of access
# What distribution's registry understands; our own finer words are not another server's to give.
_WORDS = frozenset({"pull", "push", "delete", "*"})
_KINDS = frozenset({"repository", "registry"})


def check_claims(issuer: Issuer, claims: Claims, now: float) -> int:
    """When the token expires. Raises Unauthenticated unless it is the issuer's, for us and for now."""
    if claims.get("iss") != issuer.issuer:
        raise refused(f"its issuer (iss) is not that of {issuer.name}")
    expires, begins, issued = (_moment(claims, name) for name in ("exp", "nbf", "iat"))
    if expires is None:
        raise refused("it says no end (exp)")
    if now >= expires:
        raise refused("it has expired (exp)")
    if begins is not None and now < begins - _SKEW:
        raise refused("it is not valid yet (nbf)")
    if issued is not None and now < issued - _SKEW:
        raise refused("it was issued in the future (iat)")
    audience = claims.get("aud")
    if issuer.audience not in (audience if isinstance(audience, list) else [audience]):
        raise refused(f"it is for someone else: its audience (aud) has to have {issuer.audience!r}")
    for claim, wanted in issuer.require:
        if not any(_equal(value, each) for value in _members(claims.get(claim)) for each in wanted):
            raise refused(f"its claim {claim} is not what {issuer.name} requires")
    return expires


def actor_of(issuer: Issuer, claims: Claims, expires: int) -> Actor:
    """Raises Unauthenticated for a name or groups that cannot be taken as they are."""
    name = claims.get(issuer.user)
    if issuer.access:
        grants = tuple(_grants(claims.get("access")))
        # The same as its limit: no rule adds to what the token server gave, and more needs another token.
        who = "" if name in (None, "") else f"{issuer.name}:{_text(name, issuer.user)}"
        return Actor(who, grants=grants, limit=grants, expires=expires)
    groups = frozenset(_groups(issuer, claims))
    if len(groups) > _MOST:
        raise refused(f"its claims make more than {_MOST} groups")
    return Actor(f"{issuer.name}:{_text(name, issuer.user)}", groups, expires=expires)


def _moment(claims: Claims, name: str) -> int | None:
    """RFC 7519 allows fractions; no issuer that we know sends one, and readers round them differently."""
    if name not in claims:
        return None
    value = claims[name]
    if type(value) is not int or not 0 <= value <= _LAST:
        raise refused(f"its {name} is not a whole number of seconds since 1970")
    return value


def _members(value: Json) -> list[Json]:
    return value if isinstance(value, list) else [value]


def _equal(value: Json, wanted: Value) -> bool:
    return type(value) is type(wanted) and value == wanted


def _groups(issuer: Issuer, claims: Claims) -> Iterator[str]:
    for claim in issuer.groups:
        for value in _members(claims.get(claim)):
            if value is not None:
                yield f"{issuer.name}:{claim}={_text(_spelled(value), claim)}"


def _spelled(value: Json) -> Json:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int) else value


def _text(value: Json, claim: str) -> str:
    """As it goes into names, logs and rules: no character in it acts on whoever reads it."""
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST or not value.isprintable():
        raise refused(f"its claim {claim} is not a text of 1 to {_LONGEST} printable characters")
    return value


def _grants(access: Json) -> Iterator[Grant]:
    entries = access or []  # a token server in Go writes null for none
    if not isinstance(entries, list) or len(entries) > _MOST:
        raise refused(f"its claim access is not a list of {_MOST} entries at most")
    for entry in entries:
        if not isinstance(entry, dict):
            raise refused("an entry of its claim access is no object")
        kind, name, words = entry.get("type"), entry.get("name"), entry.get("actions") or []
        if not isinstance(kind, str) or not isinstance(name, str) or not isinstance(words, list):
            raise refused("an entry of its claim access has not type, name and actions")
        given = frozenset(word for word in words if isinstance(word, str)) & _WORDS
        if given and kind in _KINDS and _is_name(name):
            yield Scope(kind, name, given).grant


def _is_name(name: str) -> bool:
    """A name and no pattern: a star here would be one of ours, and give more than was meant."""
    try:
        RepositoryName(name)
    except NameInvalid:
        return False
    return True
