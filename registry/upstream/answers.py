"""What heads say of content: pure functions, which believe nothing that contradicts itself."""

import re
from dataclasses import dataclass

from registry.upstream.breaker import busy, read_retry_after
from registry.upstream.errors import (
    UpstreamDenied,
    UpstreamError,
    UpstreamFailed,
    UpstreamForged,
    UpstreamHeadless,
    UpstreamMissing,
)
from registry.upstream.transport import Answer
from storage.digest import Digest
from storage.errors import InvalidDigest

_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})", re.ASCII)
_UNSATISFIED = re.compile(r"bytes \*/(\d{1,19})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes to come: so many to skip, then so many of use (None: not told), of so many in all."""

    skip: int
    length: int | None
    size: int | None


def find_fault(name: str, answer: Answer, *, method: str, own: bool, logged_in: bool) -> UpstreamError | None:
    """The fact of a status that is no success. `own`: it is of the upstream itself, not of where it led."""
    status, retry_after = answer.status, answer.fields.get("retry-after")
    if status in (200, 206, 304):
        return None
    if status == 429:
        return busy(name, retry_after)
    # Some have no HEAD, or redirect it to a URL that is signed for GET alone.
    if method == "HEAD" and (status == 501 or (400 <= status < 500 and status not in (404, 408))):
        return UpstreamHeadless(name, f"it answered {status} to a HEAD")
    if status in (401, 403) and not own:
        return UpstreamFailed(name, f"the host that it redirects to answered {status}")
    if status == 403 and not logged_in:
        return UpstreamDenied(name, "it refuses to answer (403)")
    if status == 416:  # the bytes that came before it are none of the blob's, and must not be gone on with
        return UpstreamForged(name, "it has no bytes where those that came before end (416)")
    # Any other 4xx is of this request alone, not of the upstream's health: whoever asks may make one up.
    if 400 <= status < 500 and status != 408:
        return UpstreamMissing(name, f"it has no such thing ({status})")
    return UpstreamFailed(name, f"it answered {status}", read_retry_after(retry_after))


def read_digest(answer: Answer) -> Digest | None:
    """Docker-Content-Digest, if bytes can be compared with it."""
    try:
        return Digest.parse(answer.fields.get("docker-content-digest", ""))
    except InvalidDigest:
        return None


def read_media_type(answer: Answer) -> str:
    return answer.fields.get("content-type", "").partition(";")[0].strip()


def read_part(name: str, answer: Answer, offset: int) -> Part:
    """What a blob's answer brings to who asked for all from `offset` on. Raises UpstreamForged.

    No If-Range is sent: a blob's bytes are those of its digest, whatever the upstream's ETag is.
    """
    if answer.status == 200:
        size = answer.length
        if size is not None and size < offset:
            raise UpstreamForged(name, f"the blob has {size} bytes, and had {offset} before")
        return Part(offset, None if size is None else size - offset, size)
    found = _RANGE.fullmatch(answer.fields.get("content-range", ""))
    if answer.status != 206 or not found:
        raise UpstreamForged(name, f"it answered {answer.status} without the range that it is of")
    first, last, size = map(int, found.groups())
    if not first == offset <= last or last + 1 != size or answer.length not in (None, size - offset):
        raise UpstreamForged(name, f"it sent another range than that from {offset} on: {found[0]}")
    return Part(0, size - offset, size)


def read_end(answer: Answer, offset: int) -> bool:
    """Whether a 416 says that the blob ends where the range would begin."""
    found = _UNSATISFIED.fullmatch(answer.fields.get("content-range", ""))
    return answer.status == 416 and offset > 0 and found is not None and int(found[1]) == offset
