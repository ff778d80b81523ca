"""Who is refused before HTTP begins learns why, and is let go in time; who is not has a name."""

import contextlib
import http.client
import logging
import os
import select
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Router

from registry.server import loop
from registry.server.handshakes import Context, Entrance
from registry.server.renewal import Watch
from registry.server.seldom import Seldom
from registry.server.serve import server_config
from registry.server.tls import context
from registry.settings import Settings
from tests.certificates import Certificate, make_authority, make_certificate, sign
from tests.server.serving import (
    SECONDS,
    await_descriptors,
    connected,
    get,
    open_descriptors,
    read_answer,
    serving,
)

pytestmark = pytest.mark.usefixtures("each_loop")

VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
BODY = bytes(8 * 2**20)


@dataclass(frozen=True, slots=True)
class Made:
    server: Certificate
    authority: Certificate
    build: Certificate
    stranger: Certificate  # of an authority that nobody knows
    website: Certificate  # for servers only


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("tls")
    authority, other = make_authority(folder), make_authority(folder, "other")
    return Made(
        make_certificate(folder),
        authority,
        sign(authority, "build"),
        sign(other, "stranger"),
        sign(authority, "website", extensions=("extendedKeyUsage=serverAuth",)),
    )


def server_context(made: Made, auth: str = "") -> Context:
    authorities = str(made.authority.cert) if auth else ""
    server = context(
        Settings(
            root="/",
            tls_cert=str(made.server.cert),
            tls_key=str(made.server.key),
            tls_client_ca=authorities,
            tls_client_auth=auth,
        )
    )
    assert server
    return server


def client_context(made: Made, shows: Certificate | None = None) -> ssl.SSLContext:
    client = ssl.create_default_context(cafile=str(made.server.cert))
    if shows:
        client.load_cert_chain(shows.cert, shows.key)
    return client


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the name that the scope has."""
    body = scope["extensions"].get("tls", {}).get("client_cert_name", "nobody").encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Prompt:
    """Answers with the name that it is told."""

    def find(
        self, method: bytes, target: bytes, headers: object, client: object, certificate: str
    ) -> bytes | None:
        body = b"prompt " + certificate.encode()
        return b"content-length: %d\r\n\r\n%b" % (len(body), body)


@contextlib.contextmanager
def opened(address: tuple[str, int], client: ssl.SSLContext, session: Any = None) -> Iterator[ssl.SSLSocket]:
    with (
        connected(address) as plain,
        client.wrap_socket(plain, server_hostname="localhost", session=session) as stream,
    ):
        yield stream


def ask(stream: socket.socket) -> bytes:
    stream.sendall(get())
    with stream.makefile("rb") as file:
        return read_answer(file)[1]


PLAIN = {
    "GET": [get("GET", "/v2/?secret=1", "User-Agent: docker/28")],
    "DELETE": [get("DELETE")],
    "byte by byte": [bytes([byte]) for byte in get()],
    "with a body": [get("PUT", "/", f"Content-Length: {2**19}"), bytes(2**19)],
}


@pytest.mark.parametrize("pieces", PLAIN.values(), ids=PLAIN)
def test_plain_http_is_told_to_use_https(
    made: Made, pieces: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "registry")
    with serving(app, tls=server_context(made)) as address:
        with connected(address) as client:
            for piece in pieces:
                client.sendall(piece)
            answer = http.client.HTTPResponse(client)
            answer.begin()
            assert answer.status == 400
            assert b"use https://" in answer.read()
            assert answer.headers["connection"] == "close"
        with opened(address, client_context(made)) as stream:
            assert ask(stream) == b"nobody"
    [line] = [record.getMessage() for record in caplog.records if record.name == "registry"]
    assert "plain HTTP on the HTTPS port" in line
    assert "secret" not in line


def test_plain_http_without_end_is_given_up(made: Made) -> None:
    with serving(app, tls=server_context(made)) as address, connected(address) as client:
        client.sendall(get("PUT", "/"))
        with pytest.raises(ConnectionError):
            client.sendall(BODY * 16)


def test_the_log_says_who_spoke_plain_http(made: Made, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "registry")
    hostile = get("GET", "/v2/\x1b[2J", "User-Agent: docker/28\x1b")
    with serving(app, tls=server_context(made)) as address:
        for _ in range(3):
            with connected(address) as client:
                client.sendall(hostile)
                assert client.recv(2**16)
    [line] = [record.getMessage() for record in caplog.records if record.name == "registry"]
    assert r"'GET /v2/\x1b[2J' by 'docker/28\x1b'" in line


@pytest.mark.parametrize("pieces", [[], [b"\x16"], [get(), get()]])
def test_a_handshake_has_its_time(made: Made, pieces: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "HANDSHAKE_SECONDS", 0.3)
    with serving(app, tls=server_context(made)) as address:
        begun = time.monotonic()
        with connected(address) as client:
            for piece in pieces:
                client.sendall(piece)
            with contextlib.suppress(ConnectionResetError):
                while client.recv(2**16):
                    continue
        assert 0.2 < time.monotonic() - begun < SECONDS / 4


def test_silent_ones_are_counted_and_too_many_closed(
    made: Made, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Who has come in already is served on, and so is who comes when they are gone."""
    caplog.set_level(logging.INFO, "registry")
    monkeypatch.setattr(loop, "HANDSHAKE_SECONDS", 2.0)
    server = server_context(made)
    server.entrance = Entrance(3, 3.0)
    with serving(app, tls=server) as address, opened(address, client_context(made)) as stream:
        assert ask(stream) == b"nobody"
        with contextlib.ExitStack() as stack:
            silent = [stack.enter_context(connected(address)) for _ in range(3)]
            with pytest.raises(OSError), opened(address, client_context(made)):  # a reset, or an end
                pass
            assert select.select(silent, [], [], 0)[0] == []  # and they are still let try
            assert ask(stream) == b"nobody"
            silent.pop().close()
            for each in silent:
                assert each.recv(1) == b""
            deadline = time.monotonic() + SECONDS
            while server.entrance.inside and time.monotonic() < deadline:
                time.sleep(0.02)
            with opened(address, client_context(made)) as another:
                assert ask(another) == b"nobody"
                assert server.entrance.inside == 0
    [line] = [record.getMessage() for record in caplog.records if record.name == "registry"]
    assert line.startswith("3 connections of this process have not ended")


@pytest.mark.parametrize("tls", [True, False])
def test_a_server_has_ten_seconds(made: Made, tls: bool) -> None:
    """Without TLS the loop would refuse to be told."""
    cert, key = (str(made.server.cert), str(made.server.key)) if tls else ("", "")
    settings = Settings(root="/", tls_cert=cert, tls_key=key)
    make = server_config(partial(Router), settings).get_loop_factory()
    assert make
    made_loop = make()
    told = vars(made_loop).get("create_server", partial(print)).keywords
    made_loop.close()
    assert told == ({"ssl_handshake_timeout": 10.0, "ssl_shutdown_timeout": 3.0} if tls else {})


def test_who_does_not_answer_a_close_keeps_no_descriptor(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "FAREWELL_SECONDS", 0.3)
    with (
        serving(app, tls=server_context(made), keep_alive=1) as address,
        opened(address, client_context(made)) as stream,
    ):
        assert ask(stream) == b"nobody"
        await_descriptors(open_descriptors() - 1)


async def large(scope: Any, receive: Any, send: Any) -> None:
    headers = [(b"content-length", str(len(BODY)).encode()), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})


def test_a_slow_client_has_its_time_for_the_rest(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than the kernel takes, by a connection that ends with it."""
    monkeypatch.setattr(loop, "FAREWELL_SECONDS", 0.3)
    with (
        serving(large, tls=server_context(made)) as address,
        connected(address, receive_buffer=4096) as plain,
        client_context(made).wrap_socket(plain, server_hostname="localhost") as stream,
    ):
        stream.sendall(get())
        time.sleep(1.0)
        with stream.makefile("rb") as file:
            assert read_answer(file)[1] == BODY


REFUSED = {
    "none": (None, "certificate required|handshake failure", "without a certificate"),
    "stranger": ("stranger", "unknown ca", "unable to get local issuer"),
    "website": ("website", "unsupported certificate", "unsuitable certificate purpose"),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("shows", "told", "logged"), REFUSED.values(), ids=REFUSED)
def test_a_certificate_that_will_not_do(
    made: Made,
    shows: str | None,
    told: str,
    logged: str,
    version: ssl.TLSVersion,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "registry")
    client = client_context(made, getattr(made, shows) if shows else None)
    client.maximum_version = version
    with serving(app, tls=server_context(made, "required")) as address:
        with pytest.raises(ssl.SSLError, match=f"(?i){told}"), opened(address, client) as stream:
            ask(stream)
        with opened(address, client_context(made, made.build)) as stream:
            assert ask(stream) == b"build"
    assert logged in caplog.text


@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_that_does_not_trust_the_server(
    made: Made, version: ssl.TLSVersion, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "registry")
    client = ssl.create_default_context(cafile=str(made.authority.cert))
    client.maximum_version = version
    with serving(app, tls=server_context(made)) as address:
        with pytest.raises(ssl.SSLCertVerificationError), opened(address, client):
            pass
        with opened(address, client_context(made)) as stream:
            assert ask(stream) == b"nobody"
    assert "a client refused this server's certificate (TLSV1_ALERT_UNKNOWN_CA)" in caplog.text


@pytest.mark.parametrize(
    ("auth", "shows", "name"),
    [("optional", "", b"nobody"), ("optional", "build", b"build"), ("", "build", b"nobody")],
)
def test_the_name_reaches_the_app(made: Made, auth: str, shows: str, name: bytes) -> None:
    client = client_context(made, made.build if shows else None)
    with serving(app, tls=server_context(made, auth)) as address, opened(address, client) as stream:
        assert [ask(stream), ask(stream)] == [name, name]


@pytest.mark.parametrize("prompt", [None, Prompt()])
def test_a_certificate_ends_on_an_open_connection_too(
    made: Made, prompt: Prompt | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        serving(app, tls=server_context(made, "optional"), prompt=prompt) as address,
        opened(address, client_context(made, made.build)) as stream,
        opened(address, client_context(made)) as anonymous,
    ):
        assert ask(stream).endswith(b"build")
        in_three_days = time.time() + 3 * 86400
        monkeypatch.setattr(time, "time", lambda: in_three_days)
        assert b"connect again" in ask(stream)
        assert stream.recv(1) == b""
        assert b"connect again" not in ask(anonymous)


def test_so_does_what_a_replaced_authority_has_signed(made: Made, tmp_path: Path) -> None:
    """And not what the same authority has signed, when only the server's certificate is another."""
    authorities = tmp_path / "clients.pem"
    authorities.write_bytes(made.authority.cert.read_bytes())
    cert, key = str(made.server.cert), str(made.server.key)
    settings = Settings(root="/", tls_cert=cert, tls_key=key, tls_client_ca=str(authorities))
    watch = Watch(settings, Seldom())

    def change(content: bytes) -> None:
        authorities.write_bytes(content)
        watch.look()
        watch.look()

    with (
        serving(app, tls=watch.renewed) as address,
        opened(address, client_context(made, made.build)) as stream,
        opened(address, client_context(made)) as anonymous,
    ):
        before = watch.renewed.current
        os.utime(authorities, (1, 1))
        change(made.authority.cert.read_bytes())
        assert watch.renewed.current is not before
        assert ask(stream) == b"build"
        change(make_authority(tmp_path, "another").cert.read_bytes())
        assert b"connect again" in ask(stream)
        assert ask(anonymous) == b"nobody"


def test_optional_is_no_leave_for_strangers(made: Made) -> None:
    with (
        serving(app, tls=server_context(made, "optional")) as address,
        pytest.raises(ssl.SSLError, match=r"(?i)unknown ca"),
        opened(address, client_context(made, made.stranger)) as stream,
    ):
        ask(stream)


def test_the_name_reaches_the_prompt_path(made: Made) -> None:
    tls = server_context(made, "optional")
    with serving(app, tls=tls, prompt=Prompt()) as address:
        for shows, body in ((made.build, b"prompt build"), (None, b"prompt ")):
            with opened(address, client_context(made, shows)) as stream:
                assert ask(stream) == body


@pytest.mark.parametrize("version", VERSIONS)
def test_a_resumed_session_keeps_the_name(made: Made, version: ssl.TLSVersion) -> None:
    client = client_context(made, made.build)
    client.maximum_version = version
    with serving(app, tls=server_context(made, "required")) as address:
        with opened(address, client) as stream:
            assert ask(stream) == b"build"
            session = stream.session
        with opened(address, client, session) as stream:
            assert stream.session_reused
            assert ask(stream) == b"build"


def test_tls_on_a_plain_port_is_answered_in_http(caplog: pytest.LogCaptureFixture) -> None:
    """Go's clients look for HTTP/ in place of a record: they say so, and some go on in plain HTTP."""
    caplog.set_level(logging.INFO, "registry")
    hello = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), hello, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    with serving(app) as address:
        for _ in range(2):
            with connected(address) as plain:
                plain.sendall(hello.read() or b"\x16\x03\x01")
                answer = b"".join(iter(lambda: plain.recv(2**16), b""))
                assert answer.startswith(b"HTTP/1.1 400 ")
                assert b"use http://" in answer
    [line] = [record.getMessage() for record in caplog.records]
    assert "TLS on the plain HTTP port by 127.0.0.1" in line
