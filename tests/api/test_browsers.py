"""Which browsers may ask under which names, and that no other client is asked for its name."""

import httpx
import pytest
from starlette.requests import Request

from registry.api.browsers import is_browser, is_private
from storage.store import Store
from tests.inprocess import connect

CHROME = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0",
    "Accept": "*/*",
    "Accept-Language": "en-US,en;q=0.9",
}
PRIVATE = (
    *("127.0.0.1", "127.0.0.1:5000", "localhost", "LOCALHOST:5000", "[::1]:5000", "[::1]", "192.168.1.7:80"),
    *("registry:5000", "registry", "host.docker.internal:5000", "registry.local", "a.b.lan", "x.home.arpa"),
    *("registry.test", "app.localhost:5000", "localhost.:5000", "registry.local.", ""),
)
PUBLIC = (
    *(
        "evil.com",
        "evil.com:5000",
        "127.0.0.1.evil.com:5000",
        "localhost.evil.com",
        "evil.com.",
        "127.0.0.1.nip.io",
    ),
    *(
        "local.com",
        "evil-local",
        "xlocal.net",
        "user@evil.com:5000",
        "evil.com:x",
        "1.2.3.4.5",
        "evil.com:80:80",
    ),
)


@pytest.mark.parametrize("host", PRIVATE)
def test_names_that_nobody_can_register(host: str) -> None:
    assert is_private(host)


@pytest.mark.parametrize("host", [host for host in PUBLIC if "." in host])
def test_names_that_anyone_can_register(host: str) -> None:
    assert not is_private(host)


@pytest.mark.parametrize(
    ("headers", "browser"),
    [
        ({}, False),
        ({"user-agent": "docker/29.0.2 go/go1.24 kernel/6.1 os/linux arch/amd64"}, False),
        ({"user-agent": "containers/5.36 (github.com/containers/image)", "accept": "*/*"}, False),
        ({"user-agent": "python-requests/2.32", "accept-encoding": "gzip, deflate", "accept": "*/*"}, False),
        ({"user-agent": CHROME["User-Agent"]}, True),
        ({"user-agent": "docker/29.0.2", "accept-language": ""}, True),
        ({"origin": "null"}, True),
        ({"referer": "http://evil.com/"}, True),
        ({"sec-fetch-site": "same-origin"}, True),
    ],
)
def test_browsers(headers: dict[str, str], browser: bool) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    assert is_browser(Request({"type": "http", "headers": raw})) is browser


async def statuses(client: httpx.AsyncClient, host: str, sent: dict[str, str]) -> set[int]:
    for target in ("/v2/", "/v2/_catalog"):
        await client.get(target, headers={"Host": host})  # now its answer may be given again
    asked = [("GET", "/v2/"), ("GET", "/v2/_catalog"), ("HEAD", "/v2/_catalog")]
    send = {**sent, "Host": host}
    return {(await client.request(method, target, headers=send)).status_code for method, target in asked}


@pytest.mark.parametrize(
    ("bound", "anonymous", "host", "status"),
    [
        ("127.0.0.1", "auto", "evil.com:5000", 403),
        ("127.0.0.1", "push", "evil.com:5000", 403),
        ("::1", "auto", "evil.com:5000", 403),
        ("localhost", "auto", "evil.com:5000", 403),
        ("127.0.0.1", "auto", "localhost:5000", 200),
        ("0.0.0.0", "push", "registry.corp.example.com", 200),
    ],
)
async def test_a_page_whose_name_was_led_here(
    store: Store, bound: str, anonymous: str, host: str, status: int
) -> None:
    async with connect(store, host=bound, anonymous=anonymous) as client:
        assert await statuses(client, host, CHROME) == {status}
        assert await statuses(client, host, {"User-Agent": "docker/29.0.2"}) == {200}
        same = {**CHROME, "Host": host, "Origin": f"http://{host}"}
        begun = await client.post("/v2/a/blobs/uploads/", headers=same)
        assert begun.status_code == (202 if status == 200 else 403)


async def test_behind_a_login_any_name_will_do(store: Store) -> None:
    """A proxy in front of 127.0.0.1 passes the public name on; what a page lacks is the login."""
    async with connect(store, anonymous="none") as client:
        assert await statuses(client, "evil.com:5000", CHROME) == {401}
