"""Fetching: what is followed, believed and waited for, and what is not."""

import ssl
import time
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from registry.auth.addresses import is_local, is_safe
from registry.auth.fetching import LARGEST, Fetched, FetchFailed, fetch
from tests.auth.issuing import Page, Site, serving
from tests.certificates import Certificate, make_certificate, openssl


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as site:
        yield site


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("https://a.example", True),
        ("https://a.example:8443/x?y=z", True),
        ("http://127.0.0.1:1/x", True),
        ("http://[::1]/x", True),
        ("http://localhost/x", True),
        ("http://a.example", False),
        ("http://10.0.0.1", False),
        ("http://169.254.169.254/latest", False),
        ("http://127.0.0.1.evil.example", False),
        ("http://localhost.evil.example", False),
        ("http://127.0.0.1@evil.example", False),
        ("https://user:password@a.example", False),
        ("https://a.example/#x", False),
        ("https://a.example/\r\nHost: b", False),
        ("https://a.example/ x", False),
        ("https://a.example:99999", False),
        ("https://[::1", False),
        ("https://", False),
        ("HTTPS://a.example", False),
        ("file:///etc/passwd", False),
        ("ftp://a.example", False),
        ("//a.example", False),
        ("", False),
    ],
)
def test_addresses(url: str, safe: bool) -> None:
    assert is_safe(url) is safe
    assert is_local(url) is (safe and url.startswith("http:"))


def test_an_address_that_is_not_safe_is_not_fetched() -> None:
    with pytest.raises(FetchFailed, match="only https"):
        fetch("file:///etc/passwd")


@pytest.mark.parametrize(
    ("value", "age"),
    [
        ("max-age=600", 600),
        ("public, max-age=19845, must-revalidate, no-transform", 19845),
        ("s-maxage=5", None),
        ("no-store", None),
        ("max-age=-1", None),
        ("max-age=9999999999", None),
    ],
)
def test_max_age(site: Site, value: str, age: int | None) -> None:
    site.pages["/keys?a=b"] = Page(b"{}", headers={"Cache-Control": value})
    assert fetch(f"{site.url}/keys?a=b") == Fetched(b"{}", age)


def test_no_secret_is_sent(site: Site) -> None:
    site.pages["/"] = Page(b"{}")
    assert fetch(site.url) == Fetched(b"{}")
    assert {name.lower() for head in site.heads for name in head} == {"host", "accept", "accept-encoding"}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(site: Site, status: int) -> None:
    site.pages["/a"] = Page(status=status, headers={"Location": f"{site.url}/b"})
    site.pages["/b"] = Page(b"{}")
    with pytest.raises(FetchFailed, match="give the address that it leads to"):
        fetch(f"{site.url}/a")
    assert dict(site.asked) == {"/a": 1}


@pytest.mark.parametrize("status", [204, 206, 401, 404, 500, 503])
def test_other_answers_are_failures(site: Site, status: int) -> None:
    site.pages["/"] = Page(status=status)
    with pytest.raises(FetchFailed, match=f"answered {status}"):
        fetch(f"{site.url}/")


def test_size(site: Site) -> None:
    site.pages["/"] = Page(b"x" * LARGEST)
    assert fetch(site.url).body == b"x" * LARGEST
    site.pages["/"] = Page(b"x" * (LARGEST + 1))
    with pytest.raises(FetchFailed, match="larger"):
        fetch(site.url)


@pytest.mark.parametrize("length", ["10", "99999999999"])
def test_an_answer_that_ends_early(site: Site, length: str) -> None:
    site.pages["/"] = Page(b"{}", headers={"Content-Length": length, "Connection": "close"})
    with pytest.raises(FetchFailed):
        fetch(site.url)


def test_a_server_that_does_not_answer(site: Site) -> None:
    site.ready.clear()
    begun = time.monotonic()
    with pytest.raises(FetchFailed, match="timed out"):
        fetch(site.url, seconds=0.1)
    assert time.monotonic() - begun < 5


def test_a_server_that_is_not_there() -> None:
    with serving() as gone:
        pass
    with pytest.raises(FetchFailed, match="refused"):
        fetch(gone.url)


def test_only_a_trusted_certificate_is_believed(tmp_path: Path) -> None:
    made = make_certificate(tmp_path)
    with serving(behind(made)) as site:
        site.pages["/"] = Page(b"{}")
        url = site.url.replace("http:", "https:")
        assert fetch(url, context=trusting(made)) == Fetched(b"{}")
        with pytest.raises(FetchFailed, match="CERTIFICATE_VERIFY_FAILED"):
            fetch(url)
        assert site.asked["/"] == 1


def test_a_certificate_must_have_the_name(tmp_path: Path) -> None:
    made = Certificate(tmp_path / "other.pem", tmp_path / "other.key")
    openssl(
        *("req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-days", "2"),
        *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=DNS:other.example"),
        *("-out", str(made.cert), "-keyout", str(made.key)),
    )
    with serving(behind(made)) as site:
        with pytest.raises(FetchFailed, match="mismatch"):
            fetch(site.url.replace("http:", "https:"), context=trusting(made))
        assert not site.asked


def trusting(made: Certificate) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(made.cert))


def behind(made: Certificate) -> Callable[[ThreadingHTTPServer], None]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.cert, made.key)

    def wrap(server: ThreadingHTTPServer) -> None:
        # The handshake is the handler's: in accept, a client that breaks it off would end the server.
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)

    return wrap
