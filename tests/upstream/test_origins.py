"""Origins: which URLs have one, and which host a list names."""

import pytest

from registry.upstream.origins import Origin, is_listed, read_origin


@pytest.mark.parametrize(
    ("url", "origin", "text"),
    [
        ("https://ghcr.io", Origin("https", "ghcr.io", 443), "https://ghcr.io"),
        ("HTTPS://GHCR.io:443/x?y", Origin("https", "ghcr.io", 443), "https://ghcr.io"),
        ("http://ghcr.io:443", Origin("http", "ghcr.io", 443), "http://ghcr.io:443"),
        ("http://10.0.0.1:5000/v2/", Origin("http", "10.0.0.1", 5000), "http://10.0.0.1:5000"),
        ("https://[2001:DB8:0::1]:5000", Origin("https", "2001:db8::1", 5000), "https://[2001:db8::1]:5000"),
        ("https://a_b.example", Origin("https", "a_b.example", 443), "https://a_b.example"),
    ],
)
def test_origins(url: str, origin: Origin, text: str) -> None:
    assert read_origin(url) == origin
    assert str(origin) == text
    assert is_listed(origin, (origin.authority,))


@pytest.mark.parametrize(
    "url",
    [
        *("", "ghcr.io", "//ghcr.io", "ftp://ghcr.io", "https://", "https://:443", "https://u:p@ghcr.io"),
        *(
            "https://ghcr.io#x",
            "https://ghcr.io:0",
            "https://ghcr.io:99999",
            "https://gh cr.io",
            "https://ü.io",
        ),
        *("https://evil.example\\@ghcr.io", "https://[::1", "https://[fe80::1%25eth0]", "https://2130706433"),
        *(
            "https://127.1",
            "https://0x7f.0.0.1",
            "https://010.0.0.1",
            "https://a..b",
            "https://ghcr.io\r\nX:",
        ),
        *("https://256.0.0.1", "https://-a", "https://%67hcr.io", "https://127.0.0.1."),
    ],
)
def test_what_has_none(url: str) -> None:
    with pytest.raises(ValueError):
        read_origin(url)


@pytest.mark.parametrize(
    ("url", "hosts", "listed"),
    [
        ("https://a.example", ("b.example", "a.example"), True),
        ("https://a.example:8443", ("a.example:8443",), True),
        ("https://a.example:8443", ("a.example",), False),
        ("http://a.example", ("a.example",), False),
        ("http://a.example:8080", ("a.example:8080",), True),
        ("https://x.a.example", ("a.example",), False),
        ("https://a.example", (), False),
    ],
)
def test_lists(url: str, hosts: tuple[str, ...], listed: bool) -> None:
    assert is_listed(read_origin(url), hosts) is listed
