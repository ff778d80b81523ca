"""Whom an address stands for, where clients are counted that have no name."""

import ipaddress
from functools import lru_cache

_MOST = 16_384  # addresses remembered


@lru_cache(_MOST)
def network_of(address: str) -> str:
    """Of IPv6 the first 64 bits: a single machine, and a customer, has all of the others."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Address(int(found) >> 64 << 64))
