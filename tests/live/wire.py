"""HTTP as bytes on a socket: what a careful client, a broken one and an evil one send."""

import contextlib
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

TIMEOUT = 30.0
ACCEPT_SECONDS = 0.2

choosy = False
"""Whether connections are given up that no worker has accepted: those of workers that stand still."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    @property
    def closing(self) -> bool:
        return self.headers.get("connection", "").lower() == "close"


class Closed(Exception):
    """The server closed the connection where an answer should begin."""


class Wire:
    """One connection. Answers are read as strictly as RFC 9112 allows."""

    def __init__(self, host: str, *, receive_buffer: int | None = None, source: str = "") -> None:
        """`source` is the address to come from: each of 127.0.0.0/8 is a client of its own."""
        self._connect(host, receive_buffer, source)
        while choosy and not accepted(self.socket):
            self.socket.close()
            self._connect(host, receive_buffer, source)
        self._reader: BufferedReader = self.socket.makefile("rb")

    def _connect(self, host: str, receive_buffer: int | None, source: str) -> None:
        name, _, port = host.partition(":")
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(TIMEOUT)
        try:
            if source:
                self.socket.bind((source, 0))
            self.socket.connect((name, int(port)))
        except OSError:
            self.socket.close()
            raise
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def send_head(self, method: str, target: str, headers: Mapping[str, str] | None = None) -> None:
        self.send(head(method, target, headers))

    def request(
        self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        length = {"Content-Length": str(len(body))} if body or method not in ("GET", "HEAD") else {}
        self.send_head(method, target, {**length, **(headers or {})})
        self.send(body)
        return self.answer(method)

    def answer(self, method: str = "GET") -> Answer:
        """The next final answer, whole. Raises Closed."""
        status, headers = self.answer_head()
        if method == "HEAD" or status in (204, 304):
            return Answer(status, headers, b"")
        return Answer(status, headers, self.read(int(headers["content-length"])))

    def answer_head(self) -> tuple[int, Mapping[str, str]]:
        line = self._reader.readline()
        if not line:
            raise Closed
        version, status, _ = line.decode("ascii").split(" ", 2)
        assert version == "HTTP/1.1", line
        headers = {}
        while (line := self._reader.readline()) != b"\r\n":
            if not line:
                raise EOFError("the head ends early")
            name, _, value = line.decode("ascii").partition(":")
            headers[name.lower()] = value.strip()
        return int(status), headers

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes. Raises EOFError."""
        data = self._reader.read(size)
        if len(data) < size:
            raise EOFError(f"{size - len(data)} of {size} bytes are missing")
        return data

    def read_to_end(self) -> bytes:
        """All that comes before the server closes."""
        data = bytearray()
        try:
            while piece := self._reader.read1(64 * 1024):
                data += piece
        except ConnectionResetError:
            return bytes(data)
        return bytes(data)

    def at_end(self) -> bool:
        """Whether the server closes without another byte."""
        try:
            return self._reader.read(1) == b""
        except ConnectionResetError:
            return True

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def half_close(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._reader.close()
        self.socket.close()


def accepted(client: socket.socket) -> bool:
    """Whether a process has taken the other end: a connection that waits has no inode (proc_net_tcp)."""
    (_, here), (_, there) = client.getsockname(), client.getpeername()
    deadline = time.monotonic() + ACCEPT_SECONDS
    while time.monotonic() < deadline:
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            ports = tuple(int(address.rpartition(":")[2], 16) for address in fields[1:3])
            if ports == (there, here) and fields[9] != "0":
                return True
        time.sleep(0.002)
    return False


@contextlib.contextmanager
def wire(host: str, *, receive_buffer: int | None = None) -> Iterator[Wire]:
    connection = Wire(host, receive_buffer=receive_buffer)
    try:
        yield connection
    finally:
        connection.close()


def head(method: str, target: str, headers: Mapping[str, str] | None = None) -> bytes:
    lines = [f"{method} {target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in {"Host": "registry.test", **(headers or {})}.items()]
    return "\r\n".join([*lines, "", ""]).encode("ascii")


def chunked(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def once(
    host: str, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> Answer:
    """One request on a connection of its own."""
    with wire(host) as connection:
        return connection.request(method, target, body, headers)
