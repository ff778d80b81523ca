"""HTTPS by real servers of one and two workers: the same bytes as over HTTP; what is said at the start."""

import http.client
import shutil
import socket
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
from tests.certificates import Certificate, make_authority, make_certificate, sign
from tests.live.servers import PROJECT, Live, running
from tests.live.test_start import attempt, require_refusal
from tests.live.wire import Answer

RENEWAL_SECONDS = 15.0  # a loaded machine's; two looks at the files, a second apart, are what it takes
SURELY_BOTH = 20  # connections, each of which may come to either worker
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
    assert f"http://{live.host}/readyz answers 400" in plain.stderr


def test_plain_http_is_answered_and_does_no_harm(live: Live, connection: http.client.HTTPSConnection) -> None:
    plain = http.client.HTTPConnection(live.host, timeout=30)
    plain.request("GET", "/v2/")
    answer = plain.getresponse()
    assert (answer.status, b"use https://" in answer.read()) == (400, True)
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


def served(host: str) -> bytes:
    """Of the certificate that a new connection is given."""
    name, _, port = host.partition(":")
    with (
        socket.create_connection((name, int(port)), timeout=30) as plain,
        ssl._create_unverified_context().wrap_socket(plain) as stream,
    ):
        return stream.getpeercert(binary_form=True) or b""


def test_a_renewed_certificate_is_taken_by_every_worker(tmp_path: Path) -> None:
    """And what is open stays open."""
    used = make_certificate(tmp_path)
    (tmp_path / "new").mkdir()
    renewed = make_certificate(tmp_path / "new")
    with running(tmp_path / "root", "--workers", "2", *used.flags) as server:
        before = served(server.host)
        trusting = ssl.create_default_context(cafile=str(used.cert))
        client = http.client.HTTPSConnection(server.host, timeout=30, context=trusting)
        assert ask(client, "GET", "/v2/").status == 200
        stays = client.sock
        shutil.copyfile(renewed.cert, used.cert)
        shutil.copyfile(renewed.key, used.key)
        deadline = time.monotonic() + RENEWAL_SECONDS
        while before in [served(server.host) for _ in range(SURELY_BOTH)]:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert ask(client, "GET", "/v2/").status == 200
        assert client.sock is stays
        client.close()
        # Once for each worker, but for one that was not up yet when the files changed: it began with them.
        assert 1 <= server.said().count("new connections get the certificate") <= 2


def test_a_certificate_of_its_own(tmp_path: Path) -> None:
    """The same after a restart, trusted by the file that the start names."""
    root = tmp_path / "root"
    told = []
    for _ in range(2):
        with running(root, "--workers", "2", "--tls-self-signed", "--tls-names", "registry.lan") as server:
            trusting = ssl.create_default_context(cafile=str(root / "secrets" / "tls-ca.crt"))
            client = http.client.HTTPSConnection(server.host, timeout=30, context=trusting)
            assert ask(client, "GET", "/v2/").status == 200
            client.close()
            assert health(server, "--tls-self-signed").stdout == "ready\n"
            assert f"/etc/docker/certs.d/{server.host}/ca.crt" in server.said()
            told.append([line for line in server.said().splitlines() if "SHA-256" in line])
    assert told[0] == told[1]
    assert len(told[0]) == 1


def test_a_start_that_fails_leaves_the_authority_of_another(tmp_path: Path) -> None:
    root = tmp_path / "root"
    authority = root / "secrets" / "tls-ca.crt"
    with running(root, "--tls-self-signed") as server:
        before = authority.read_bytes()
        flags = ["--root", str(root), "--port", server.host.partition(":")[2]]
        found = attempt(*flags, "--tls-self-signed", "--tls-names", "registry.lan")
        require_refusal(found, "cannot listen")
        assert authority.read_bytes() == before


def test_a_bad_authority_of_clients_ends_the_start_before_a_certificate_is_made(tmp_path: Path) -> None:
    root, bad = tmp_path / "root", tmp_path / "bad.pem"
    bad.write_text("nonsense")
    flags = ["--root", str(root), "--port", "0", "--tls-self-signed", "--tls-client-ca", str(bad)]
    require_refusal(attempt(*flags), f"tls_client_ca = {bad} holds no certificate")
    assert not root.exists()


def test_clients_are_known_by_their_certificates(tmp_path: Path) -> None:
    used, authority = make_certificate(tmp_path), make_authority(tmp_path)
    build = sign(authority, "build")
    flags = ["--tls-client-ca", str(authority.cert), "--tls-client-auth", "required"]
    trusting = ssl.create_default_context(cafile=str(used.cert))
    trusting.load_cert_chain(build.cert, build.key)
    with running(tmp_path / "root", *used.flags, *flags) as server:
        client = http.client.HTTPSConnection(server.host, timeout=30, context=trusting)
        for _ in range(2):  # the second answer is given again, without the app
            assert ask(client, "GET", "/v2/").status == 200
        client.close()
        assert health(server, *used.flags[:2]).stdout == "ready\n"
        stranger = ssl.create_default_context(cafile=str(used.cert))
        client = http.client.HTTPSConnection(server.host, timeout=30, context=stranger)
        with pytest.raises(ssl.SSLError, match="certificate required"):
            ask(client, "GET", "/v2/")
        client.close()
    assert server.said().count('"who": "cert:build"') == 2


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
