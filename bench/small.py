"""Small requests on sixteen connections: GET by wrk, HEAD by a loader of our own."""

import re
import select
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from bench.accounting import Meter
from bench.kinds import Found
from bench.latency import ANEW, quantile
from bench.payloads import ACCEPT, Image, digest_of
from bench.pulling import patient
from bench.pushing import push_image
from bench.scenario import PEERS, REPOSITORY, Material, Rows, Scenario, prepared
from bench.servers import Failed, Running, started

CONNECTIONS = 16
IMAGE = Image.of(2048)
_TAGS = tuple(f"v{number}" for number in range(10))
_WARM = 1  # seconds of load before what counts
_RATE = re.compile(r"^Requests/sec: +([\d.]+)$", re.MULTILINE)
_TAIL = re.compile(r"^ +99% +([\d.]+)(us|ms|s)$", re.MULTILINE)
_BAD = re.compile(r"^ *(?:Non-2xx|Socket errors).*$", re.MULTILINE)
_PATIENCE = 60  # seconds
_ANSWER = 2**14  # bytes: more than a head has
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}

Load = Callable[[Running, str, int], dict[str, float]]
"""Loads a target for some seconds: `rate`, the requests answered in a second; `p99`, seconds."""


def measure(found: Found, folder: Path, material: Material) -> Rows:
    rows: dict[str, dict[str, float]] = {}
    with started(found, folder) as server:
        prepared(server, "small", lambda: push_image(server, REPOSITORY, IMAGE, _TAGS))
        for row, (load, target) in _REQUESTS.items():
            load(server, target, _WARM)
            with Meter(server.pid) as meter:
                counted = load(server, target, material.seconds)
            requests = counted["rate"] * material.seconds
            each = {"each": meter.figures["cpu"] / max(requests, 1)}
            rows[row] = meter.figures | counted | each
    return rows


def load_get(server: Running, target: str, seconds: int, *fields: str) -> dict[str, float]:
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency"]
    for each in (f"Accept: {ACCEPT}", *fields):
        command += ["-H", each]
    done = subprocess.run([*command, server.url + target], capture_output=True, text=True, check=False)
    rate, tail, bad = _RATE.search(done.stdout), _TAIL.search(done.stdout), _BAD.search(done.stdout)
    if done.returncode or bad or not rate or not tail:
        raise Failed(f"wrk on {target}: {bad[0] if bad else done.stdout + done.stderr}")
    return {"rate": float(rate[1]), "p99": float(tail[1]) * _UNITS[tail[2]]}


def load_get_anew(server: Running, target: str, seconds: int, *fields: str) -> dict[str, float]:
    """The long way."""
    return load_get(server, target, seconds, ANEW, *fields)


def load_head(server: Running, target: str, seconds: int) -> dict[str, float]:
    """One request at a time on each connection, as wrk does, which would wait for a body here."""
    request = f"HEAD {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: {ACCEPT}\r\n\r\n".encode()
    with ExitStack() as stack:
        poll = stack.enter_context(select.epoll())
        sockets: dict[int, socket.socket] = {}
        for _ in range(CONNECTIONS):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            patient(sock)
            poll.register(sock, select.EPOLLIN)
            sockets[sock.fileno()] = sock
        begun = time.perf_counter()
        latencies = _ask_all(poll, sockets, request, begun + seconds)
        wall = time.perf_counter() - begun
    return {"rate": len(latencies) / wall, "p99": quantile(latencies, 0.99)}


def _ask_all(
    poll: select.epoll, sockets: Mapping[int, socket.socket], request: bytes, end: float
) -> list[float]:
    """Seconds of each answer; asks again on every connection until `end`, and waits for the last answers."""
    sent: dict[int, float] = {}
    latencies: list[float] = []
    for number, sock in sockets.items():
        sent[number] = time.perf_counter()
        sock.sendall(request)
    while sent:
        ready = poll.poll(_PATIENCE)
        if not ready:
            raise Failed(f"{request[:100]!r}: no answer in {_PATIENCE} s")
        for number, _ in ready:
            sock = sockets[number]
            answer = piece = sock.recv(_ANSWER)
            while piece and not answer.endswith(b"\r\n\r\n"):
                piece = sock.recv(_ANSWER)
                answer += piece
            if not answer.startswith(b"HTTP/1.1 200"):
                raise Failed(f"{request[:100]!r} got {answer[:200]!r}")
            now = time.perf_counter()
            latencies.append(now - sent.pop(number))
            if now < end:
                sent[number] = now
                sock.sendall(request)
    return latencies


_BASE = f"/v2/{REPOSITORY}"
_REQUESTS: dict[str, tuple[Load, str]] = {
    "manifest GET by tag": (load_get, f"{_BASE}/manifests/{_TAGS[0]}"),
    "manifest GET by tag, anew": (load_get_anew, f"{_BASE}/manifests/{_TAGS[0]}"),
    "manifest HEAD by digest": (load_head, f"{_BASE}/manifests/{digest_of(IMAGE.manifest)}"),
    "blob GET, 2 KiB": (load_get, f"{_BASE}/blobs/{digest_of(IMAGE.layer)}"),
    "blob HEAD": (load_head, f"{_BASE}/blobs/{digest_of(IMAGE.layer)}"),
    "GET /v2/": (load_get, "/v2/"),
    "tags list": (load_get, f"{_BASE}/tags/list"),
}

SCENARIO = Scenario("small", ("ours 2w", "ours", "ours nolog", *PEERS), measure)
