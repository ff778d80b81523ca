"""A registry asked over HTTP, by threads: one connection each, kept for the next request."""

import http.client
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from registry.cli.pull.errors import Interrupted, LoginRefused, PullFailed, UpstreamUnknown
from registry.cli.pull.images import Image
from registry.cli.pull.login import Login, ask_token
from registry.manifests import MAX_MANIFEST, MEDIA_TYPES
from registry.names import Reference
from registry.strict_json import JsonInvalid, loads
from registry.upstream.breaker import read_retry_after
from registry.upstream.challenges import read_challenges
from registry.upstream.origins import Origin, read_origin
from storage.digest import Digest
from storage.errors import InvalidDigest

_SECONDS = 60.0  # without a byte
_CHUNK = 256 * 2**10
_LONGEST = 300  # characters of what a server says
_BUSY = (429, 503)


@dataclass(frozen=True, slots=True)
class Answered:
    """A manifest. `was_here` is None where the server does not say."""

    media_type: str
    raw: bytes
    digest: Digest
    was_here: bool | None


@dataclass(frozen=True, slots=True)
class Body:
    """A blob from an offset on."""

    chunks: Iterator[memoryview]
    was_here: bool | None


class Server:
    def __init__(self, url: str, *, login: Login | None = None, ca_file: str = "") -> None:
        """`url` is an origin. Raises OSError for a file that cannot be read."""
        self.url, self._origin, self._login = url, read_origin(url), login
        self._context = ssl.create_default_context(cafile=ca_file or None)
        self._tokens: dict[str, str] = {}
        self._mine = threading.local()
        self._all: list[http.client.HTTPConnection] = []

    def interrupt(self) -> None:
        """Whoever waits for a byte ends with an error."""
        for connection in list(self._all):
            with suppress(OSError, AttributeError):  # it may be closed by now, and have no socket
                connection.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """When no thread asks any more."""
        for connection in self._all:
            connection.close()

    def manifest(self, image: Image, reference: Reference) -> Answered:
        """The manifest, whose bytes are those of its digest. Raises PullFailed, Interrupted."""
        fields = {"Accept": ", ".join(MEDIA_TYPES)}
        with self._ask(image, f"manifests/{reference}", fields) as answer, _explained():
            raw = answer.read(MAX_MANIFEST + 1)
            if answer.length and len(raw) <= MAX_MANIFEST:  # read takes an early end for the end
                raise Interrupted(f"the connection ended {answer.length} bytes too early")
        said = answer.getheader("Docker-Content-Digest") or ""
        try:
            digest = reference if isinstance(reference, Digest) else Digest.parse(said)
        except InvalidDigest:
            digest = Digest.of(raw)
        if (actual := Digest.of(raw, digest.algorithm)) != digest:
            raise PullFailed(f"the manifest {digest} came as {actual}")
        media_type = (answer.getheader("Content-Type") or "").partition(";")[0].strip()
        return Answered(media_type, raw, digest, _was_here(answer))

    @contextmanager
    def blob(self, image: Image, digest: Digest, offset: int = 0) -> Iterator[Body]:
        """Raises PullFailed, Interrupted, also while the chunks are read; each is good until the next."""
        fields = {"Range": f"bytes={offset}-"} if offset else {}
        with self._ask(image, f"blobs/{digest}", fields) as answer:
            skip = offset
            if answer.status == 206:
                first = (answer.getheader("Content-Range") or "").partition("-")[0]
                if first != f"bytes {offset}":
                    raise PullFailed(f"{self.url} sent another range than that from {offset} on")
                skip = 0
            yield Body(_chunks(answer, skip), _was_here(answer))

    @contextmanager
    def _ask(self, image: Image, path: str, fields: Mapping[str, str]) -> Iterator[http.client.HTTPResponse]:
        """A successful answer of what the upstream has. What is not read of it ends the connection."""
        target = f"/v2/{image.repository}/{quote(path, safe='/:+')}?{urlencode({'ns': image.host})}"
        answer = self._log_in(image, target, fields)
        try:
            if answer.status in (200, 206, 404) and answer.getheader("OCI-Namespace") != image.host:
                raise UpstreamUnknown(image.host, self.url)
            if answer.status not in (200, 206):
                raise self._refusal(answer)
            yield answer
        finally:
            if not answer.isclosed():  # what is left may be long
                answer.close()
                self._connection().close()

    def _log_in(self, image: Image, target: str, fields: Mapping[str, str]) -> http.client.HTTPResponse:
        """The answer after at most one look for a token."""
        scope = f"repository:{image.host}/{image.repository}:pull"
        shown = self._tokens.get(scope) or (self._login.basic if self._login else None)
        answer = self._send(target, fields, shown)
        if answer.status != 401:
            return answer
        by_scheme = {
            each.scheme: each for each in read_challenges([answer.getheader("WWW-Authenticate", "")])
        }
        self._drop(answer)
        token = ask_token(self._origin, by_scheme.get("bearer"), scope, self._login, self._context)
        answer = self._send(target, fields, token)
        if answer.status != 401:
            self._tokens[scope] = token
            return answer
        self._drop(answer)
        raise LoginRefused(self.url, logged_in=self._login is not None)

    def _send(self, target: str, fields: Mapping[str, str], shown: str | None) -> http.client.HTTPResponse:
        """Once more where a connection that was kept has ended meanwhile."""
        headers = {**fields, **({"Authorization": shown} if shown else {})}
        kept = self._connection().sock is not None
        for again in (kept, False):
            connection = self._connection()
            try:
                connection.request("GET", target, headers=headers)
                return connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                if not again:
                    raise Interrupted(
                        f"{self.url} does not answer: {str(error) or type(error).__name__}"
                    ) from error
        raise AssertionError

    def _drop(self, answer: http.client.HTTPResponse) -> None:
        """So that the connection serves again, if it can."""
        with suppress(OSError, http.client.HTTPException):
            answer.read(_CHUNK)
        if not answer.isclosed():
            answer.close()
            self._connection().close()

    def _connection(self) -> http.client.HTTPConnection:
        found: http.client.HTTPConnection | None = getattr(self._mine, "connection", None)
        if found is None:
            found = self._mine.connection = _connect(self._origin, self._context)
            self._all.append(found)
        return found

    def _refusal(self, answer: http.client.HTTPResponse) -> PullFailed:
        with _explained():
            said = _message(answer.read(_CHUNK)) or f"it answered {answer.status}"
        if answer.status in _BUSY:
            return Interrupted(said, read_retry_after(answer.getheader("Retry-After")) or 0.0)
        return PullFailed(said)


def _connect(origin: Origin, context: ssl.SSLContext) -> http.client.HTTPConnection:
    if origin.scheme == "https":
        return http.client.HTTPSConnection(origin.host, origin.port, timeout=_SECONDS, context=context)
    return http.client.HTTPConnection(origin.host, origin.port, timeout=_SECONDS)


def _chunks(answer: http.client.HTTPResponse, skip: int) -> Iterator[memoryview]:
    buffer = memoryview(bytearray(_CHUNK))
    left = answer.length
    while True:
        with _explained():
            count = answer.readinto(buffer)
        if not count:
            break
        left = None if left is None else left - count
        yield buffer[min(skip, count) : count]
        skip -= min(skip, count)
    if left:  # readinto takes an early end for the end
        raise Interrupted(f"the connection ended {left} bytes too early")


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        raise Interrupted(f"the connection broke: {str(error) or type(error).__name__}") from error


def _was_here(answer: http.client.HTTPResponse) -> bool | None:
    """What Cache-Status (RFC 9211) says of the cache that is nearest to us."""
    nearest = (answer.getheader("Cache-Status") or "").rpartition(",")[2]
    parts = [part.strip() for part in nearest.split(";")]
    if "hit" in parts:
        return True
    return False if any(part.startswith("fwd=") for part in parts) else None


def _message(raw: bytes) -> str:
    """Of the first error in a registry's answer; empty if it is none."""
    try:
        found = loads(raw)
    except JsonInvalid:
        return ""
    match found:
        case {"errors": [{"message": str(text)}, *_]}:
            return "".join(each if each.isprintable() else "?" for each in text[:_LONGEST])
        case _:
            return ""
