"""HTTPS by real servers of one and two workers: the same bytes as over HTTP; what is said at the start."""

import http.client
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from storage.digest import Digest
from tests.builders import blob
from tests.certificates import Certificate, make_certificate
from tests.live.servers import PROJECT, Live, running
from tests.live.test_start import attempt, require_refusal
from tests.live.wire import Answer

STOP_SECONDS = 10.0  # a third of what a transport would wait by itself
DATA = blob(5 * 2**20 + 3, 1)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module", params=["1", "2"], ids=["1 worker", "2 workers"])
def live(
    request: pytest.FixtureRequest, certificate: Certificate, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Live]:
    root = tmp_path_factory.mktemp("live") / "root"
    with running(root, "--workers", request.param, *certificate.flags) as server:
        yield server


@pytest.fixture
def connection(live: Live, certificate: Certificate) -> Iterator[http.client.HTTPSConnection]:
    """Verifies the certificate and the name in it."""
    trusting = ssl.create_default_context(cafile=str(certificate.cert))
    client = http.client.HTTPSConnection(live.host, timeout=30, context=trusting)
    yield client
    client.close()


def ask(
    connection: http.client.HTTPSConnection,
    method: str,
    target: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    connection.request(method, target, body, dict(headers or {}))
    answer = connection.getresponse()
    found = {name.lower(): value for name, value in answer.getheaders()}
    return Answer(answer.status, found, answer.read())


def test_what_is_pushed_is_pulled(connection: http.client.HTTPSConnection) -> None:
    """All on one connection: a push in pieces, the whole, a part, several parts, and what comes after."""
    digest = Digest.of(DATA)
    assert ask(connection, "GET", "/v2/").status == 200
    session = ask(connection, "POST", "/v2/a/blobs/uploads/").headers["location"]
    half = len(DATA) // 2
    session = ask(connection, "PATCH", session, DATA[:half]).headers["location"]
    assert ask(connection, "PUT", f"{session}?digest={digest}", DATA[half:]).status == 201

    whole = ask(connection, "GET", f"/v2/a/blobs/{digest}")
    assert (whole.status, whole.body == DATA) == (200, True)
    start, end = 2**20 - 1, 3 * 2**20
    part = ask(connection, "GET", f"/v2/a/blobs/{digest}", headers={"Range": f"bytes={start}-{end}"})
    assert (part.status, part.body == DATA[start : end + 1]) == (206, True)
    parts = ask(connection, "GET", f"/v2/a/blobs/{digest}", headers={"Range": "bytes=0-9,300000-300009"})
    assert parts.status == 206
    assert DATA[:10] in parts.body
    assert DATA[300_000:300_010] in parts.body
    assert ask(connection, "GET", "/v2/a/blobs/sha256:" + "0" * 64).status == 404
    assert ask(connection, "DELETE", f"/v2/a/blobs/{digest}").status == 202


def test_the_greeting_has_the_scheme(live: Live) -> None:
    assert live.said().splitlines()[0].endswith(f"listens on https://{live.host}")


def health(live: Live, *flags: str) -> subprocess.CompletedProcess[str]:
    port = live.host.partition(":")[2]
    command = [sys.executable, "-m", "registry", "health", "--port", port, *flags]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=30, check=False)


def test_health(live: Live, certificate: Certificate) -> None:
    found = health(live, "--tls-cert", str(certificate.cert))
    assert (found.returncode, found.stdout) == (0, "ready\n"), found
    plain = health(live)
    assert plain.returncode == 1
    assert f"http://{live.host}/readyz does not answer" in plain.stderr


def test_plain_http_is_let_go_and_does_no_harm(live: Live, connection: http.client.HTTPSConnection) -> None:
    plain = http.client.HTTPConnection(live.host, timeout=30)
    plain.request("GET", "/v2/")
    with pytest.raises((http.client.BadStatusLine, ConnectionError)):
        plain.getresponse()
    plain.close()
    assert ask(connection, "GET", "/v2/").status == 200
    assert "Traceback" not in live.said()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_idle_client_does_not_hold_up_a_stop(
    tmp_path: Path, certificate: Certificate, workers: str
) -> None:
    """It never answers the server's farewell, as a pool that looks at a connection only when it takes it."""
    with running(tmp_path / "root", "--workers", workers, *certificate.flags) as server:
        trusting = ssl.create_default_context(cafile=str(certificate.cert))
        client = http.client.HTTPSConnection(server.host, timeout=30, context=trusting)
        assert ask(client, "GET", "/v2/").status == 200
        begun = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - begun < STOP_SECONDS
        client.close()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_wrong_pair_ends_the_start(tmp_path: Path, certificate: Certificate, workers: str) -> None:
    root = tmp_path / "root"
    other = replace(certificate, key=make_certificate(tmp_path).key)
    flags = ["--root", str(root), "--port", "0", "--workers", workers]
    require_refusal(attempt(*flags, *other.flags), f"tls_key = {other.key} is not the key", "together")
    require_refusal(attempt(*flags, *certificate.flags[:2]), "give --tls-key FILE too")
    require_refusal(attempt(*flags, *certificate.flags[2:]), "give --tls-cert FILE too")
    absent = replace(certificate, cert=tmp_path / "none.pem")
    require_refusal(attempt(*flags, *absent.flags), "none.pem cannot be read: No such file")
    assert not root.exists()
