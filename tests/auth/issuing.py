"""An issuer of tokens for tests: its keys, what it signs, and the server that it publishes them by."""

import base64
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from joserfc.jwk import ECKey, Key, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

NOW = 1_800_000_000
AUDIENCE = "registry.example.com"
GENERATED: Mapping[str, Callable[[], Key]] = {
    "RS": lambda: RSAKey.generate_key(2048),
    "ES256": lambda: ECKey.generate_key("P-256"),
    "ES384": lambda: ECKey.generate_key("P-384"),
    "EdDSA": lambda: OKPKey.generate_key("Ed25519"),
}


@cache
def made_key(kind: str, number: int = 0) -> Key:
    """The same key each time; another one for another number."""
    return GENERATED[kind]()


def key_for(algorithm: str, number: int = 0) -> Key:
    return made_key("RS" if algorithm[:2] in ("RS", "PS") else algorithm, number)


def published(key: Key, kid: str = "", **more: object) -> dict[str, object]:
    """The public half, as a key set has it."""
    named = {"kid": kid} if kid else {}
    return {**{name: value for name, value in key.as_dict().items() if name != "kid"}, **named, **more}


def key_set(*keys: Mapping[str, object]) -> bytes:
    return json.dumps({"keys": keys}).encode()


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def write(value: object) -> str:
    """A part of a token; bytes as they are."""
    return b64(value if isinstance(value, bytes) else json.dumps(value).encode())


def signed(
    algorithm: str, key: Key, header: Mapping[str, object] | bytes, claims: Mapping[str, object] | bytes
) -> str:
    """Whatever the header says, it is signed by this algorithm."""
    message = f"{write(header)}.{write(claims)}"
    return f"{message}.{b64(JWSRegistry.algorithms[algorithm].sign(message.encode(), key))}"


def claims_of(issuer: str, **more: object) -> dict[str, object]:
    """Those of a good token; what is None is left out."""
    usual = {"iss": issuer, "sub": "repo:acme/app", "aud": AUDIENCE, "iat": NOW - 5, "exp": NOW + 300}
    return {name: value for name, value in (usual | more).items() if value is not None}


@dataclass(slots=True)
class Page:
    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Site:
    """What a server on this machine answers, and how often it was asked."""

    url: str
    pages: dict[str, Page] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    heads: list[dict[str, str]] = field(default_factory=list)
    ready: threading.Event = field(default_factory=threading.Event)  # answers wait for it

    def publish(self, *keys: Mapping[str, object], **headers: str) -> None:
        about = {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
        self.pages["/.well-known/openid-configuration"] = Page(json.dumps(about).encode())
        self.pages["/keys"] = Page(key_set(*keys), headers=headers)


@contextmanager
def serving(wrap: Callable[[ThreadingHTTPServer], None] = lambda server: None) -> Iterator[Site]:
    """`wrap` may put TLS around its socket."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.asked[self.path] += 1
            site.heads.append(dict(self.headers))
            assert site.ready.wait(30)
            page = site.pages.get(self.path, Page(status=404))
            self.send_response(page.status)
            for name, value in ({"Content-Length": str(len(page.body))} | page.headers).items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(page.body)

        def log_message(self, *args: object) -> None:
            """Nothing: the tests count by themselves."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        site = Site(f"http://127.0.0.1:{server.server_port}")
        site.ready.set()
        wrap(server)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield site
        finally:
            site.ready.set()
            server.shutdown()
            thread.join()
