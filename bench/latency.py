"""One request after the other on one connection, each timed."""

import socket
import time
from collections.abc import Sequence

from bench.payloads import ACCEPT
from bench.pulling import content_length, patient
from bench.servers import Failed

ANEW = "Cache-Control: no-cache"
"""A field for which ours gives no answer again that it has given before: the index is asked each time."""


class Asker:
    """Costs little itself, so that a slow answer shows: no HTTP library between the clock and the socket."""

    def __init__(self, port: int, *fields: str) -> None:
        """`fields`: lines of the head beside those that every request has."""
        self._sock = socket.create_connection(("127.0.0.1", port))
        patient(self._sock)
        self._head = "\r\n".join(["Host: 127.0.0.1", f"Accept: {ACCEPT}", *fields, "", ""])

    def ask(self, method: str, target: str) -> tuple[float, bytes]:
        """(seconds, body) of a 200."""
        request = f"{method} {target} HTTP/1.1\r\n{self._head}".encode()
        begun = time.perf_counter()
        self._sock.sendall(request)
        head, _, body = self._receive_head().partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise Failed(f"{method} {target}: {head!r} {body!r}")
        left = (0 if method == "HEAD" else content_length(head, 200)) - len(body)
        pieces = [body]
        while left > 0:
            pieces.append(self._receive(left))
            left -= len(pieces[-1])
        seconds = time.perf_counter() - begun
        return seconds, b"".join(pieces)

    def _receive_head(self) -> bytes:
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._receive(2**16)
        return received

    def _receive(self, most: int) -> bytes:
        piece = self._sock.recv(min(most, 2**18))
        if not piece:
            raise Failed("the server closed the connection")
        return piece

    def __enter__(self) -> "Asker":
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms"
