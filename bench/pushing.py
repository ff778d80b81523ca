"""Pushes at a small cost to the client: sendfile, or many chunks in one system call."""

import http.client
import mmap
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import urljoin, urlsplit

from bench.payloads import MANIFEST, Image, Payload, digest_of, manifest_of
from bench.pulling import patient
from bench.servers import Failed, Running

_CHUNK = 2**15  # bytes of a chunk of a chunked body: what clients written in Go send
_GATHER = 16  # chunks in one system call


@contextmanager
def connect(server: Running) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    try:
        connection.connect()
        patient(connection.sock)
        yield connection
    finally:
        connection.close()


def push(server: Running, repository: str, payload: Payload, *, chunked: bool = False) -> None:
    """POST and PUT with Content-Length; or, as docker does it, POST, PATCH in chunks, PUT."""
    with connect(server) as connection:
        location = _expect(connection, 202, "POST", f"/v2/{repository}/blobs/uploads/")
        if chunked:
            headers = {"Transfer-Encoding": "chunked", "Content-Type": "application/octet-stream"}
            location = _expect(connection, 202, "PATCH", location, headers, _chunks(payload))
            _expect(connection, 201, "PUT", _with_digest(location, payload.digest))
            return
        headers = {"Content-Length": str(payload.size), "Content-Type": "application/octet-stream"}
        target = _with_digest(location, payload.digest)
        _expect(connection, 201, "PUT", target, headers, _whole(payload))


def push_image(server: Running, repository: str, image: Image, tags: Sequence[str]) -> None:
    with connect(server) as connection:
        for data in (image.config, image.layer):
            location = _expect(connection, 202, "POST", f"/v2/{repository}/blobs/uploads/")
            _put(connection, _with_digest(location, digest_of(data)), data, "application/octet-stream")
        for tag in tags:
            _put(connection, f"/v2/{repository}/manifests/{tag}", image.manifest, MANIFEST)


def push_reference(server: Running, repository: str, tag: str, payload: Payload) -> None:
    """An image that names a pushed payload: some servers collect what no manifest names when they stop."""
    part = (payload.digest, payload.size)
    with connect(server) as connection:
        _put(connection, f"/v2/{repository}/manifests/{tag}", manifest_of(part, part), MANIFEST)


def _put(connection: http.client.HTTPConnection, target: str, data: bytes, media_type: str) -> None:
    headers = {"Content-Length": str(len(data)), "Content-Type": media_type}
    _expect(connection, 201, "PUT", target, headers, lambda sock: sock.sendall(data))


def _expect(
    connection: http.client.HTTPConnection,
    status: int,
    method: str,
    target: str,
    headers: dict[str, str] | None = None,
    body: Callable[[socket.socket], None] | None = None,
) -> str:
    """Make a request and return the target that its Location names."""
    connection.putrequest(method, target, skip_accept_encoding=True)
    for name, value in (headers or {"Content-Length": "0"}).items():
        connection.putheader(name, value)
    connection.endheaders()
    if body:
        body(connection.sock)
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != status:
        raise Failed(f"{method} {target}: {answer.status}, expected {status}: {text[:300]!r}")
    parts = urlsplit(urljoin(target, answer.headers.get("Location", "")))
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def _with_digest(location: str, digest: str) -> str:
    return f"{location}{'&' if '?' in location else '?'}digest={digest}"


def _whole(payload: Payload) -> Callable[[socket.socket], None]:
    def send(sock: socket.socket) -> None:
        offset, end = 0, payload.size - len(payload.tail)
        with payload.path.open("rb") as file:
            while offset < end:
                offset += os.sendfile(sock.fileno(), file.fileno(), offset, end - offset)
        sock.sendall(payload.tail)

    return send


def _chunks(payload: Payload) -> Callable[[socket.socket], None]:
    def send(sock: socket.socket) -> None:
        end = payload.size - len(payload.tail)
        with (
            payload.path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped,
            memoryview(mapped) as view,
        ):
            step = _CHUNK * _GATHER
            for start in range(0, end, step):
                _send_all(sock, list(_framed(view, start, min(start + step, end))))
        sock.sendall(b"%x\r\n%b\r\n0\r\n\r\n" % (len(payload.tail), payload.tail))

    return send


def _framed(view: memoryview, start: int, end: int) -> Iterator[bytes | memoryview]:
    for position in range(start, end, _CHUNK):
        piece = view[position : min(position + _CHUNK, end)]
        yield from (b"%x\r\n" % len(piece), piece, b"\r\n")


def _send_all(sock: socket.socket, parts: list[bytes | memoryview]) -> None:
    sent = sock.sendmsg(parts)
    for part in parts:  # a blocking socket takes all, unless a signal came
        if sent < len(part):
            sock.sendall(part[sent:])
        sent = max(sent - len(part), 0)
