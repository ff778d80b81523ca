"""Pulls at a small cost to the client: one receive call after the other into one buffer."""

import socket
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


class Puller:
    """GETs on one connection, as fast as the kernel hands over the bytes."""

    def __init__(self, server: Running) -> None:
        self._sock = socket.create_connection(("127.0.0.1", server.port))
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
        ranged = f"Range: bytes={span[0]}-{span[1]}\r\n" if span else ""
        request = f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\n{ranged}\r\n"
        self._sock.sendall(request.encode())
        head, begun = self._head()
        length = content_length(head, 206 if span else 200)
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

    def _head(self) -> tuple[bytes, bytes]:
        """The answer's head, and what came of its body with it."""
        received = b""
        while b"\r\n\r\n" not in received:
            piece = self._sock.recv(4096)
            if not piece:
                raise Failed(f"the server closed the connection after {received[:100]!r}")
            received += piece
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
