"""Origins (RFC 6454): the scheme, host and port that a secret is for."""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

PORTS = {"http": 80, "https": 443}
_URL = re.compile(r"https?://[\x21-\x7e]+", re.ASCII | re.IGNORECASE)
_NUMBER = re.compile(r"(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)\.?$", re.ASCII)
_HOST = re.compile(r"(?=.{1,253}$)[a-z0-9_](?:[a-z0-9_-]{0,62})(?:\.[a-z0-9_][a-z0-9_-]{0,62})*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Origin:
    """`host` is in lower case, an IPv6 address without brackets."""

    scheme: str
    host: str
    port: int

    @property
    def address(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None

    @property
    def authority(self) -> str:
        """As the settings list it: the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


def read_origin(url: str) -> Origin:
    """Of an absolute http or https URL without user and fragment. Raises ValueError."""
    if not _URL.fullmatch(url) or "\\" in url:
        raise ValueError
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    if "@" in parts.netloc or "#" in url or port == 0:
        raise ValueError
    if ":" in host:
        if "%" in host:  # a zone: nothing on a link is an upstream
            raise ValueError
        host = str(ipaddress.IPv6Address(host))
    elif _NUMBER.search(host):
        host = str(ipaddress.IPv4Address(host))  # no other form: 127.1 and 0x7f.1 are 127.0.0.1 to some
    elif not _HOST.fullmatch(host):
        raise ValueError
    return Origin(parts.scheme, host, PORTS[parts.scheme] if port is None else port)


def is_listed(origin: Origin, hosts: tuple[str, ...]) -> bool:
    """Whether a list of `host` and `host:port` names it; without a port, that of https is meant."""
    return origin.authority in hosts and (origin.scheme == "https" or origin.port != PORTS[origin.scheme])
