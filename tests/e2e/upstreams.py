"""Upstreams of a cache: live registries that want logins, each behind a proxy that counts and fails."""

import contextlib
import json
import re
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
from anyio.from_thread import start_blocking_portal
from joserfc.jwk import ECKey

from tests.auth.issuing import signed
from tests.certificates import Certificate, make_certificate
from tests.e2e.clients import Client
from tests.e2e.daemons import daemon
from tests.e2e.guarded import password_of, write_users
from tests.e2e.images import INDEX, MANIFEST, TAG, Layout
from tests.e2e.serving import serve
from tests.upstream.proxy import Fault, Proxy, Rule, proxying

HUB, DEBIAN = "docker.io", "debian.example"
USER = "robot"
DEADLINE = 5  # seconds after which what is here is served: a slow machine must not have what is old
_LASTS = 3600


@dataclass(frozen=True, slots=True)
class Origin:
    """One upstream. `host` is past the proxy; `secret` is the Authorization of who may push."""

    name: str
    host: str
    proxy: Proxy
    secret: str
    settings: Mapping[str, object]

    @property
    def table(self) -> str:
        """[[upstream]] of the settings; a JSON value is a TOML value here. Tags are asked for each time."""
        fresh = {"ttl": 0, "stale": 0, "negative_ttl": 0, "deadline": DEADLINE}
        keys = {"name": self.name, "url": self.proxy.url, "username": USER, **fresh, **self.settings}
        return "\n".join(
            ["[[upstream]]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items()), ""]
        )

    def push(self, repository: str, layout: Layout, tag: str = TAG) -> None:
        with httpx.Client(
            base_url=f"http://{self.host}/v2/{repository}/",
            headers={"Authorization": self.secret},
            trust_env=False,
        ) as client:
            kinds = {digest: _kind(content) for digest, content in layout.blobs.items()}
            for digest in sorted(layout.blobs, key=lambda digest: ("", MANIFEST, INDEX).index(kinds[digest])):
                content, kind = layout.blobs[digest], kinds[digest]
                if not kind:
                    place = client.post("blobs/uploads/").raise_for_status().headers["Location"]
                    joined = httpx.URL(client.base_url.join(place)).copy_merge_params({"digest": digest})
                    client.put(joined, content=content).raise_for_status()
                    continue
                reference = tag if digest == layout.digest else digest
                fields = {"Content-Type": kind}
                client.put(f"manifests/{reference}", content=content, headers=fields).raise_for_status()

    def gets(self, *digests: str) -> dict[str, int]:
        """How often each of these was asked for here."""
        asked = [each.target for each in self.proxy.seen if each.method == "GET"]
        return {digest: sum(digest in target for target in asked) for digest in digests}

    def off(self) -> contextlib.AbstractContextManager[Rule]:
        """Whoever connects gets no answer."""
        return self.failing(Fault(drop=True))

    @contextlib.contextmanager
    def failing(self, fault: Fault, path: str = "", times: int = -1) -> Iterator[Rule]:
        rule = Rule(fault, path, times=times)
        self.proxy.rules.insert(0, rule)
        yield rule
        self.proxy.rules.remove(rule)


def _kind(content: bytes) -> str:
    """The media type of a manifest, or nothing."""
    try:
        kind = json.loads(content).get("mediaType", "")
    except ValueError:
        return ""
    return kind if kind in (MANIFEST, INDEX) else ""


@contextlib.contextmanager
def proxied(target: str | None = None) -> Iterator[Proxy]:
    """The proxy on a loop of its own."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(proxying(target)) as proxy:
        yield proxy


@contextlib.contextmanager
def ours(folder: Path) -> Iterator[Origin]:
    """Another instance of ours: nobody gets in without its users' password, or a token of its own."""
    folder.mkdir()
    write_users(folder / "users", {USER: password_of(USER)})
    flags = ("--htpasswd", str(folder / "users"), "--anonymous", "none")
    with serve(folder, *flags) as server, proxied(server.host) as proxy:
        basic = httpx.BasicAuth(USER, password_of(USER))._auth_header
        settings = {"password_file": str(_secret_file(folder)), "default": True}
        yield Origin(HUB, server.host, proxy, basic, settings)


@contextlib.contextmanager
def debian(program: Client, folder: Path, repositories: Sequence[str]) -> Iterator[Origin]:
    """Debian's docker-registry, with a token server at another address."""
    folder.mkdir()
    certificate = make_certificate(folder)
    with proxied() as issuer, _debian_registry(program, folder, issuer, certificate) as host:
        pulls, pushes = (
            _token(certificate, repositories, actions) for actions in (["pull"], ["pull", "push"])
        )
        body = json.dumps({"token": pulls, "expires_in": _LASTS}).encode()
        issuer.rules.append(Rule(Fault(200, {"Content-Type": "application/json"}, body), path="^/token"))
        with proxied(host) as proxy:
            settings = {"password_file": str(_secret_file(folder)), "realms": [issuer.host]}
            yield Origin(DEBIAN, host, proxy, f"Bearer {pushes}", settings)


@contextlib.contextmanager
def _debian_registry(program: Client, folder: Path, issuer: Proxy, certificate: Certificate) -> Iterator[str]:
    (folder / "config.yml").write_text(
        f"""version: 0.1
storage:
  filesystem:
    rootdirectory: {folder}/root
http:
  addr: 127.0.0.1:0
auth:
  token:
    realm: {issuer.url}/token
    service: {DEBIAN}
    issuer: tests
    rootcertbundle: {certificate.cert}
"""
    )
    log = folder / "log"
    flags = ["serve", str(folder / "config.yml")]
    # It takes every REGISTRY_… for a setting, podman's REGISTRY_AUTH_FILE too.
    bare = Client(program.program, {"PATH": program.environment["PATH"]})
    with daemon(bare, flags, log, lambda text: "listening on" in text):
        found = re.search(r"listening on (127\.0\.0\.1:\d+)", log.read_text())
        assert found
        yield found[1]


def _token(certificate: Certificate, repositories: Sequence[str], actions: Sequence[str]) -> str:
    key = ECKey.import_key(certificate.key.read_bytes())
    der = "".join(certificate.cert.read_text().splitlines()[1:-1])
    now = int(time.time())
    claims = {
        "iss": "tests",
        "aud": DEBIAN,
        "sub": USER,
        "jti": str(uuid.uuid4()),
        "iat": now,
        "nbf": now - 60,
        "exp": now + _LASTS,
        "access": [{"type": "repository", "name": name, "actions": actions} for name in repositories],
    }
    return signed("ES256", key, {"typ": "JWT", "alg": "ES256", "x5c": [der]}, claims)


def _secret_file(folder: Path) -> Path:
    path = folder / "secret"
    path.touch(mode=0o600)
    path.write_text(f"{password_of(USER)}\n")
    return path
