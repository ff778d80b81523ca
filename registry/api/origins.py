"""Who asks, and by which address, as the client sees it: past the proxies that the settings list.

A proxy says so in `X-Forwarded-For`, `-Proto` and `-Host`, or in `Forwarded` (RFC 7239). Anyone can write
these, so they count from a listed peer only. All is read from the right, where each proxy adds what it has
seen itself: the first address that is no proxy's is the client's, whatever stands before it. A proxy writes
one kind and passes the other on: where they name different clients, one of them is the client's own
invention, and the request is refused, or anyone could hide behind the proxy's address.
"""

import ipaddress
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from starlette.types import Scope

from registry.api.errors import HostInvalid, OriginUnclear

# What says in whose place somebody asks, and what is said along with it: nothing to any handler.
_SAID = frozenset({b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"forwarded"})
_BESIDE = frozenset({b"x-real-ip", b"x-forwarded-port", b"x-forwarded-server", b"via"})
_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_NODE = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?|([0-9.]+):[0-9]{1,5}")
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PAIR = re.compile(rf'[ \t]*({_WORD})=({_WORD}|"(?:[^"\\]|\\.)*")[ \t]*(?:([;,])|$)')
_HOPS = 20  # of a chain of proxies
_UNCLEAR = "registry.unclear"  # in a scope

logger = logging.getLogger("registry")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Headers = Sequence[tuple[bytes, bytes]]
Client = tuple[str, int] | None


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a proxy has told; empty where it did not, or not in a way that can be read."""

    address: str = ""
    scheme: str = ""
    host: str = ""
    clear: bool = True  # whether one client is named, not two


class Origins:
    def __init__(self, trusted: Sequence[str] = (), external_url: str = "") -> None:
        self._networks = [ipaddress.ip_network(each) for each in trusted]
        self._external_url = external_url
        self._is_proxy = lru_cache(maxsize=1024)(self._is_listed)
        self._warned = False

    @property
    def proxied(self) -> bool:
        """Whether there is any proxy to be believed."""
        return bool(self._networks)

    def seen(self, scope: Scope) -> Scope:
        """The scope, with client, scheme and Host as the client knows them; `require_clear` is to follow."""
        headers: Headers = scope["headers"]
        if not self._networks or not self._trusts(scope.get("client")):
            self._warn(headers, scope.get("client"))
            return scope
        said = self._read(headers)
        if not said.clear:
            return {**scope, _UNCLEAR: True}
        told = [field for field in headers if field[0] not in _SAID | _BESIDE]
        if said.host:
            told = [field for field in told if field[0] != b"host"] + [(b"host", said.host.encode())]
        client = (said.address, 0) if said.address else scope["client"]
        return {**scope, "client": client, "scheme": said.scheme or scope["scheme"], "headers": told}

    def unwrap(self, headers: Headers, client: Client) -> tuple[Headers, Client]:
        """The same for who needs no more than this; only to be asked if there are proxies."""
        if not self._trusts(client):
            return headers, client
        said = self._read(headers)
        if not said.clear:
            return headers, client  # with fields that no prompt answer is for
        told = [field for field in headers if field[0] not in _SAID | _BESIDE]
        return told, (said.address, 0) if said.address else client

    def base_url(self, scope: Scope) -> str:
        """Of a scope that was `seen`: where the client finds the registry, without a slash at the end.

        Raises HostInvalid.
        """
        return self._external_url or f"{scope['scheme']}://{host_of(scope)}"

    def is_own(self, scope: Scope, origin: str) -> bool:
        """Whether a page of this origin (RFC 6454) is the registry's own. Raises HostInvalid."""
        if self._external_url and origin == self._external_url:
            return True
        return origin.partition("://")[2] == host_of(scope)

    def _trusts(self, client: Client) -> bool:
        # A peer without an address, on a Unix socket, cannot be listed.
        return client is not None and self._is_proxy(client[0])

    def _is_listed(self, text: str) -> bool:
        address = _address(text)
        return address is not None and any(address in network for network in self._networks)

    def _read(self, headers: Headers) -> _Seen:
        """By either way of telling; of a scheme and a host that differ, neither."""
        fields: dict[bytes, str] = {}
        for name, value in headers:
            if name in _SAID:
                text = value.decode("latin-1")
                fields[name] = f"{fields[name]},{text}" if name in fields else text
        if not fields:
            return _Seen()
        old, new = self._by_fields(fields), self._by_forwarded(fields.get(b"forwarded", ""))
        if old.address and new.address and old.address != new.address:
            return _Seen(clear=False)
        return _Seen(old.address or new.address, _agreed(old.scheme, new.scheme), _agreed(old.host, new.host))

    def _by_fields(self, fields: Mapping[bytes, str]) -> _Seen:
        nodes = fields.get(b"x-forwarded-for", "").split(",") if b"x-forwarded-for" in fields else []
        _, address = self._client_among(nodes)
        last = {name: text.rpartition(",")[2].strip() for name, text in fields.items()}
        return _Seen(
            address,
            _scheme(last.get(b"x-forwarded-proto", "")),
            _host(last.get(b"x-forwarded-host", "")),
        )

    def _by_forwarded(self, text: str) -> _Seen:
        elements = list(_elements(text))
        index, address = self._client_among([element.get("for", "") for element in elements])
        if not elements:
            return _Seen()
        element = elements[index]
        return _Seen(address, _scheme(element.get("proto", "")), _host(element.get("host", "")))

    def _client_among(self, nodes: Sequence[str]) -> tuple[int, str]:
        """Its place, and its address. What cannot be read ends the walk at the proxy that passed it on."""
        index, found = -1, ""
        for place in range(len(nodes) - 1, max(len(nodes) - 1 - _HOPS, -1), -1):
            node = _node(nodes[place])
            if not node:
                break
            index, found = place, node
            if not self._is_proxy(node):
                break
        return index, found

    def _warn(self, headers: Headers, client: Client) -> None:
        if self._warned:
            return
        names = sorted({name.decode() for name, _ in headers if name in _SAID})
        if not names:
            return
        self._warned = True
        logger.warning(
            "%s sends %s and is no listed proxy: it is ignored. If it is your proxy, set "
            "trusted_proxies = [%s]; else its clients count as one, and logins may be sent to a wrong URL",
            client[0] if client else "a peer without an address",
            ", ".join(names),
            f'"{client[0]}"' if client else "",
        )


def require_clear(scope: Scope) -> None:
    """Of a scope that was `seen`. Raises OriginUnclear."""
    if _UNCLEAR in scope:
        raise OriginUnclear


def host_of(scope: Scope) -> str:
    """The Host header; the address of the server for a client of HTTP/1.0 that sends none.

    Raises HostInvalid for what is no host and port: it goes into answers.
    """
    found = b"".join(value for name, value in scope["headers"] if name == b"host").decode("latin-1")
    if found:
        if not _HOST.fullmatch(found):
            raise HostInvalid
        return found
    host, port = scope.get("server") or ("localhost", None)
    name = f"[{host}]" if ":" in host else host
    return f"{name}:{port}" if port else name


def _agreed(one: str, other: str) -> str:
    if one and other and one != other:
        return ""
    return one or other


def _scheme(text: str) -> str:
    return text.lower() if text.lower() in ("http", "https") else ""


def _host(text: str) -> str:
    return text if _HOST.fullmatch(text) else ""


def _address(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    # A socket for both families shows the older one's addresses in the newer one's form.
    return getattr(address, "ipv4_mapped", None) or address


def _node(text: str) -> str:
    """An address, without the port and the brackets that some proxies add; empty for anything else."""
    found = _NODE.fullmatch(text.strip())
    address = _address((found[1] or found[2]) if found else text.strip())
    return str(address) if address else ""


def _elements(text: str) -> Iterator[Mapping[str, str]]:
    """Of `Forwarded`, as far from the right as it can be read: a proxy adds to what a client wrote."""
    found: list[dict[str, str]] = [{}]
    position = 0
    while position < len(text):
        pair = _PAIR.match(text, position)
        if not pair:
            # Up to the next comma it is nobody's.
            position = text.find(",", position) + 1 or len(text)
            found = [{}]
            continue
        value = pair[2]
        if value.startswith('"'):
            value = re.sub(r"\\(.)", r"\1", value[1:-1])
        found[-1][pair[1].lower()] = value
        if pair[3] == ",":
            found.append({})
        position = pair.end()
    yield from found if text else ()
