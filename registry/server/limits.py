"""How much a client may send, and how long it may take."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one connection. Sizes in bytes, times in seconds."""

    head_bytes: int = 64 * 2**10  # of request line and fields: podman asks for 1,024 ranges in one field
    head_fields: int = 100
    head_seconds: float = 10.0  # for a whole head, and for the first byte of a new connection
    pipelined: int = 64  # requests of one piece behind a body that may wait for the answer before them
    read_ahead: int = 2**18  # of a body that is not taken, which may wait for its reader; uvicorn has 64 KiB
    stall_seconds: float = 60.0  # in which a body must bring something, and a client take of an answer
    tls_waiting: int = 2**17  # for a slow client under TLS: uvloop's 512 KiB were no faster
    tls_farewell: float = 3.0  # for a client to take the rest and answer a close; uvloop waits for 30
