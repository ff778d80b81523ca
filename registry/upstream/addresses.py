"""Addresses that may be connected to. Checked is the one that is connected to, at that moment.

A name that is looked up, checked and looked up again may have another address by then (DNS rebinding).
"""

import errno
import ipaddress
import socket
from collections.abc import Callable
from typing import Any

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
# What getaddrinfo returns of one address.
Found = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[Any, ...]]

_THIS_NETWORK = ipaddress.ip_network("0.0.0.0/8")
_SHARED = ipaddress.ip_network("100.64.0.0/10")  # RFC 6598: neither private nor global in Python's words
# Their last 32 bits are an IPv4 address, which is where they lead: RFC 6052, and RFC 4291 section 2.5.5.1.
_EMBEDDING = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("::/96"))


class AddressForbidden(OSError):
    """An OSError, so that the next address of the name is tried."""

    def __init__(self) -> None:
        super().__init__(errno.EACCES, "its address is not one that may be connected to")


def is_public(address: Address) -> bool:
    """Whether it is another's on the internet: nothing of this machine, its networks or its cloud."""
    plain = _plain(address)
    return plain.is_global and not _is_nowhere(plain)


def is_reachable(address: Address) -> bool:
    """Whether it is public, or of this machine or its networks, where a registry may be.

    A cloud's metadata service is at a link-local address; those, multicast, reserved and unspecified ones
    never are a registry's.
    """
    plain = _plain(address)
    return not _is_nowhere(plain) and (plain.is_global or plain.is_private or plain in _SHARED)


def socket_maker(fits: Callable[[Address], bool]) -> Callable[[Found], socket.socket]:
    """What makes the sockets of a connector. It is given each address right before the connect."""

    def make(found: Found) -> socket.socket:
        family, kind, protocol, _, target = found
        # A link-local address may come with a zone, which ip_address reads.
        if not fits(ipaddress.ip_address(target[0])):
            raise AddressForbidden
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        return made

    return make


def _plain(address: Address) -> Address:
    """The address that it leads to: IPv4 inside IPv6 (mapped, 6to4, NAT64) is what counts."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if inner := address.ipv4_mapped or address.sixtofour:
        return inner
    if int(address) > 1 and any(address in each for each in _EMBEDDING):  # not :: and ::1
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _is_nowhere(address: Address) -> bool:
    if address.is_loopback:  # ::1 is of a reserved network
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.is_site_local:
        return True  # fec0::/10, which Python takes for global
    never = address.is_link_local or address.is_multicast or address.is_reserved or address in _THIS_NETWORK
    return never or address.is_unspecified
