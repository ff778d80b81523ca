"""How much a client may send, and how long it may take."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one connection, and of all of a process. Sizes in bytes, times in seconds."""

    # Of request line and fields. podman asks for 1,024 ranges in one field: 22,533 bytes for a layer of up to
    # 10 GB, 26,629 of up to 1 TB, which leaves 6 KB for a token (measured on the form that it writes).
    head_bytes: int = 32 * 2**10
    head_fields: int = 100
    target_bytes: int = 8 * 2**10
    head_seconds: float = 10.0  # for a whole head, and for the first byte of a new connection
    pipelined: int = 64  # requests of one piece behind a body that may wait for the answer before them
    read_ahead: int = 2**18  # of a body that is not taken, which may wait for its reader; uvicorn has 64 KiB
    stall_seconds: float = 60.0  # without a byte of a body, or with none of an answer taken (patience.py)
    rate: float = 2**10  # bytes a second of a body, and of an answer, on average over that time
    tls_waiting: int = 2**17  # for a slow client under TLS: uvloop's 512 KiB were no faster
    connections: int = 4096  # of a process
    handshakes: int = 1024  # of a process, that are not complete: 52 KB each
    surplus: int = 64  # beyond them, that are let ask before they are refused: an answer to nothing is lost
    surplus_seconds: float = 1.0  # for that
