"""What comes before a request is one: heads, hosts, framings, clients that take their time."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.digest import Digest
from tests.builders import descriptor, image
from tests.hostile.attacking import MIB, Line, raw, refused, resident
from tests.hostile.conftest import LAYER
from tests.live.impatient import LIMITS
from tests.live.servers import Live, descriptors, running
from tests.live.stories import push_image
from tests.live.test_edge import AMBIGUOUS
from tests.live.wire import Closed, head, once, wire

EVIL = "evil.example"
MANIFEST = image(layers=[descriptor(LAYER)])
CANARY = head("DELETE", "/v2/base/manifests/canary")


# -- T19: hosts ---------------------------------------------------------------------------------------------

FORWARDED = {
    "X-Forwarded-Host": EVIL,
    "X-Forwarded-Proto": "gopher",
    "X-Forwarded-Prefix": f"//{EVIL}",
    "X-Forwarded-For": "192.0.2.66",
    "X-Original-Host": EVIL,
    "X-Host": EVIL,
    "Forwarded": f'for=192.0.2.66;host="{EVIL}";proto=gopher',
}
HOSTS: dict[str, dict[str, str]] = {
    "Host": {"Host": EVIL},
    "Host with a port": {"Host": f"{EVIL}:99"},
    "forwarded": FORWARDED,
    "both": {"Host": EVIL, **FORWARDED},
}
NO_HOSTS = (
    *(f"@{EVIL}", f"a@{EVIL}", f"{EVIL}/v2/?", f"{EVIL}#", f"{EVIL},a", f"{EVIL}, a", f'{EVIL}",x="'),
    *("a b", "a\\b", "[::1", "a:b:c", "é", "a%2fb", "<script>"),
)
PREFIXES = {"path": "", "absolute": f"http://{EVIL}", "user": f"https://u:p@{EVIL}:1"}


@pytest.mark.parametrize("headers", HOSTS.values(), ids=HOSTS)
@pytest.mark.parametrize("prefix", PREFIXES.values(), ids=PREFIXES)
def test_t19_no_host_gets_into_a_location_or_a_link(line: Line, prefix: str, headers: dict[str, str]) -> None:
    for method, target, body, name, begins in (
        ("POST", "/v2/base/blobs/uploads/", b"", "location", "/v2/base/blobs/uploads/"),
        (
            "POST",
            f"/v2/base/blobs/uploads/?digest={Digest.of(LAYER)}",
            LAYER,
            "location",
            "/v2/base/blobs/sha256:",
        ),
        ("PUT", "/v2/base/manifests/other", MANIFEST, "location", "/v2/base/manifests/sha256:"),
        ("GET", "/v2/base/tags/list?n=1", b"", "link", "</v2/base/tags/list?"),
    ):
        answer = line.ask(method, prefix + target, body, headers)
        assert answer.headers[name].startswith(begins)
        assert EVIL not in str(answer.headers) + answer.body.decode()
        assert "gopher" not in str(answer.headers)


@pytest.mark.parametrize("host", NO_HOSTS)
def test_t19_what_is_no_host_is_a_400(line: Line, host: str) -> None:
    for method, target in (
        ("GET", "/v2/"),
        ("POST", "/v2/base/blobs/uploads/"),
        ("GET", "/v2/base/tags/list?n=1"),
    ):
        answer = line.ask(method, target, headers={"Host": host})
        refused(answer, 400, "UNSUPPORTED")
        assert EVIL not in str(answer.headers)


@pytest.mark.parametrize("hosts", [(), ("a", "b"), ("a", "a"), ("a", "")], ids=str)
def test_t19_one_host_and_only_one(line: Line, hosts: tuple[str, ...], live: Live) -> None:
    fields = "".join(f"Host: {host}\r\n" for host in hosts)
    with wire(live.host) as connection:
        connection.send(f"GET /v2/ HTTP/1.1\r\n{fields}\r\n".encode() + CANARY)
        refused(connection.answer(), 400, "UNSUPPORTED")
        assert connection.at_end()


@pytest.mark.parametrize(
    ("flags", "realm"),
    [
        (("--external-url", "https://registry.example"), "https://registry.example/token"),
        ((), f"http://{EVIL}/token"),  # as the client itself has found us
        (("--trusted-proxies", "127.0.0.1"), "https://public.example/token"),
    ],
    ids=["external_url", "by Host", "by a listed proxy"],
)
def test_t19_a_realm_is_where_the_registry_is(tmp_path: Path, flags: tuple[str, ...], realm: str) -> None:
    """Headers of a proxy count from a listed one only."""
    headers = {"Host": EVIL, "X-Forwarded-Host": "public.example", "X-Forwarded-Proto": "https"}
    with running(tmp_path / "root", "--anonymous", "none", *flags) as server:
        answer = once(server.host, "GET", "/v2/", headers=headers)
    refused(answer, 401, "UNAUTHORIZED")
    assert f'realm="{realm}"' in answer.headers["www-authenticate"]


# -- T20: framing -------------------------------------------------------------------------------------------


def push_canary(line: Line) -> None:
    assert line.ask("PUT", "/v2/base/manifests/canary", MANIFEST).status == 201


@pytest.mark.parametrize("request_bytes", AMBIGUOUS.values(), ids=AMBIGUOUS)
@pytest.mark.parametrize("cut", ["behind another", "in two", "byte by byte"])
def test_t20_nothing_is_smuggled_in_behind_a_head_with_two_readings(
    live: Live, line: Line, request_bytes: bytes, cut: str
) -> None:
    """However it arrives: one 400, the end, and the canary stays. (At once: tests/live/test_edge.py.)"""
    push_canary(line)
    with wire(live.host) as connection:
        if cut == "behind another":
            connection.send(head("GET", "/v2/") + request_bytes + CANARY)
            assert connection.answer().status == 200
        elif cut == "in two":
            connection.send(request_bytes[: len(request_bytes) // 2])
            time.sleep(0.01)
            connection.send(request_bytes[len(request_bytes) // 2 :] + CANARY)
        else:
            for position in range(len(request_bytes)):
                try:
                    connection.send(request_bytes[position : position + 1])
                except OSError:  # it has been refused already
                    break
        try:
            answer = connection.answer()
            assert (answer.status, answer.closing) == (400, True)
            assert connection.at_end()
        except (Closed, ConnectionError):
            assert cut != "in two"  # behind another's answer, or while we were sending, it may just end
    assert line.ask("HEAD", "/v2/base/manifests/canary").status == 200, "the canary was served"


# -- T21: slow clients --------------------------------------------------------------------------------------

HEAD_SECONDS = LIMITS.head_seconds


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[Live]:
    with running(tmp_path / "root", module="tests.live.impatient") as server:
        push_image(server.host, "base", "latest", LAYER)
        yield server


def test_t21_silent_and_dripping_heads_are_let_go_and_hold_nobody_up(impatient: Live) -> None:
    """With bodies and answers beside them, six hundred at once: tests/live/test_slow.py."""
    name, _, port = impatient.host.partition(":")
    before = len(descriptors(impatient.pid))
    began = time.monotonic()
    slow = [socket.create_connection((name, int(port))) for _ in range(200)]
    ended: dict[int, float] = {}

    def drip() -> None:
        for number, client in enumerate(slow):
            client.setblocking(False)
            if number % 2:
                client.send(b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        while len(ended) < len(slow) and time.monotonic() - began < HEAD_SECONDS + 6:
            for number, client in enumerate(slow):
                if number in ended:
                    continue
                try:
                    if number % 2:
                        client.send(b"x")
                    if client.recv(1000) == b"":
                        ended[number] = time.monotonic() - began
                except BlockingIOError:
                    continue
                except OSError:
                    ended[number] = time.monotonic() - began
            time.sleep(0.3)

    thread = threading.Thread(target=drip)
    thread.start()
    slowest = 0.0
    with Line(impatient.host) as line:
        while thread.is_alive():
            asked = time.monotonic()
            assert line.ask("GET", "/v2/base/manifests/latest").status == 200
            slowest = max(slowest, time.monotonic() - asked)
            time.sleep(0.02)
    thread.join()
    for client in slow:
        client.close()
    assert len(ended) == len(slow)
    assert min(ended.values()) > HEAD_SECONDS * 0.8
    assert max(ended.values()) < HEAD_SECONDS + 5
    assert slowest < 1
    assert len(descriptors(impatient.pid)) <= before + 3


# -- T22: large heads ---------------------------------------------------------------------------------------

KIB = 2**10
LARGE: dict[str, tuple[bytes, int]] = {
    "one field of 8 MB": (b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 8 * MIB, 431),
    "100,000 fields": (b"GET /v2/ HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 100_000, 431),
    "101 fields": (b"GET /v2/ HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 100 + b"\r\n", 431),
    "33 KiB of fields": (raw("GET", "/v2/", headers={"X": "a" * 33 * KIB}), 431),
    "a field's name of 8 MB": (b"GET /v2/ HTTP/1.1\r\nHost: x\r\n" + b"X" * 8 * MIB, 431),
    "a path of 64 KB": (raw("GET", "/v2/" + "a" * 64_000 + "/tags/list"), 414),
    "a query of 64 KB": (raw("GET", "/v2/?x=" + "a" * 64_000), 414),
    "a target of 8 MB": (b"GET /" + b"a" * 8 * MIB, 414),
    "8 MB of nothing": (b"\r\n" * 4 * MIB, 431),
    "a method of 8 MB": (b"G" * 8 * MIB, 400),
}


@pytest.mark.parametrize(("sent", "status"), LARGE.values(), ids=LARGE)
def test_t22_a_head_that_is_too_large_is_refused_before_it_is_there(
    live: Live, sent: bytes, status: int
) -> None:
    before = resident(live.workers()[0], "VmHWM")
    began = time.monotonic()
    with wire(live.host) as connection:

        def send() -> None:
            try:
                connection.send(sent)
            except OSError:
                return

        thread = threading.Thread(target=send)
        thread.start()
        answer = connection.answer()
        refused(answer, {status, 400, 431} if status != 414 else {414, 431}, "UNSUPPORTED")
        thread.join(10)
        assert not thread.is_alive()
    assert time.monotonic() - began < 3
    assert resident(live.workers()[0], "VmHWM") - before < 16 * MIB


def test_t22_what_is_just_small_enough_is_served(line: Line) -> None:
    """podman's 1,024 ranges, and a long token beside them, among it."""
    token = "a" * 4_000
    ranges = "bytes=" + ",".join(f"{number * 10**9}-{number * 10**9 + 5}" for number in range(1, 1024))
    for target, headers in (
        ("/v2/?" + "x" * 8_000, {}),
        ("/v2/", {"X": "a" * 31 * KIB}),
        ("/v2/", {f"X-{number}": "y" for number in range(98)}),
        (f"/v2/base/blobs/{Digest.of(LAYER)}", {"Range": ranges, "Authorization": f"Bearer {token}"}),
    ):
        assert line.ask("GET", target, headers=headers).status in (200, 416)
