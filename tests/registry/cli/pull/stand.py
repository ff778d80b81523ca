"""A cache as `registry pull` sees it: scripted content, faults and logins; every request is written down."""

import base64
import http.server
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from storage.digest import Digest
from tests import builders
from tests.builders import JsonObject

HUB = "docker.io"


@dataclass(slots=True)
class Fault:
    """Of the next `times` answers whose path has `path` in it."""

    path: str
    status: int = 0
    fields: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    flip: bool = False
    whole: bool = False  # Range is not looked at
    times: int = 1


@dataclass(slots=True)
class Stand:
    """`upstreams` are those that it knows; `login` is asked for by `scheme`."""

    upstreams: tuple[str, ...] = (HUB,)
    login: tuple[str, str] | None = None
    scheme: str = "Bearer"
    realm: str = ""  # its own, unless told otherwise
    status: str = "oci-registry; hit"
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    seen: list[tuple[str, str]] = field(default_factory=list)  # target and Range
    url: str = ""

    def count(self, path: str) -> int:
        return sum(path in target for target, _ in self.seen)

    def add(self, name: str, *layers: bytes, seed: str = "") -> bytes:
        """An image under `name`, such as `library/alpine:latest`; returns its manifest."""
        config = json.dumps({"seed": seed or name}).encode()
        for each in (config, *layers):
            self.blobs[str(Digest.of(each))] = each
        raw = builders.image(builders.descriptor(config, builders.OCI_CONFIG), [*map(layer, layers)])
        return self.keep(name, raw, builders.OCI_IMAGE)

    def keep(self, name: str, raw: bytes, media_type: str) -> bytes:
        """A manifest, by its tag and by its digest."""
        repository, _, tag = name.partition(":")
        for reference in (tag, str(Digest.of(raw))):
            self.manifests[f"{repository}/manifests/{reference}"] = media_type, raw
        return raw

    def fault(self, path: str) -> Fault | None:
        for fault in self.faults:
            if fault.times and fault.path in path:
                fault.times -= 1
                return fault
        return None


def layer(data: bytes) -> JsonObject:
    return builders.descriptor(data)


@contextmanager
def standing(stand: Stand) -> Iterator[Stand]:
    """Serves until the block ends, and sets `url`."""

    class Handler(_Handler):
        of = stand

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        stand.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield stand
        finally:
            server.shutdown()
            thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    of: Stand
    protocol_version = "HTTP/1.1"
    timeout = 5

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        self.of.seen.append((self.path, self.headers.get("Range", "")))
        if parts.path == "/token":
            self._token(query)
            return
        if not self._may(query):
            return
        space = query.get("ns", "")
        fields = {"OCI-Namespace": space} if space in self.of.upstreams else {}
        fault = self.of.fault(parts.path)
        if fault and fault.status:
            self._error(fault.status, {**fields, **fault.fields})
            return
        name = parts.path.removeprefix("/v2/")
        found = self.of.manifests.get(name)
        blob = self.of.blobs.get(name.rpartition("/blobs/")[2])
        if found:
            fields |= {"Docker-Content-Digest": str(Digest.of(found[1]))}
            self._send(200, found[1], {**fields, "Content-Type": found[0]}, fault)
        elif blob is not None:
            self._blob(blob, fields, fault)
        else:
            self._error(404, fields)

    def _blob(self, data: bytes, fields: dict[str, str], fault: Fault | None) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if not asked or (fault and fault.whole):
            self._send(200, data, fields, fault)
            return
        first = int(asked[1])
        span = {"Content-Range": f"bytes {first}-{len(data) - 1}/{len(data)}"}
        self._send(206, data[first:], {**fields, **span}, fault)

    def _may(self, query: dict[str, str]) -> bool:
        login = self.of.login
        if login is None:
            return True
        shown = self.headers.get("Authorization", "")
        right = f"Bearer token-of-{login[0]}" if self.of.scheme == "Bearer" else _basic(login)
        if shown == right:
            return True
        realm = self.of.realm or f"{self.of.url}/token"
        challenge = {"Bearer": f'Bearer realm="{realm}",service="stand"', "Basic": 'Basic realm="stand"'}
        self._error(401, {"WWW-Authenticate": challenge[self.of.scheme]})
        return False

    def _token(self, query: dict[str, str]) -> None:
        assert self.of.login
        right = self.headers.get("Authorization") == _basic(self.of.login)
        name = self.of.login[0] if right else "nobody"
        self._send(200, json.dumps({"token": f"token-of-{name}"}).encode(), {}, None)

    def _error(self, status: int, fields: dict[str, str]) -> None:
        body = json.dumps({"errors": [{"code": "UNKNOWN", "message": f"scripted {status}"}]}).encode()
        self._send(status, body, fields, None)

    def _send(self, status: int, body: bytes, fields: dict[str, str], fault: Fault | None) -> None:
        self.send_response(status)
        known = {"Content-Length": str(len(body)), "Cache-Status": self.of.status}
        for name, value in (known | fields | (fault.fields if fault else {})).items():
            self.send_header(name, value)
        self.end_headers()
        if fault and fault.flip:
            body = bytes([body[0] ^ 1]) + body[1:]
        if fault and fault.cut is not None:
            self.wfile.write(body[: fault.cut])
            self.close_connection = True
            return
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def _basic(login: tuple[str, str]) -> str:
    return "Basic " + base64.b64encode(":".join(login).encode()).decode()
