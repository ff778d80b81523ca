"""A small document by GET: TLS verified, bounded in time and size; no redirect, no proxy, no secret sent.

On http.client, which does no more than that. It blocks: call it in a thread.
"""

import http.client
import re
import ssl
import time
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from registry.auth.addresses import is_safe

LARGEST = 2**20  # bytes
_MAX_AGE = re.compile(r"(?:^|[,\s])max-age=(\d{1,9})(?:$|[,\s])", re.ASCII)


class FetchFailed(Exception):
    """The document could not be had; the text says from where and why."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """`max_age` in seconds, where the answer has one."""

    body: bytes
    max_age: int | None = None


def fetch(url: str, *, seconds: float = 5.0, context: ssl.SSLContext | None = None) -> Fetched:
    """Raises FetchFailed. `context` says whom to trust; without it, whom this machine trusts."""
    if not is_safe(url):
        raise FetchFailed(f"{url} is not fetched: only https is, and http on this machine")
    deadline = time.monotonic() + seconds
    parts = urlsplit(url)
    connection = _connection(parts, seconds, context)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request("GET", target, headers={"Accept": "application/json"})
        answer = connection.getresponse()
        _require_document(answer, url)
        return Fetched(_read(answer, url, deadline), _max_age(answer))
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise FetchFailed(f"{url} cannot be read: {str(error) or type(error).__name__}") from error
    finally:
        connection.close()


def _connection(
    parts: SplitResult, seconds: float, context: ssl.SSLContext | None
) -> http.client.HTTPConnection:
    assert parts.hostname
    if parts.scheme == "http":
        return http.client.HTTPConnection(parts.hostname, parts.port, timeout=seconds)
    trusted = context or ssl.create_default_context()
    return http.client.HTTPSConnection(parts.hostname, parts.port, timeout=seconds, context=trusted)


def _require_document(answer: http.client.HTTPResponse, url: str) -> None:
    if 300 <= answer.status < 400:
        raise FetchFailed(
            f"{url} answered {answer.status}: redirects are not followed, give the address that it leads to"
        )
    if answer.status != 200:
        raise FetchFailed(f"{url} answered {answer.status}, expected 200")


def _read(answer: http.client.HTTPResponse, url: str, deadline: float) -> bytes:
    body = bytearray()
    # read1 returns what one receive brought: a server that drips would otherwise never meet the deadline.
    while chunk := answer.read1(65536):
        body += chunk
        if len(body) > LARGEST:
            raise FetchFailed(f"{url} is larger than {LARGEST} bytes")
        if time.monotonic() > deadline:
            raise FetchFailed(f"{url} took too long")
    if answer.length:  # what Content-Length promised and did not come
        raise FetchFailed(f"{url} ended early")
    return bytes(body)


def _max_age(answer: http.client.HTTPResponse) -> int | None:
    found = _MAX_AGE.search(answer.getheader("Cache-Control", "") or "")
    return int(found[1]) if found else None
