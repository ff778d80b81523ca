"""What `[[upstream]]` tables and `mirror` say: the registries that images may be fetched from."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from registry.auth.addresses import is_local
from registry.kinds import FILE, SIZE, SWITCH, Kind, Misfit, seconds
from registry.tables import read_tables, read_toml
from registry.upstream.addresses import is_public
from registry.upstream.origins import Origin, read_origin

HUB = "docker.io"
_URLS = {HUB: "https://registry-1.docker.io"}
# Token servers that are known to be beside their registry.
_REALMS = {HUB: ("auth.docker.io",), "registry.gitlab.com": ("gitlab.com",)}
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*(?::[0-9]{1,5})?")
_LONGEST = 255
_SECRETS = ("password",)


@dataclass(frozen=True, slots=True)
class Upstream:
    """One registry. `realms` and `redirects` are hosts, with `:port` where it is not the scheme's own.

    In seconds: `ttl`, how long a tag is served without a question; `stale`, how much longer it is served
    while the question is on its way; `negative_ttl`, how long what is missing is taken for missing;
    `deadline`, how long the upstream is waited for where something older can be served. `size`: the bytes
    that its images may hold here; 0 for any number.
    """

    name: str
    url: str
    username: str = ""
    password: str = field(default="", repr=False)
    password_file: str = ""
    token_file: str = ""
    realms: tuple[str, ...] = ()
    redirects: tuple[str, ...] = ()
    private: bool = False
    library: bool = False
    ca_file: str = ""
    default: bool = False
    ttl: int = 60
    stale: int = 60
    negative_ttl: int = 30
    deadline: int = 5
    size: int = 0

    @property
    def origin(self) -> Origin:
        return read_origin(self.url)

    def remote(self, repository: str) -> str:
        """What the upstream calls it: Docker Hub keeps `alpine` as `library/alpine`."""
        return f"library/{repository}" if self.library and "/" not in repository else repository


def join_upstreams(upstreams: Sequence[Upstream], mirrors: Sequence[Upstream]) -> tuple[Upstream, ...]:
    """Those of the tables and of the short form. Raises Misfit where they do not go together.

    Docker asks its mirrors for plain names: if no table says which upstream these mean, they are Docker Hub's
    where that is in the short form.
    """
    if not any(upstream.default for upstream in upstreams):
        mirrors = [replace(mirror, default=mirror.name == HUB) for mirror in mirrors]
    joined = (*upstreams, *mirrors)
    _check(joined)
    return joined


def _check(upstreams: Sequence[Upstream]) -> None:
    names = [upstream.name for upstream in upstreams]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise Misfit(name, name, "each upstream once, in [[upstream]] and mirror together")
    if len(defaults := [upstream.name for upstream in upstreams if upstream.default]) > 1:
        raise Misfit(f"{defaults[1]}: default", True, f"one default at most, which {defaults[0]} is")


def _line(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 1024 or not value.isprintable():
        raise ValueError
    return value


def _user(value: object) -> str:
    if ":" in _line(value):  # RFC 7617: it ends there
        raise ValueError
    return _line(value)


def read_name(value: object) -> str:
    """A registry as images name it. Raises ValueError."""
    if not isinstance(value, str) or len(value) > _LONGEST or not _NAME.fullmatch(value):
        raise ValueError
    return value


def _url(value: object) -> str:
    """A base; `/v2/` is put behind it. No path: a token's scope could not be told from it."""
    if not isinstance(value, str):
        raise ValueError
    origin = read_origin(value)
    if value.rstrip("/").count("/") != 2 or "?" in value:
        raise ValueError
    return str(origin)


def _hosts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError
    return tuple(_host(each) for each in value)


def _host(value: object) -> str:
    if not isinstance(value, str) or "/" in value or "?" in value:
        raise ValueError
    return read_origin(f"https://{value}").authority


_KEYS: Mapping[str, Kind] = {
    "name": Kind("the registry as images name it, such as docker.io or ghcr.io", "", read_name),
    "url": Kind("a URL such as https://ghcr.io, with a port if need be and no path", "", _url),
    "username": Kind("a user's name without a colon", "", _user),
    "password": Kind("a password, 1 to 1024 printable characters", "", _line),
    "password_file": FILE,
    "token_file": FILE,
    "realms": Kind('hosts that may be asked for tokens, such as ["auth.example.com"]', "", _hosts),
    "redirects": Kind('hosts that blobs may come from, such as ["cdn.example.com:8443"]', "", _hosts),
    "private": SWITCH,
    "library": SWITCH,
    "ca_file": FILE,
    "default": SWITCH,
    "ttl": seconds(0),
    "stale": seconds(0),
    "negative_ttl": seconds(0),
    "deadline": seconds(1),
    "size": SIZE,
}


def _upstreams(value: object) -> tuple[Upstream, ...]:
    try:
        given = read_tables(value, _KEYS, ["name"])
    except Misfit as error:
        raise _hidden(error) from None
    found = tuple(_upstream(each, f"entry {number}") for number, each in enumerate(given, 1))
    _check(found)
    return found


def _hidden(error: Misfit) -> Misfit:
    """Without the value wherever that may be, or hold, a secret: an entry, or a key with a typing error."""
    key = error.where.partition(": ")[2]
    hide = key in _SECRETS or key not in _KEYS
    return Misfit(error.where, "…", error.expected) if hide else error


def _upstream(given: dict[str, Any], where: str) -> Upstream:
    name = given["name"]
    given.setdefault("url", _URLS.get(name, f"https://{name}"))
    given.setdefault("library", name == HUB)
    given["realms"] = (*_REALMS.get(name, ()), *given.get("realms", ()))
    try:
        origin = read_origin(given["url"])
    except ValueError:
        raise Misfit(where, name, _KEYS["name"].expected) from None
    given.setdefault("private", _is_private(origin))
    ways = [key for key in ("password", "password_file", "token_file") if given.get(key)]
    if len(ways) > 1:
        raise Misfit(where, name, f"one of {' and '.join(ways)}, not both")
    if bool(given.get("username")) != bool(ways and ways != ["token_file"]):
        raise Misfit(where, name, "username together with password or password_file, and with nothing else")
    if ways and origin.scheme == "http" and not is_local(given["url"]):
        raise Misfit(where, given["url"], "https, or http on this machine, where a password or token is sent")
    return Upstream(**given)


def _is_private(origin: Origin) -> bool:
    return origin.host == "localhost" or (origin.address is not None and not is_public(origin.address))


def _mirrors(value: object) -> tuple[Upstream, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError
    found = tuple(_mirror(each) for each in value)
    _check(found)
    return found


def _mirror(value: object) -> Upstream:
    if not isinstance(value, str):
        raise ValueError
    name, equals, url = value.partition("=")
    given = {"name": read_name(name)}
    return _upstream(given | ({"url": _url(url)} if equals else {}), name)


UPSTREAMS = Kind(
    'tables such as [[upstream]] with name = "docker.io"; as text, [{name = "docker.io", username = "…"}]',
    "TOML",
    _upstreams,
    read_toml,
    secret=True,
)
MIRRORS = Kind(
    "registries such as docker.io or ghcr.io=https://ghcr.example.com; as text, with spaces between",
    "NAMES",
    _mirrors,
    lambda text: text.replace(",", " ").split(),
    several=True,
)
