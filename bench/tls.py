"""Pulls through TLS at a small cost to the client: it decrypts the answer's head and counts the rest.

Decrypting costs as much as encrypting, and on one machine whoever of the two is dearer decides.
"""

import struct
import subprocess
from pathlib import Path

from bench.kinds import Certificate
from bench.pulling import BUFFER, Puller
from bench.servers import Failed, Running

_HEADER = struct.Struct(">BHH")  # kind, version, length
_DATA = 23  # the kind of a record with application data
_EXTRA = 17  # bytes of a TLS 1.3 record beyond what it carries: the inner kind and the tag


def make_certificate(folder: Path) -> Certificate:
    """One that signs itself, made by openssl where it is not there yet."""
    made = Certificate(folder / "tls.pem", folder / "tls.key")
    if not made.cert.exists():
        folder.mkdir(parents=True, exist_ok=True)
        kind = ["-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-days", "30"]
        names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        files = ["-out", str(made.cert), "-keyout", str(made.key)]
        subprocess.run(["openssl", "req", *kind, *names, *files], check=True, capture_output=True)
    return made


class Records:
    """The lengths of what TLS 1.3 records carry, read from their headers as the pieces arrive."""

    def __init__(self) -> None:
        self.carried = 0  # by all the records that have begun
        self._left = 0  # bytes until the next header
        self._header = b""  # the begin of one

    @property
    def within(self) -> bool:
        """Whether the last record is not there whole."""
        return bool(self._left or self._header)

    def add(self, piece: memoryview) -> None:
        position, end = self._left, len(piece)
        if self._header and end:
            missing = _HEADER.size - len(self._header)
            self._header += piece[:missing]
            if len(self._header) < _HEADER.size:
                return
            position = missing + self._begin(self._header, 0)
            self._header = b""
        while position + _HEADER.size <= end:
            position += _HEADER.size + self._begin(piece, position)
        if position < end:
            self._header = bytes(piece[position:])
        self._left = max(position - end, 0)

    def _begin(self, buffer: bytes | memoryview, position: int) -> int:
        """The length of the record whose header is there."""
        kind, _, length = _HEADER.unpack_from(buffer, position)
        if kind != _DATA:
            raise Failed(f"a TLS record of kind {kind} in the middle of an answer")
        self.carried += length - _EXTRA
        return int(length)


def pull_undecrypted(server: Running, target: str) -> int:
    """GET it whole; its length by what the records carry."""
    with Puller(server) as puller:
        length, begun = puller.begin(target)
        records, left = Records(), length - len(begun)
        buffer = memoryview(bytearray(BUFFER))
        with puller.plain() as sock:
            while records.carried < left or records.within:
                count = sock.recv_into(buffer)
                if not count:
                    raise Failed(f"GET {target} ended early")
                records.add(buffer[:count])
    return len(begun) + records.carried
