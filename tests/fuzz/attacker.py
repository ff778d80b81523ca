"""Requests that are nearly right, sent as bytes over a socket, and what is seen of the answers.

Each request of a connection has a mark of its own in its target; so have those that are hidden in bodies. The
access log shows afterwards which of them the server took for requests.
"""

import random
import re
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.api.world import IMAGE, LAYER, REPOSITORY, SPARE, digest
from tests.fuzz.mutations import mutate
from tests.fuzz.strict_http import Reading, read

MARK = re.compile(r"mark-\w+")
ANSWER_SECONDS = 10.0  # the server's own limit for a head, and far more than an answer takes
IDLE_SECONDS = 0.25  # without a byte where more were expected: what is missing has been sent nowhere
_STATUS = re.compile(rb"HTTP/1\.1 ([2-5]\d\d) [A-Z]")  # no answer's body here has that

WORDS = [
    *(b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b"\r\n\r\n", b"\r\n ", b"\x0b", b"\x85", b",", b";"),
    *(
        b"Content-Length",
        b"Transfer-Encoding",
        b"chunked",
        b"identity",
        b"xchunked",
        b"Host: a\r\n",
        b"Connection",
    ),
    *(
        b"Content-Length: 0\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: +5\r\n",
        b"Content-Length: 0x5\r\n",
    ),
    *(
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
    ),
    *(b"Connection: close\r\n", b"Connection: Upgrade\r\nUpgrade: h2c\r\n", b"Expect: 100-continue\r\n"),
    *(
        b"0",
        b"5",
        b"-1",
        b"+1",
        b"0x5",
        b"1_0",
        b"9" * 20,
        b"f" * 16,
        b"f" * 17,
        b";a=b",
        b"0\r\n\r\n",
        b"5\r\nabcde\r\n",
    ),
    *(
        b"HTTP/1.0",
        b"HTTP/1.1",
        b"HTTP/2.0",
        b"HTTP/1.1\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT",
        b"OPTIONS",
    ),
    *(
        b"*",
        b"/",
        b"%2f",
        b"%00",
        b"%0d%0a",
        b"..",
        b"?",
        b"#",
        b"http://evil.test/v2/",
        b"\xff",
        b"x" * 9000,
    ),
]


@dataclass(frozen=True, slots=True)
class Case:
    pieces: tuple[bytes, ...]
    reading: Reading


def request(line: str, mark: str, body: bytes = b"", *fields: str, chunks: bool = False) -> bytes:
    """`line` is method and path; a chunked body is cut in two."""
    more = "&" if "?" in line else "?"
    head = [f"{line}{more}ns=mark-{mark} HTTP/1.1", "Host: registry.test", *fields]  # the log shows ns
    if chunks:
        middle = len(body) // 2
        parts = [part for part in (body[:middle], body[middle:]) if part]
        body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
        head.append("Transfer-Encoding: chunked")
    elif body or not line.startswith(("GET", "HEAD")):
        head.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*head, "", ""]).encode() + body


def hidden(mark: str) -> bytes:
    """A body that would be a request to who misses where it begins."""
    return request(f"GET /v2/{REPOSITORY}/tags/list", mark)


def templates(uploads: Sequence[str]) -> list[Callable[[str, random.Random], bytes]]:
    """Valid requests of every shape. A body has a hidden request with a mark of its own."""
    own = f"/v2/{REPOSITORY}"

    def session(chance: random.Random) -> str:
        return f"{own}/blobs/uploads/{chance.choice(uploads)}"

    return [
        lambda mark, chance: request(f"GET {own}/manifests/latest", mark),
        lambda mark, chance: request(f"GET {own}/tags/list", mark),
        lambda mark, chance: request(f"HEAD {own}/blobs/{digest(LAYER)}", mark),
        lambda mark, chance: request(f"GET {own}/blobs/{digest(LAYER)}", mark, b"", "Range: bytes=0-1,5-6"),
        lambda mark, chance: request(f"GET {own}/tags/list", mark, hidden(f"{mark}b")),
        lambda mark, chance: request(f"PUT {own}/manifests/m{chance.randrange(9)}", mark, IMAGE, chunks=True),
        lambda mark, chance: request(
            f"PUT {own}/manifests/m", mark, hidden(f"{mark}b"), "Expect: 100-continue"
        ),
        lambda mark, chance: request(f"PATCH {session(chance)}", mark, hidden(f"{mark}b"), chunks=True),
        lambda mark, chance: request(f"PATCH {session(chance)}", mark, hidden(f"{mark}b")),
        lambda mark, chance: request(
            f"PUT {session(chance)}?digest={digest(SPARE)}", mark, SPARE, chunks=True
        ),
        lambda mark, chance: request(f"POST {own}/blobs/uploads/?digest={digest(SPARE)}", mark, SPARE),
        lambda mark, chance: request(f"POST {own}/blobs/uploads/", mark, hidden(f"{mark}b"), chunks=True),
        lambda mark, chance: request(f"DELETE {own}/manifests/m{chance.randrange(9)}", mark),
    ]


def make(mark: str, uploads: Sequence[str], chance: random.Random) -> Case:
    """Some requests on one connection, mostly with changes, in some pieces."""
    shapes = templates(uploads)
    count = chance.choice((1, 1, 2, 3))
    stream = b"".join(chance.choice(shapes)(f"{mark}{number}", chance) for number in range(count))
    if chance.random() < 0.9:
        stream = mutate(stream, WORDS, chance)
    cuts = sorted(chance.randrange(len(stream) + 1) for _ in range(chance.choice((0, 0, 1, 2, 5))))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    return Case(tuple(piece for piece in pieces if piece), read(stream))


def attack(host: str, case: Case) -> list[str]:
    """Send it all, wait for what must come, then close one side. What was wrong: hopefully nothing."""
    name, _, port = host.partition(":")
    with socket.create_connection((name, int(port)), ANSWER_SECONDS) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        received, ended = _talk(connection, case)
    statuses = [int(status) for status in _STATUS.findall(received)]
    wrong = [f"status {status}" for status in statuses if status >= 500]
    if not ended:
        wrong.append(f"not closed within {ANSWER_SECONDS:.0f} s")
    # A fault is refused in an answer of its own, after those before it.
    if len(statuses) > len(case.reading.targets) + 1:
        wrong.append(f"{len(statuses)} answers to {len(case.reading.targets)} requests")
    return wrong


def _talk(connection: socket.socket, case: Case) -> tuple[bytes, bool]:
    """What came, and whether the server closed at last."""
    received = b""
    try:
        for number, piece in enumerate(case.pieces):
            if number:
                time.sleep(0.001)  # so that it arrives by itself
            connection.sendall(piece)
        connection.settimeout(IDLE_SECONDS)
        while len(_STATUS.findall(received)) < case.reading.due:
            if not (more := connection.recv(2**16)):
                return received, True
            received += more
    except TimeoutError:
        pass
    except OSError:
        return received, True
    return _close(connection, received)


def _close(connection: socket.socket, received: bytes) -> tuple[bytes, bool]:
    try:
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(ANSWER_SECONDS)
        while more := connection.recv(2**16):
            received += more
    except TimeoutError:
        return received, False
    except OSError:
        pass
    return received, True
