"""Content brought into a registry over HTTP, past its rules for clients."""

import http.client
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from oci_registry_testing.content import Content
from oci_registry_testing.names import Reference

_SECONDS = 60.0


class PushRefused(Exception):
    """The registry took it for invalid even so; `body` says why."""

    def __init__(self, what: str, status: int, body: bytes) -> None:
        super().__init__(f"{what}: {status} {body.decode(errors='replace')}")
        self.status, self.body = status, body


@dataclass(frozen=True, slots=True)
class Place:
    """Where a registry listens; `authority` is a file to trust, empty without TLS."""

    host: str
    port: int
    scheme: str
    authority: str
    door: tuple[str, str]  # the header by which it knows that it is us

    @property
    def netloc(self) -> str:
        """As clients write it: what listens everywhere is reached on the loopback address."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 (compared, not bound)
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"


class Pusher:
    def __init__(self, connection: http.client.HTTPConnection, headers: Mapping[str, str]) -> None:
        self._connection, self._headers = connection, headers

    def push(self, repository: str, content: Content, *tags: str) -> None:
        for digest, data in content.blobs.items():
            path = f"/v2/{repository}/blobs/uploads/?digest={digest}"
            self._ask("POST", path, data, "application/octet-stream")
        for child in content.children:
            self.push(repository, child)
        named = "&".join(f"tag={tag}" for tag in tags)
        path = f"/v2/{repository}/manifests/{content.digest}?{named}"
        self._ask("PUT", path, content.manifest, content.media_type)

    def _ask(self, method: str, path: str, body: bytes, media_type: str) -> None:
        self._connection.request(method, path, body, {**self._headers, "Content-Type": media_type})
        answer = self._connection.getresponse()
        said = answer.read()
        if answer.status != 201:
            raise PushRefused(f"{method} {path}", answer.status, said)


@contextmanager
def pushing(place: Place) -> Iterator[Pusher]:
    connection = _connect(place)
    try:
        yield Pusher(connection, dict([place.door]))
    finally:
        connection.close()


def _connect(place: Place) -> http.client.HTTPConnection:
    if place.scheme == "http":
        return http.client.HTTPConnection(place.netloc, timeout=_SECONDS)
    trusted = ssl.create_default_context(cafile=place.authority or None)
    if not place.authority:  # a certificate of the test's own, of whatever names: whose port it is, we know
        trusted.check_hostname, trusted.verify_mode = False, ssl.CERT_NONE
    return http.client.HTTPSConnection(place.netloc, timeout=_SECONDS, context=trusted)


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push came to: `ref` is what clients are given."""

    host: str
    reference: Reference
    content: Content

    @property
    def repository(self) -> str:
        return self.reference.repository

    @property
    def tag(self) -> str:
        return self.reference.tag

    @property
    def digest(self) -> str:
        return self.content.digest

    @property
    def ref(self) -> str:
        """HOST/REPOSITORY:TAG, by digest where there is no tag."""
        return f"{self.host}/{self.reference.place}"
