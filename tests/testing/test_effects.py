"""Every effect, as a client of a live server sees it: in httpx, or on the socket where httpx hides it."""

import asyncio
import dataclasses
import json
import re
import socket
import ssl
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp

from registry.app import build
from registry.server.tls import context
from registry.settings import Settings
from registry.testing.effects import (
    BY_NAME,
    Corrupt,
    Cut,
    Delay,
    Drip,
    Effect,
    ExpiredToken,
    Half,
    RangeRefused,
    Refuse,
    Reset,
    SessionLost,
    WrongDigest,
    WrongLength,
)
from registry.testing.fault_file import MATCH, parse
from registry.testing.faults import Fault, Faults
from registry.testing.profiles import NONE
from registry.testing.targets import NAMES
from registry.testing.wrapping import wrap
from tests.api.world import CONFIG, IMAGE, digest, fill
from tests.builders import blob
from tests.certificates import make_certificate
from tests.inprocess import connect_app, opened
from tests.server.serving import serving

LARGE = blob(300_000, 9)  # more than what is answered from memory
BLOB, MANIFEST = f"/v2/team/app/blobs/{digest(LARGE)}", f"/v2/team/app/manifests/{digest(IMAGE)}"
SECONDS = 20.0
PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
EFFECTS = re.compile(r"<!-- effects.*?-->\n(.*?)<!-- end of effects -->", re.DOTALL)
FAULTS = Faults()  # of the one server; each test has its own


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ASGIApp]:
    with opened(tmp_path_factory.mktemp("effects")) as store:
        app = build(store, Settings(root=store.layout.root, access_log=False))

        async def prepare() -> None:
            async with connect_app(app) as client:
                await fill(client)
                where = {"digest": digest(LARGE)}
                pushed = await client.post("/v2/team/app/blobs/uploads/", params=where, content=LARGE)
                assert pushed.status_code == 201

        asyncio.run(prepare())
        yield wrap(app, NONE, FAULTS)


@pytest.fixture(scope="module")
def address(service: ASGIApp) -> Iterator[tuple[str, int]]:
    with serving(service) as address:
        yield address


@pytest.fixture
def client(address: tuple[str, int]) -> Iterator[httpx.Client]:
    host, port = address
    with httpx.Client(base_url=f"http://{host}:{port}", timeout=SECONDS) as client:
        yield client
    FAULTS.clear()


def fail(effect: Effect, **matching: Any) -> None:
    FAULTS.replace([Fault(effect, **matching)])


def read(pieces: Iterable[bytes], into: bytearray) -> None:
    for piece in pieces:
        into += piece


def drain(client: socket.socket, into: bytearray) -> None:
    while piece := client.recv(65536):
        into += piece


def code_of(response: httpx.Response) -> str:
    return str(response.json()["errors"][0]["code"])


@pytest.mark.parametrize(
    ("effect", "status", "code", "retry_after"),
    [
        (Refuse(429, retry_after=2), 429, "TOOMANYREQUESTS", "2"),
        (Refuse(503), 503, "UNKNOWN", None),
        (Refuse(500, code="INTERNAL"), 500, "INTERNAL", None),
        (Refuse(403), 403, "DENIED", None),
    ],
    ids=str,
)
def test_refused(
    client: httpx.Client, effect: Refuse, status: int, code: str, retry_after: str | None
) -> None:
    fail(effect, nth=1)
    refused, served = client.get(BLOB), client.get(BLOB)
    assert (refused.status_code, code_of(refused)) == (status, code)
    assert refused.headers.get("retry-after") == retry_after
    assert (served.status_code, served.content) == (200, LARGE)


def test_a_large_body_is_refused_before_it_is_read(client: httpx.Client) -> None:
    fail(Refuse(503), route="uploads")
    refused = client.post("/v2/team/app/blobs/uploads/?digest=" + digest(LARGE), content=LARGE)
    assert refused.status_code == 503
    assert client.get("/v2/").status_code == 200


def test_delayed(client: httpx.Client) -> None:
    fail(Delay(0.3), nth=1)
    begun = time.monotonic()
    assert client.get(MANIFEST).content == IMAGE
    assert time.monotonic() - begun >= 0.3


def test_dripping(client: httpx.Client) -> None:
    fail(Drip(rate=1_000_000), nth=1)
    begun = time.monotonic()
    assert client.get(BLOB).content == LARGE
    assert time.monotonic() - begun >= 0.3 * 0.9  # 300 kB at a megabyte a second


def test_dripping_slowly(client: httpx.Client) -> None:
    """A byte at a time is no faster than it was asked for."""
    fail(Drip(rate=8), nth=1)
    begun = time.monotonic()
    with client.stream("GET", MANIFEST) as response:
        pieces = response.iter_raw(1)
        assert b"".join(next(pieces) for _ in range(4)) == IMAGE[:4]
    assert time.monotonic() - begun >= 3 / 8


@pytest.mark.parametrize("after", [1, 1000, len(LARGE) - 1])
def test_cut_in_the_middle(client: httpx.Client, after: int) -> None:
    fail(Cut(after=after), route="blob", nth=1)
    received = bytearray()
    with client.stream("GET", BLOB) as response:
        assert (response.status_code, response.headers["content-length"]) == (200, str(len(LARGE)))
        with pytest.raises(httpx.RemoteProtocolError):
            read(response.iter_raw(), received)
    assert received == LARGE[:after]
    rest = client.get(BLOB, headers={"Range": f"bytes={after}-"})
    assert received + rest.content == LARGE


def test_cut_before_the_head(client: httpx.Client) -> None:
    fail(Cut(), nth=1)
    with pytest.raises(httpx.RemoteProtocolError):
        client.get(BLOB)


def test_what_is_shorter_is_not_cut(client: httpx.Client) -> None:
    fail(Cut(after=len(LARGE)))
    assert client.get(BLOB).content == LARGE
    assert client.get(MANIFEST).content == IMAGE


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize("after", [0, 1000])
def test_reset(address: tuple[str, int], after: int) -> None:
    """A close tells a reader that it is the end; a reset is an error of the connection."""
    fail(Reset(after=after))
    received = bytearray()
    with closing(socket.create_connection(address, SECONDS)) as connection:
        connection.sendall(f"GET {BLOB} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        with pytest.raises(ConnectionResetError):
            drain(connection, received)
    assert received.partition(b"\r\n\r\n")[2] == LARGE[:after]


def test_a_connection_breaks_under_tls_too(service: ASGIApp, tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    server = context(Settings("/", tls_cert=str(certificate.cert), tls_key=str(certificate.key)))
    trust = ssl.create_default_context(cafile=str(certificate.cert))
    with (
        serving(service, tls=server) as (host, port),
        httpx.Client(base_url=f"https://{host}:{port}", verify=trust, timeout=SECONDS) as client,
    ):
        for effect in (Cut(after=1000), Reset(after=1000)):
            fail(effect, nth=1)
            received = bytearray()
            with client.stream("GET", BLOB) as response, pytest.raises(httpx.TransportError):
                read(response.iter_raw(), received)
            assert received == LARGE[:1000]
            assert client.get(BLOB).content == LARGE
    FAULTS.clear()


@pytest.mark.parametrize("effect", [Cut(after=1000, sending=True), Reset(after=1000, sending=True)], ids=str)
def test_an_upload_that_breaks_can_go_on(client: httpx.Client, effect: Effect) -> None:
    data = blob(200_000, 11)
    fail(effect, method="PATCH", nth=1)
    location = client.post("/v2/team/app/blobs/uploads/").headers["location"]
    with pytest.raises(httpx.TransportError):
        client.patch(location, content=data)
    status = client.get(location)
    assert (status.status_code, status.headers["range"]) == (204, "0-999")
    span = {"Content-Range": f"1000-{len(data) - 1}"}
    assert client.patch(location, content=data[1000:], headers=span).status_code == 202
    assert client.put(location, params={"digest": digest(data)}).status_code == 201


def test_a_wrong_digest_is_in_the_head_only(client: httpx.Client) -> None:
    fail(WrongDigest())
    for method, target in (("HEAD", BLOB), ("GET", MANIFEST)):
        answer = client.request(method, target)
        assert answer.headers["docker-content-digest"] == "sha256:" + "0" * 64
    assert answer.content == IMAGE


def test_corrupt_bytes(client: httpx.Client) -> None:
    fail(Corrupt(at=150_000), nth=1)
    spoilt, sound = client.get(BLOB), client.get(BLOB)
    different = [place for place in range(len(LARGE)) if spoilt.content[place] != LARGE[place]]
    assert different == [150_000]
    assert spoilt.headers["docker-content-digest"] == digest(LARGE)
    assert sound.content == LARGE


def test_a_length_that_is_too_small(client: httpx.Client) -> None:
    fail(WrongLength(by=-10))
    assert client.head(BLOB).headers["content-length"] == str(len(LARGE) - 10)
    answer = client.get(BLOB)
    assert (answer.headers["content-length"], answer.content) == (str(len(LARGE) - 10), LARGE[:-10])


def test_a_length_that_is_too_large(client: httpx.Client) -> None:
    fail(WrongLength(by=10))
    assert client.head(BLOB).headers["content-length"] == str(len(LARGE) + 10)
    received = bytearray()
    with client.stream("GET", BLOB) as response:
        assert response.headers["content-length"] == str(len(LARGE) + 10)
        with pytest.raises(httpx.RemoteProtocolError):
            read(response.iter_raw(), received)
    assert received == LARGE


def test_half_a_manifest(client: httpx.Client) -> None:
    fail(Half(), route="manifest")
    answer = client.get(MANIFEST)
    assert answer.content == IMAGE[: len(IMAGE) // 2]
    with pytest.raises(json.JSONDecodeError):
        answer.json()


ZEROS = f"sha256:{'0' * 64}"


@pytest.mark.parametrize(
    ("method", "path", "words"),
    [
        ("GET", MANIFEST, "pull"),
        ("HEAD", MANIFEST, "pull"),
        ("PUT", MANIFEST, "pull,push"),
        ("DELETE", MANIFEST, "delete"),
        ("GET", f"/v2/team/app/blobs/{ZEROS}", "pull"),
        ("HEAD", f"/v2/team/app/blobs/{ZEROS}", "pull,push"),
        ("DELETE", f"/v2/team/app/blobs/{ZEROS}", "delete"),
        ("POST", "/v2/team/app/blobs/uploads/", "pull,push"),
        *(
            (method, "/v2/team/app/blobs/uploads/1", "pull,push")
            for method in ("GET", "HEAD", "PUT", "DELETE")
        ),
        ("GET", "/v2/team/app/tags/list", "pull"),
    ],
)
def test_an_expired_token(client: httpx.Client, method: str, path: str, words: str) -> None:
    fail(ExpiredToken(), nth=1)
    refused = client.request(method, path, headers={"Authorization": "Bearer old"})
    challenge = refused.headers["www-authenticate"]
    realm = f'Bearer realm="{client.base_url}/token"'.replace("//token", "/token")
    assert refused.status_code == 401
    assert method == "HEAD" or code_of(refused) == "UNAUTHORIZED"
    assert challenge.startswith(realm)
    assert f'scope="repository:team/app:{words}"' in challenge
    assert 'error="invalid_token"' in challenge
    assert client.get("/token", params={"service": "oci-registry"}).json()["token"]


def test_a_chunk_out_of_step(client: httpx.Client) -> None:
    fail(RangeRefused(), method="PATCH", nth=2)
    location = client.post("/v2/team/app/blobs/uploads/").headers["location"]
    assert client.patch(location, content=b"0123").status_code == 202
    refused = client.patch(location, content=b"4567", headers={"Content-Range": "4-7"})
    assert (refused.status_code, code_of(refused)) == (416, "BLOB_UPLOAD_INVALID")
    assert (refused.headers["range"], refused.headers["location"]) == ("0-3", location)
    span = {"Content-Range": "4-7"}
    assert client.patch(location, content=b"4567", headers=span).headers["range"] == "0-7"


def test_a_session_that_is_lost(client: httpx.Client) -> None:
    fail(SessionLost(), method=("PATCH", "PUT"), nth=2)
    location = client.post("/v2/team/app/blobs/uploads/").headers["location"]
    assert client.patch(location, content=b"0123").status_code == 202
    lost = client.patch(location, content=b"4567")
    assert (lost.status_code, code_of(lost)) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert client.get(location).status_code == 404


@pytest.mark.parametrize("effect", [SessionLost(), RangeRefused()], ids=str)
def test_what_is_no_upload_has_no_session_to_lose(client: httpx.Client, effect: Effect) -> None:
    """Least of all is it deleted for that."""
    FAULTS.fired.clear()
    fail(effect)
    for target in (MANIFEST, BLOB, "/v2/team/app/manifests/latest"):
        for _ in range(2):
            assert client.get(target).status_code == 200
    assert FAULTS.fired == []


def test_several_faults_happen_to_one_request(client: httpx.Client) -> None:
    FAULTS.replace([Fault(Delay(0.2)), Fault(Refuse(502))])
    begun = time.monotonic()
    assert client.get(MANIFEST).status_code == 502
    assert time.monotonic() - begun >= 0.2


def test_faults_change_while_it_serves(client: httpx.Client) -> None:
    assert client.get(MANIFEST).status_code == 200
    FAULTS.add(Fault(Refuse(500)))
    assert client.get(MANIFEST).status_code == 500
    FAULTS.clear()
    assert client.get(MANIFEST).content == IMAGE
    assert (FAULTS.fired[-1].method, FAULTS.fired[-1].path) == ("GET", MANIFEST)


def test_without_our_server_a_break_is_an_error(service: ASGIApp) -> None:
    async def ask() -> None:
        async with connect_app(service) as client:
            fail(Reset(after=3))
            await client.get(f"/v2/team/app/blobs/{digest(CONFIG)}")

    with pytest.raises(ConnectionResetError):
        asyncio.run(ask())
    FAULTS.clear()


def test_the_page_has_every_effect_and_route() -> None:
    text = PAGE.read_text()
    found = EFFECTS.search(text)
    assert found
    rows = [re.findall(r"`(\w+)`(?: = (\S+?))?(?=[,; ]|$)", row) for row in found[1].splitlines()[2:]]
    keys = [line.split("|")[2] for line in found[1].splitlines()[2:]]
    for row, cell in zip(rows, keys, strict=True):
        effect = BY_NAME[row[0][0]]
        told = re.findall(r"`(\w+)`(?: = ([^,\s]+))?", cell)
        assert [name for name, _ in told] == [each.name for each in dataclasses.fields(effect)]
        for (_, default), each in zip(told, dataclasses.fields(effect), strict=True):
            assert default in ("", str(each.default).lower())
    assert [row[0][0] for row in rows] == list(BY_NAME)
    assert ", ".join(f"`{name}`" for name in NAMES) in text
    assert {f"`{name}`" for name in MATCH} <= set(re.findall(r"^\| (`\w+`) \|", text, re.MULTILINE))


def test_the_faults_of_the_page_can_be_read() -> None:
    toml = re.search(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert toml
    assert [type(fault.effect) for fault in parse(toml[1])] == [Cut, Refuse, Delay]


def test_the_python_of_the_page_runs(service: ASGIApp) -> None:
    python = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert python
    names: dict[str, Any] = {"app": service}
    exec(python[1], names)
    assert len(names["faults"].faults) == 2


def test_each_effect_has_a_name() -> None:
    def below(kind: type[Any]) -> set[type[Any]]:
        found = set(kind.__subclasses__())
        return found | {each for sub in found for each in below(sub)}

    named = {each.__name__ for each in below(Effect) if not each.__name__.startswith("_")}
    assert named == {each.__name__ for each in BY_NAME.values()}
