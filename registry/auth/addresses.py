"""Addresses from which keys may come."""

import ipaddress
import re
from urllib.parse import urlsplit

_URL = re.compile(r"https?://[\x21-\x7e]+", re.ASCII)


def is_safe(url: str) -> bool:
    """Whether nobody on the way can change what is fetched: https, or http within this machine."""
    return _fits(url, "https") or is_local(url)


def is_local(url: str) -> bool:
    """Whether it is plain http to this machine: for tests, and for a proxy beside us that speaks TLS."""
    return _fits(url, "http")


def _fits(url: str, scheme: str) -> bool:
    if not _URL.fullmatch(url):
        return False
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return False
    if parts.netloc.find("[") > 0:  # Python 3.11 takes what is in the brackets, others what is before them
        return False
    if parts.scheme != scheme or not host or parts.username is not None or parts.fragment:
        return False
    return scheme == "https" or is_loopback(host)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address; names other than localhost are taken as reachable."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
