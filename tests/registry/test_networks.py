"""Whom an address stands for."""

import pytest

from registry.networks import network_of


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::1", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::1", "::"),
        ("", ""),
        ("testclient", "testclient"),
        ("unix:/run/x", "unix:/run/x"),
    ],
)
def test_networks(address: str, network: str) -> None:
    assert network_of(address) == network
