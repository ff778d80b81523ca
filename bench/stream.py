"""A client that pushes or pulls one large blob and never holds more than a mebibyte of it.

python -m bench.stream push HOST REPOSITORY SEED MEBIBYTES   prints the digest
python -m bench.stream pull HOST REPOSITORY DIGEST           exits with 1 if other bytes came
"""

import hashlib
import http.client
import sys
from collections.abc import Iterator

MIB = 2**20


def content(seed: int, mebibytes: int) -> Iterator[bytes]:
    """Cheap to make, other bytes for every seed: one patternless mebibyte, each time with its number."""
    piece = bytearray(hashlib.shake_128(seed.to_bytes(8, "big")).digest(MIB))
    for number in range(mebibytes):
        piece[:8] = number.to_bytes(8, "big")
        yield bytes(piece)


def push(host: str, repository: str, seed: int, mebibytes: int) -> str:
    """POST, one streamed PATCH, PUT: as docker does. Returns the digest."""
    connection = http.client.HTTPConnection(host, timeout=120)
    hasher = hashlib.sha256()

    def body() -> Iterator[bytes]:
        for piece in content(seed, mebibytes):
            hasher.update(piece)
            yield piece

    session = ask(connection, "POST", f"/v2/{repository}/blobs/uploads/", 202)
    length = {"Content-Length": str(mebibytes * MIB)}
    session = ask(connection, "PATCH", session, 202, body(), length)
    digest = f"sha256:{hasher.hexdigest()}"
    ask(connection, "PUT", f"{session}?digest={digest}", 201)
    return digest


def ask(
    connection: http.client.HTTPConnection,
    method: str,
    target: str,
    expected: int,
    body: Iterator[bytes] | None = None,
    headers: dict[str, str] | None = None,
) -> str:
    """The answer's Location."""
    connection.request(method, target, body, headers or {})
    answer = connection.getresponse()
    told = answer.read()
    if answer.status != expected:
        raise RuntimeError(f"{method} {target}: {answer.status} {told[:500]!r}")
    return answer.headers["Location"]


def pull(host: str, repository: str, digest: str) -> bool:
    connection = http.client.HTTPConnection(host, timeout=120)
    connection.request("GET", f"/v2/{repository}/blobs/{digest}")
    answer = connection.getresponse()
    hasher = hashlib.sha256()
    while piece := answer.read(MIB):
        hasher.update(piece)
    return answer.status == 200 and digest == f"sha256:{hasher.hexdigest()}"


def main(arguments: list[str]) -> int:
    match arguments:
        case ["push", host, repository, seed, mebibytes]:
            print(push(host, repository, int(seed), int(mebibytes)))
            return 0
        case ["pull", host, repository, digest]:
            return 0 if pull(host, repository, digest) else 1
        case _:
            print(__doc__, file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
