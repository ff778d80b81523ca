"""The HTTP edge as it comes over the wire: framing, connections, refusals, hostile hosts."""

import json
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.digest import Digest
from tests.builders import OCI_IMAGE, blob, descriptor, image
from tests.live.servers import Live, running
from tests.live.stories import append, begin, finish, offset, push_blob, push_image, push_manifest
from tests.live.wire import Wire, chunked, head, once, wire

MIB = 2**20
KIB = 2**10
DATA = blob(100_000, 1)
BLOB = f"/v2/edge/blobs/{Digest.of(DATA)}"
CANARY = head("DELETE", "/v2/edge/manifests/canary")


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with running(tmp_path_factory.mktemp("edge") / "root") as server:
        push_image(server.host, "edge", "latest", DATA)
        push_image(server.host, "edge", "other", DATA)
        yield server


# -- connections -----------------------------------------------------------------------------------------


def test_a_connection_serves_many_requests(live: Live) -> None:
    with wire(live.host) as connection:
        for _ in range(3):
            assert connection.request("GET", "/v2/").status == 200
            assert connection.request("HEAD", BLOB).headers["content-length"] == str(len(DATA))
            assert connection.request("GET", BLOB).body == DATA
            assert connection.request("GET", "/v2/edge/manifests/absent").status == 404
            session = connection.request("POST", "/v2/edge/blobs/uploads/").headers["location"]
            assert connection.request("PATCH", session, DATA).status == 202
            assert connection.request("GET", session).status == 204
            assert connection.request("PUT", f"{session}?digest={Digest.of(DATA)}").status == 201
        assert not connection.request("GET", "/v2/").closing


def test_pipelined_requests_are_answered_in_order(live: Live) -> None:
    """Large and small answers, and a body in between."""
    session = begin(live.host, "edge")
    with wire(live.host) as connection:
        connection.send(
            head("GET", BLOB)
            + head("HEAD", BLOB)
            + head("PATCH", session, {"Content-Length": "5"})
            + b"12345"
            + head("PATCH", session, {"Transfer-Encoding": "chunked"})
            + chunked(b"678")
            + b"0\r\n\r\n"
            + head("GET", "/v2/nowhere/tags/list")
            + head("GET", "/v2/", {"Connection": "close"})
        )
        assert connection.answer().body == DATA
        assert connection.answer("HEAD").headers["content-length"] == str(len(DATA))
        assert connection.answer().headers["range"] == "0-4"
        assert connection.answer().headers["range"] == "0-7"
        assert connection.answer().status == 404
        last = connection.answer()
        assert (last.status, last.closing, connection.at_end()) == (200, True, True)
    assert finish(live.host, session, b"12345678").status == 201


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/v2/", 200),
        (BLOB, 200),
        ("/v2/edge/manifests/latest", 200),
        ("/v2/edge/manifests/absent", 404),
        ("/x", 404),
    ],
)
def test_head_has_the_headers_of_get_and_no_body(live: Live, target: str, status: int) -> None:
    with wire(live.host) as connection:
        got = connection.request("GET", target)
        asked = connection.request("HEAD", target)
        assert (got.status, asked.status) == (status, status)
        varying = {"date", "x-request-id"}
        assert {k: v for k, v in asked.headers.items() if k not in varying} == {
            k: v for k, v in got.headers.items() if k not in varying
        }
        assert connection.request("GET", "/v2/").status == 200  # nothing of a body was left in between


def test_http_1_0_closes(live: Live) -> None:
    with wire(live.host) as connection:
        connection.send(b"GET /v2/ HTTP/1.0\r\n\r\n")
        answer = connection.answer()
        assert (answer.status, answer.closing, connection.at_end()) == (200, True, True)


# -- Expect: 100-continue --------------------------------------------------------------------------------

CONTINUE = {"Expect": "100-continue"}


def test_an_accepted_upload_is_told_to_go_on(live: Live) -> None:
    session = begin(live.host, "edge")
    with wire(live.host) as connection:
        connection.send_head("PATCH", session, {"Content-Length": "3", **CONTINUE})
        assert connection.answer_head()[0] == 100
        connection.send(b"abc")
        answer = connection.answer()
        assert (answer.status, answer.closing) == (202, False)
        assert connection.request("GET", session).headers["range"] == "0-2"


UUID = "6f7a2d3e-0d1c-4b7a-9a51-2f1e5d0c4b3a"
LARGE = str(5 * MIB)
REFUSED = {
    "unknown session": ("PATCH", f"/v2/edge/blobs/uploads/{UUID}", LARGE, 404),
    "closing an unknown session": (
        "PUT",
        f"/v2/edge/blobs/uploads/{UUID}?digest={Digest.of(b'')}",
        LARGE,
        404,
    ),
    "bad name": ("POST", "/v2/EDGE/blobs/uploads/", LARGE, 400),
    "bad digest": ("POST", "/v2/edge/blobs/uploads/?digest=sha256:zz", LARGE, 400),
    "manifest too large": ("PUT", "/v2/edge/manifests/large", LARGE, 413),
    "no such route": ("POST", "/v2/edge/uploads", LARGE, 404),
    "no such method": ("POST", "/v2/edge/tags/list", LARGE, 405),
}
refused = pytest.mark.parametrize(("method", "target", "length", "status"), REFUSED.values(), ids=REFUSED)


@refused
def test_a_refused_upload_is_answered_without_a_100(
    live: Live, method: str, target: str, length: str, status: int
) -> None:
    took = []
    for _ in range(3):
        with wire(live.host) as connection:
            began = time.monotonic()
            connection.send_head(method, target, {"Content-Length": length, **CONTINUE})
            answer = connection.answer()
            assert (answer.status, answer.closing, connection.at_end()) == (status, True, True)
            took.append(time.monotonic() - began)
            assert json.loads(answer.body)["errors"][0]["code"]
    assert min(took) < 1, took  # nobody waits for a body that is held back


# -- bodies of refused requests --------------------------------------------------------------------------


@refused
def test_a_small_body_of_a_refused_request_is_read_and_the_connection_goes_on(
    live: Live, method: str, target: str, length: str, status: int
) -> None:
    body = b"x" * (int(length) if status == 413 else 200 * KIB)
    with wire(live.host) as connection:
        sender = sending(connection, head(method, target, {"Content-Length": str(len(body))}) + body)
        answer = connection.answer()
        sender.join(10)
        assert answer.status == status
        if len(body) > MIB:
            assert answer.closing
        else:
            assert not answer.closing
            assert connection.request("GET", "/v2/").status == 200


@refused
def test_a_large_body_of_a_refused_request_is_not_swallowed(
    live: Live, method: str, target: str, length: str, status: int
) -> None:
    """The client reads its answer, though it is still sending; then the connection ends."""
    del length
    before = bytes_read(live.pid)
    with wire(live.host) as connection:
        began = time.monotonic()
        first = head(method, target, {"Content-Length": str(256 * MIB)})
        sender = sending(connection, first, *[bytes(64 * KIB)] * (256 * 16))
        answer = connection.answer()
        assert (answer.status, answer.closing) == (status, True)
        assert connection.at_end()
        assert time.monotonic() - began < 20
        sender.join(10)
        assert not sender.is_alive()
    assert bytes_read(live.pid) - before < 20 * MIB


@refused
def test_a_client_that_sends_all_before_it_reads_gets_its_answer_too(
    live: Live, method: str, target: str, length: str, status: int
) -> None:
    """A close while its bytes came in would reset the connection, and take the answer away."""
    del length
    with wire(live.host) as connection:
        connection.send(head(method, target, {"Content-Length": str(8 * MIB)}))
        for _ in range(8):
            connection.send(bytes(MIB))
        answer = connection.answer()
        assert (answer.status, answer.closing) == (status, True)
        assert connection.at_end()


def bytes_read(pid: int) -> int:
    """By the whole process, from sockets and files; 0 where the system does not tell."""
    try:
        told = Path(f"/proc/{pid}/io").read_text()
    except FileNotFoundError:
        return 0
    return int(told.split("rchar: ")[1].split()[0])


def sending(connection: Wire, *pieces: bytes) -> threading.Thread:
    """Beside the reading, as clients do it; ends when the server has had enough."""

    def work() -> None:
        for piece in pieces:
            try:
                connection.send(piece)
            except OSError:
                return

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_a_client_that_does_not_send_its_body_is_answered_after_two_seconds(live: Live) -> None:
    with wire(live.host) as connection:
        began = time.monotonic()
        connection.send_head("POST", "/v2/EDGE/blobs/uploads/", {"Content-Length": "1000"})
        answer = connection.answer()
        assert (answer.status, answer.closing, connection.at_end()) == (400, True, True)
        assert 1.5 < time.monotonic() - began < 10


# -- framing that could be read in two ways ---------------------------------------------------------------

HOST = b"Host: registry.test\r\n"
UPLOADS = b"POST /v2/edge/blobs/uploads/ HTTP/1.1\r\n" + HOST

# Each as one request; the canary follows at once, as the request smuggled in behind it.
AMBIGUOUS = {
    "CL and TE": UPLOADS + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "TE and CL": UPLOADS + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "two CL": UPLOADS + b"Content-Length: 0\r\nContent-Length: 5\r\n\r\n",
    "two equal CL": UPLOADS + b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
    "CL list": UPLOADS + b"Content-Length: 0, 0\r\n\r\n",
    "CL with a sign": UPLOADS + b"Content-Length: +0\r\n\r\n",
    "negative CL": UPLOADS + b"Content-Length: -1\r\n\r\n",
    "hex CL": UPLOADS + b"Content-Length: 0x0\r\n\r\n",
    "huge CL": UPLOADS + b"Content-Length: 99999999999999999999999\r\n\r\n",
    "empty CL": UPLOADS + b"Content-Length: \r\n\r\n",
    "unknown TE": UPLOADS + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked is not last": UPLOADS + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "chunked twice": UPLOADS + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "space before the colon": UPLOADS + b"Content-Length : 0\r\n\r\n",
    "folded header": UPLOADS + b"X-Folded: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "bare LF": UPLOADS + b"X-Bare: a\nContent-Length: 0\r\n\r\n",
    "bare LF at the end": UPLOADS + b"Content-Length: 0\r\n\n",
    "bare CR": UPLOADS + b"X-Bare: a\rContent-Length: 5\r\n\r\n",
    "NUL in a header": UPLOADS + b"X-Nul: a\x00b\r\nContent-Length: 0\r\n\r\n",
    "no colon": UPLOADS + b"Content-Length\r\n\r\n",
    "bad chunk size": UPLOADS + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    "negative chunk size": UPLOADS + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
    "chunk without its end": UPLOADS + b"Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n",
    "bare LF in a chunk": UPLOADS + b"Transfer-Encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n",
    "HTTP/1.0 with TE": b"POST /v2/edge/blobs/uploads/ HTTP/1.0\r\n"
    + HOST
    + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a body for another protocol": UPLOADS
    + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: %d\r\n\r\n" % len(CANARY),
    "chunks for another protocol": UPLOADS
    + b"Connection: Upgrade\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "no Host": b"GET /v2/ HTTP/1.1\r\n\r\n",
    "two Hosts": b"GET /v2/ HTTP/1.1\r\n" + HOST + b"Host: evil.example\r\n\r\n",
    "space in the target": b"GET /v2/ x HTTP/1.1\r\n" + HOST + b"\r\n",
    "no version": b"GET /v2/\r\n\r\n",
    "unknown version": b"GET /v2/ HTTP/3.7\r\n" + HOST + b"\r\n",
    "no HTTP": b"\x00\x01\x02\x03\r\n\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "CONNECT": b"CONNECT evil.example:443 HTTP/1.1\r\n" + HOST + b"\r\n",
}


@pytest.mark.parametrize("request_bytes", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_ambiguous_framing_is_a_400_and_nothing_behind_it_is_served(live: Live, request_bytes: bytes) -> None:
    assert push_manifest(live.host, "edge", "canary", image(layers=[descriptor(DATA)])).status == 201
    with wire(live.host) as connection:
        connection.send(request_bytes + CANARY)
        answer = connection.answer()
        assert (answer.status, answer.closing) == (400, True), answer
        assert json.loads(answer.body)["errors"][0]["code"] == "UNSUPPORTED"
        assert connection.at_end()
    assert once(live.host, "HEAD", "/v2/edge/manifests/canary").status == 200, "the canary was served"


TOO_MUCH = {
    "8 MB in a field": (head("GET", "/v2/", {"X": "a" * 8 * MIB}), 431),
    "a hundred thousand fields": (head("GET", "/v2/", {f"X{n}": "1" for n in range(100_000)}), 431),
    "101 fields": (head("GET", "/v2/", {f"X{n}": "1" for n in range(100)}), 431),
    "a path of 64 KB": (head("GET", "/v2/" + "a" * 64 * KIB), 414),
    "a query of 9 KB": (head("GET", "/v2/?" + "a" * 9 * KIB), 414),
}


@pytest.mark.parametrize(("request_bytes", "status"), TOO_MUCH.values(), ids=TOO_MUCH)
def test_a_head_that_is_too_large_is_refused_before_it_is_there(
    live: Live, request_bytes: bytes, status: int
) -> None:
    before = bytes_read(live.pid)
    with wire(live.host) as connection:
        sender = sending(connection, request_bytes)
        answer = connection.answer()
        assert (answer.status, answer.closing) == (status, True)
        assert json.loads(answer.body)["errors"][0]["code"] == "UNSUPPORTED"
        sender.join(10)
    assert bytes_read(live.pid) - before < MIB


@pytest.mark.parametrize(
    "coding", ["xchunked", "chunked0", "chunked*", "gzip", "gzip, chunked", "identity", ""]
)
def test_a_coding_that_is_not_understood_is_refused_before_anything_is_done(live: Live, coding: str) -> None:
    """A DELETE waits for no body: it was done by the time that the parser found a fault."""
    assert push_manifest(live.host, "edge", "canary", image(layers=[descriptor(DATA)])).status == 201
    with wire(live.host) as connection:
        connection.send(CANARY[:-2] + f"Transfer-Encoding: {coding}\r\n\r\n0\r\n\r\n".encode())
        answer = connection.answer()
        assert (answer.status, answer.closing) == (400, True), answer
        assert connection.at_end()
    assert once(live.host, "HEAD", "/v2/edge/manifests/canary").status == 200, "the canary was served"


PLAIN = {
    "chunks": UPLOADS + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "an upgrade without a body": UPLOADS
    + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("request_bytes", PLAIN.values(), ids=PLAIN)
def test_the_canary_is_served_behind_a_request_with_one_reading(live: Live, request_bytes: bytes) -> None:
    assert push_manifest(live.host, "edge", "canary", image(layers=[descriptor(DATA)])).status == 201
    with wire(live.host) as connection:
        connection.send(request_bytes + CANARY)
        assert [connection.answer().status for _ in range(2)] == [202, 202]
    assert once(live.host, "HEAD", "/v2/edge/manifests/canary").status == 404


@pytest.mark.parametrize("fault", [b"no size\r\n", b"1\nx\r\n", b"0\r\nno trailer\r\n"], ids=str)
@pytest.mark.parametrize("pause", [0, 0.2], ids=["at once", "later"])
def test_a_malformed_body_in_a_session_keeps_what_came_before_it(
    live: Live, pause: float, fault: bytes
) -> None:
    session = begin(live.host, "edge")
    with wire(live.host) as connection:
        connection.send(head("PATCH", session, {"Transfer-Encoding": "chunked"}) + chunked(DATA))
        time.sleep(pause)
        connection.send(fault)
        answer = connection.answer()
        assert (answer.status, answer.closing) == (400, True)
        assert json.loads(answer.body)["errors"][0]["code"] == "UNSUPPORTED"
        assert connection.at_end()
    while append(live.host, session, b"x", 10**12).status == 409:
        time.sleep(0.02)
    assert offset(live.host, session) == len(DATA)
    assert finish(live.host, session, DATA).status == 201


@pytest.mark.parametrize("behind", [b"", head("GET", BLOB)], ids=["one request", "two requests"])
def test_garbage_behind_a_pull_does_not_get_into_it(live: Live, behind: bytes) -> None:
    """What was asked before it is answered whole; nothing behind it is."""
    large = blob(16 * MIB, 2)
    assert push_blob(live.host, "edge", large).status == 201
    with wire(live.host, receive_buffer=64 * KIB) as connection:
        connection.send(head("GET", f"/v2/edge/blobs/{Digest.of(large)}") + behind)
        assert connection.answer_head()[0] == 200
        connection.send(b"\x00garbage\r\n\r\n")
        time.sleep(0.2)
        came = connection.read_to_end()
    assert came[: len(large)] == large
    assert came[len(large) :].partition(b" ")[2][:3] in (b"", b"200")  # the second one's answer


def test_tls_on_the_port_gets_an_http_answer(live: Live) -> None:
    """Clients that try HTTPS first fall back to HTTP when they see it."""
    outgoing = ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="registry.test")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    with wire(live.host) as connection:
        connection.send(outgoing.read())
        assert connection.answer().status == 400
        assert connection.at_end()


# -- hosts -------------------------------------------------------------------------------------------------

EVIL = "evil.example"
HOSTS: dict[str, dict[str, str]] = {
    "Host": {"Host": EVIL},
    "empty Host": {"Host": ""},
    "X-Forwarded-*": {
        "X-Forwarded-Host": EVIL,
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Prefix": f"//{EVIL}",
        "X-Forwarded-For": "192.0.2.1",
    },
    "Forwarded": {"Forwarded": f"host={EVIL};proto=https"},
    "X-Original-URL": {"X-Original-URL": f"https://{EVIL}/", "X-Rewrite-URL": "/v2/"},
}
NO_HOSTS = {
    "a path": f"{EVIL}/v2/x?",
    "a user": f"registry.test@{EVIL}",
    "a quote": f'{EVIL}",x="',
    "a list": f"registry.test, {EVIL}",
}
TARGETS = {
    "origin form": "",
    "absolute form": f"http://{EVIL}",
    "absolute form with user": f"https://u:p@{EVIL}:1",
}


@pytest.mark.parametrize("headers", HOSTS.values(), ids=HOSTS)
@pytest.mark.parametrize("prefix", TARGETS.values(), ids=TARGETS)
def test_no_host_gets_into_an_answer(live: Live, prefix: str, headers: dict[str, str]) -> None:
    answers = [
        once(live.host, "POST", f"{prefix}/v2/edge/blobs/uploads/", headers=headers),
        once(live.host, "POST", f"{prefix}/v2/edge/blobs/uploads/?digest={Digest.of(DATA)}", DATA, headers),
        once(live.host, "GET", f"{prefix}/v2/edge/tags/list?n=1", headers=headers),
        once(live.host, "GET", f"{prefix}/v2/_catalog?n=1", headers=headers),
        once(live.host, "GET", f"{prefix}/v2/edge/tags/list/", headers=headers),
    ]
    assert [answer.status for answer in answers] == [202, 201, 200, 200, 404]
    for answer in answers:
        assert EVIL not in str(answer.headers) + answer.body.decode()
    for answer in answers[:2]:
        assert answer.headers["location"].startswith("/v2/edge/blobs/")
    assert answers[2].headers["link"].startswith("</v2/edge/tags/list?")


@pytest.mark.parametrize("host", NO_HOSTS.values(), ids=NO_HOSTS)
def test_what_is_no_host_is_a_400(live: Live, host: str) -> None:
    for method, target in (("POST", "/v2/edge/blobs/uploads/"), ("GET", "/v2/edge/tags/list")):
        answer = once(live.host, method, target, headers={"Host": host})
        assert answer.status == 400
        assert EVIL not in str(answer.headers) + answer.body.decode()


def test_a_target_that_looks_like_a_host_redirects_nobody(live: Live) -> None:
    for target in (f"//{EVIL}/v2/", f"//{EVIL}", f"/%2f%2f{EVIL}", f"/v2/../..//{EVIL}", "*"):
        answer = once(live.host, "GET", target)
        assert answer.status in (400, 404), (target, answer)
        assert "location" not in answer.headers


def test_a_manifest_of_exactly_the_limit_is_read_to_its_end(live: Live) -> None:
    """4 MiB are accepted as a size; one more byte is refused, announced or not."""
    limit = 4 * MIB
    target = "/v2/edge/manifests/limit"
    padded = b'{"schemaVersion": 2' + b" " * (limit - 20) + b"}"
    typed = {"Content-Type": OCI_IMAGE}
    assert len(padded) == limit
    assert once(live.host, "PUT", target, padded, typed).status == 400
    with wire(live.host) as connection:
        connection.send_head("PUT", target, {"Transfer-Encoding": "chunked", **typed})
        sender = sending(connection, chunked(padded), chunked(b" "), b"0\r\n\r\n")
        assert connection.answer().status == 413
        sender.join(10)
    assert push_blob(live.host, "edge", DATA).status == 201
