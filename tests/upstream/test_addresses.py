"""Addresses: which are others', which may be a registry's in one's own networks, which never are."""

import ipaddress

import pytest

from registry.upstream.addresses import is_public, is_reachable

PUBLIC = (
    "1.1.1.1",
    "93.184.216.34",
    "2606:4700::1111",
    "::ffff:1.1.1.1",
    "64:ff9b::101:101",
    "2002:101:101::1",
)
OWN = (
    *("127.0.0.1", "127.8.8.8", "::1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd00::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:a00:1::1", "::7f00:1", "::a00:1"),
)
NEVER = (
    *(
        "169.254.169.254",
        "fe80::1",
        "fe80::1%eth0",
        "0.0.0.0",
        "0.1.2.3",
        "::",
        "224.0.0.1",
        "239.255.255.250",
    ),
    *("255.255.255.255", "240.0.0.1", "ff02::1", "ff0e::1", "fec0::1", "::ffff:169.254.169.254"),
    *("64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1", "::a9fe:a9fe", "::ffff:0.0.0.0", "::ffff:224.0.0.1"),
)


@pytest.mark.parametrize("text", PUBLIC)
def test_public(text: str) -> None:
    address = ipaddress.ip_address(text)
    assert (is_public(address), is_reachable(address)) == (True, True)


@pytest.mark.parametrize("text", OWN)
def test_of_ones_own_networks(text: str) -> None:
    address = ipaddress.ip_address(text)
    assert (is_public(address), is_reachable(address)) == (False, True)


@pytest.mark.parametrize("text", NEVER)
def test_never(text: str) -> None:
    address = ipaddress.ip_address(text)
    assert (is_public(address), is_reachable(address)) == (False, False)
