"""Nothing that a client sends makes the server connect to anywhere, or take anything from there.

There is no pull-through cache yet: T31 to T33 are what must hold without one, by the kernel's own word. Only
what the settings name (the keys of foreign issuers) is ever fetched.
"""

import base64
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from storage.digest import Digest
from tests.builders import DOCKER_IMAGE, OCI_IMAGE, descriptor, image
from tests.hostile.attacking import Line, refused, stored
from tests.live.servers import Live
from tests.live.tracing import traced

FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
NONDISTRIBUTABLE = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
SECRET = "Basic aHVudGVyMg=="


@dataclass(frozen=True, slots=True)
class Canary:
    """Somebody who listens where nothing must ever arrive."""

    socket: socket.socket

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.socket.getsockname()[1]}"

    def heard(self) -> bool:
        try:
            self.socket.accept()[0].close()
        except BlockingIOError:
            return False
        return True


@pytest.fixture
def canary() -> Iterator[Canary]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield Canary(listening)


@pytest.fixture
def quiet(live: Live, canary: Canary, tmp_path: Path) -> Iterator[None]:
    """Meanwhile nobody is called: neither the canary nor, by what the kernel saw, anyone else."""
    log = tmp_path / "calls"
    with traced(live.pid, "connect,socket", log):
        yield
    said = log.read_text()
    made = [line for line in said.splitlines() if "socket(AF_INET" in line or "connect(" in line]
    assert made == []
    assert not canary.heard()


def attempts(host: str) -> dict[str, tuple[str, str, dict[str, str]]]:
    """Each way to name an upstream: method, target, headers."""
    absent = Digest.of(b"absent")
    url = f"http://{host}"
    return {
        "ns": ("GET", f"/v2/library/alpine/manifests/latest?ns={host}", {}),
        "ns of a blob": ("GET", f"/v2/library/alpine/blobs/{absent}?ns={url}", {}),
        "name": ("GET", f"/v2/{host.replace(':', '.')}/library/alpine/manifests/latest", {}),
        "absolute form": ("GET", f"{url}/v2/library/alpine/manifests/latest", {}),
        "absolute form, https": ("GET", f"https://{host}/v2/library/alpine/manifests/latest", {}),
        "CONNECT": ("CONNECT", host, {}),
        "Host": ("GET", "/v2/library/alpine/manifests/latest", {"Host": host}),
        "X-Forwarded": (
            "GET",
            "/v2/library/alpine/manifests/latest",
            {"X-Forwarded-Host": host, "X-Forwarded-Proto": "http", "Forwarded": f"host={host}"},
        ),
        "X-Original-URL": ("GET", "/v2/", {"X-Original-URL": url, "X-Rewrite-URL": url, "X-Upstream": url}),
        "X-Registry-Remote": ("GET", "/v2/x/manifests/y", {"X-Registry-Remote": url, "Docker-Remote": url}),
        "Referer": ("GET", "/v2/x/manifests/y", {"Referer": url, "Origin": url, "Location": url}),
        "mount": ("POST", f"/v2/x/blobs/uploads/?mount={absent}&from={host.replace(':', '/')}", {}),
        "from a URL": ("POST", f"/v2/x/blobs/uploads/?mount={absent}&from={url}", {}),
        "webhook": ("POST", f"/v2/x/blobs/uploads/?callback={url}&url={url}&remoteurl={url}", {}),
        "issuer": ("GET", "/v2/", {"Authorization": f"Bearer {token(url)}"}),
    }


def token(url: str) -> str:
    """One that says itself where its keys are."""
    head = {"alg": "RS256", "typ": "JWT", "jku": f"{url}/keys", "x5u": f"{url}/cert", "kid": url}
    claims = {"iss": url, "aud": "oci-registry", "sub": "me", "exp": 4_000_000_000}
    parts = [json.dumps(part).encode() for part in (head, claims)] + [b"signature"]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


@pytest.mark.usefixtures("quiet")
def test_t31_no_request_chooses_an_upstream(line: Line, canary: Canary) -> None:
    for method, target, headers in attempts(canary.host).values():
        answer = line.ask(method, target, headers=headers)
        assert answer.status in (200, 202, 400, 403, 404, 405), (method, target, answer)
        if answer.status >= 400:
            refused(
                answer,
                answer.status,
                {"NAME_INVALID", "MANIFEST_UNKNOWN", "BLOB_UNKNOWN", "UNSUPPORTED", "DENIED"},
            )
        assert canary.host not in str(answer.headers)


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("media_type", [FOREIGN, NONDISTRIBUTABLE, "application/vnd.oci.image.layer.v1.tar"])
def test_t31_the_urls_of_a_layer_are_never_fetched(line: Line, canary: Canary, media_type: str) -> None:
    """Not at the push, not at a pull, not at HEAD; and what they lead to is not this repository's."""
    there = b"what the URL would lead to"
    urls = [f"http://{canary.host}/layer", f"https://{canary.host}/", "file:///etc/passwd", "ftp://x/", "//"]
    body = image(layers=[descriptor(there, media_type, urls=urls)])
    foreign = media_type in (FOREIGN, NONDISTRIBUTABLE)
    assert line.ask("PUT", "/v2/base/manifests/foreign", body).status == (201 if foreign else 400)
    for method in ("GET", "HEAD"):
        for headers in ({}, {"Range": "bytes=0-9"}):
            answer = line.ask(method, f"/v2/base/blobs/{Digest.of(there)}", headers=headers)
            refused(answer, 404, "BLOB_UNKNOWN", method=method)
    if foreign:
        assert line.ask("GET", "/v2/base/manifests/foreign").body == body


@pytest.mark.usefixtures("quiet")
def test_t31_no_annotation_or_subject_is_followed(line: Line, canary: Canary) -> None:
    url = f"http://{canary.host}"
    body = image(
        annotations={"org.opencontainers.image.url": url, "org.opencontainers.image.source": url},
        subject=descriptor(b"elsewhere", OCI_IMAGE, urls=[url]),
        media_type=DOCKER_IMAGE,
    )
    assert line.ask("PUT", "/v2/base/manifests/annotated", body, {"Content-Type": DOCKER_IMAGE}).status == 201
    assert line.ask("GET", f"/v2/base/referrers/{Digest.of(b'elsewhere')}").status == 200


@pytest.mark.usefixtures("quiet")
def test_t32_no_credential_goes_anywhere(line: Line, canary: Canary) -> None:
    """There is nobody to give one to; and none comes back to whom it did not come from."""
    for method, target, headers in attempts(canary.host).values():
        sent = {"Authorization": SECRET, **headers}
        answer = line.ask(method, target, headers=sent)
        assert SECRET not in str(answer.headers) + answer.body.decode("latin-1")
        challenge = answer.headers.get("www-authenticate", "")
        assert canary.host not in challenge or headers.get("Host") == canary.host


@pytest.mark.usefixtures("quiet")
def test_t33_nothing_is_stored_that_was_not_pushed_here(line: Line, live: Live, canary: Canary) -> None:
    before = stored(live.root)
    for method, target, headers in attempts(canary.host).values():
        if method != "POST":
            line.ask(method, target, headers=headers)
    assert stored(live.root) == before
    for name in ("library/alpine", f"{canary.host.replace(':', '.')}/library/alpine"):
        refused(line.ask("GET", f"/v2/{name}/tags/list"), 404, "NAME_UNKNOWN")
