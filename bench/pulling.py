"""Pulls at a small cost to the client: one receive call after the other into one buffer."""

import os
import socket
import ssl
import struct
from collections.abc import Callable

from bench.servers import Failed, Running

BUFFER = 2**18  # bytes of one receive
_PATIENCE = struct.pack("ll", 120, 0)  # seconds a socket call may take


def patient(sock: socket.socket) -> None:
    """A time-out that the kernel keeps: Python's own costs a poll for each call."""
    sock.settimeout(None)
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        sock.setsockopt(socket.SOL_SOCKET, option, _PATIENCE)


def trusting() -> ssl.SSLContext:
    """TLS 1.3 with whoever answers: that is this machine itself."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Puller:
    """GETs on one connection, as fast as the kernel hands over the bytes."""

    def __init__(self, server: Running) -> None:
        self._sock = socket.create_connection(("127.0.0.1", server.port))
        if server.tls:
            self._sock = trusting().wrap_socket(self._sock)
        patient(self._sock)
        self._buffer = memoryview(bytearray(BUFFER))

    def get(
        self,
        target: str,
        *,
        span: tuple[int, int] | None = None,
        see: Callable[[memoryview], None] | None = None,
    ) -> int:
        """Fetch all, or `span` (first byte, last byte); `see` is shown each piece. Returns the length."""
        length, begun = self.begin(target, span=span)
        if see:
            see(memoryview(begun))
        left = length - len(begun)
        while left:
            count = self._sock.recv_into(self._buffer, min(left, BUFFER))
            if not count:
                raise Failed(f"GET {target} ended {left} bytes early")
            if see:
                see(self._buffer[:count])
            left -= count
        return length

    def begin(self, target: str, *, span: tuple[int, int] | None = None) -> tuple[int, bytes]:
        """Ask for it; its length, and what of it came with the answer's head."""
        ranged = f"Range: bytes={span[0]}-{span[1]}\r\n" if span else ""
        request = f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\n{ranged}\r\n"
        self._sock.sendall(request.encode())
        head, begun = self._head()
        return content_length(head, 206 if span else 200), begun

    def plain(self) -> socket.socket:
        """The connection beneath TLS, which stands behind the last record that was read."""
        return socket.socket(fileno=os.dup(self._sock.fileno()))

    def _head(self) -> tuple[bytes, bytes]:
        """The answer's head, and what came of its body with it."""
        received = b""
        while b"\r\n\r\n" not in received:
            piece = self._sock.recv(4096)
            if not piece:
                raise Failed(f"the server closed the connection after {received[:100]!r}")
            received += piece
        if isinstance(self._sock, ssl.SSLSocket) and (pending := self._sock.pending()):
            received += self._sock.recv(pending)  # the rest of a record that is decrypted already
        head, _, begun = received.partition(b"\r\n\r\n")
        return head, begun

    def __enter__(self) -> "Puller":
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()


def content_length(head: bytes, status: int) -> int:
    """Raises Failed unless the status is as expected and the length is given."""
    first, *lines = head.split(b"\r\n")
    if first.split()[1] != b"%d" % status:
        raise Failed(f"expected {status}: {first.decode('latin-1')}")
    for line in lines:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise Failed(f"no Content-Length: {head!r}")
