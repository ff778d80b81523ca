"""Debian's docker-registry 2.8 and the profile for it, asked the same; docs/profiles.md has the answers."""

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import httpx

from tests.api.world import CONFIG, IMAGE, LAYER, REFERRER, SPARE, digest
from tests.builders import OCI_CONFIG, OCI_IMAGE, descriptor, image
from tests.e2e.serving import serve

PROGRAM = "docker-registry"
_SECONDS = 15.0
_CONFIGURATION = """version: 0.1
storage:
  filesystem:
    rootdirectory: {root}
  delete:
    enabled: true
http:
  addr: {host}
"""
_OCI = {"Content-Type": OCI_IMAGE}
_APP, _OTHER = "/v2/team/app", "/v2/team/other"

# What is known to be different, as (there, by the profile).
DIFFERENT = {
    "DELETE of a tag": ("400 DIGEST_INVALID", "400 UNSUPPORTED"),
    "a manifest of more than 4 MiB": ("400 MANIFEST_INVALID", "413 MANIFEST_INVALID"),
    "PUT of a blob with a sha512 digest": ("201", "400 DIGEST_INVALID"),
}


def differences() -> list[str]:
    """What one of the two answers otherwise than is written down."""
    with tempfile.TemporaryDirectory(prefix="distribution-") as folder:
        with _distribution(Path(folder)) as host:
            there = _ask(host)
        with serve(Path(folder), "--profile", "distribution-2.8", "--no-access-log") as server:
            here = _ask(server.host)
    found = []
    for name, answer in there.items():
        wanted = DIFFERENT.get(name, (answer, answer))
        if (answer, here[name]) != wanted:
            found.append(f"{name}: {answer} there, {here[name]} by the profile, expected {wanted}")
    return found


def is_installed() -> bool:
    return shutil.which(PROGRAM) is not None


@contextlib.contextmanager
def _distribution(folder: Path) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:  # it takes no port 0
        host = f"127.0.0.1:{free.getsockname()[1]}"
    file = folder / "config.yml"
    file.write_text(_CONFIGURATION.format(root=folder / "distribution", host=host))
    with (folder / "distribution.log").open("wb") as log:
        process = subprocess.Popen([PROGRAM, "serve", str(file)], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + _SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.TransportError):
                httpx.get(f"http://{host}/v2/")
                break
            time.sleep(0.05)
        yield host
    finally:
        process.terminate()
        process.wait(_SECONDS)


def _ask(host: str) -> Mapping[str, str]:
    with httpx.Client(base_url=f"http://{host}", timeout=_SECONDS) as client:
        for data in (CONFIG, LAYER, SPARE):
            assert _push(client, digest(data), data) == "201"
        for tag in ("b", "a", "c"):
            assert client.put(f"{_APP}/manifests/{tag}", content=IMAGE, headers=_OCI).status_code == 201
        return {name: probe(client) for name, probe in PROBES.items()}


def _push(client: httpx.Client, named: str, data: bytes) -> str:
    location = client.post(f"{_APP}/blobs/uploads/").headers["location"]
    return _said(client.put(f"{location}{'&' if '?' in location else '?'}digest={named}", content=data))


def _said(response: httpx.Response) -> str:
    """The status, and the code of an error."""
    if response.status_code < 400:
        return str(response.status_code)
    if not response.headers.get("content-type", "").startswith("application/json"):
        return f"{response.status_code} {response.text.strip()}"
    return f"{response.status_code} {response.json()['errors'][0]['code']}"


def _header(response: httpx.Response, name: str) -> str:
    return f"{_said(response)} {response.headers.get(name)}"


def _put(client: httpx.Client, raw: bytes, query: str = "") -> httpx.Response:
    return client.put(f"{_APP}/manifests/{digest(raw)}{query}", content=raw, headers=_OCI)


def _tags(client: httpx.Client) -> str:
    listed = client.get(f"{_APP}/tags/list?n=1&last=a")
    return f"{sorted(listed.json()['tags'])} {listed.headers.get('link')}"


def _cancelled(client: httpx.Client) -> str:
    return _said(client.delete(client.post(f"{_APP}/blobs/uploads/").headers["location"]))


def _location(client: httpx.Client) -> str:
    location = client.post(f"{_APP}/blobs/uploads/").headers["location"]
    return location.partition("uploads/")[0].replace(str(client.base_url), "ORIGIN")


def _post(query: str, body: bytes = b"") -> Callable[[httpx.Client], str]:
    return lambda client: _said(client.post(f"{_OTHER}/blobs/uploads/{query}", content=body))


def _accepting(accepted: str) -> Callable[[httpx.Client], str]:
    return lambda client: _said(client.get(f"{_APP}/manifests/a", headers={"Accept": accepted}))


_LARGE = image(descriptor(CONFIG, OCI_CONFIG), annotations={"a": "x" * (4 * 2**20)})

PROBES: Mapping[str, Callable[[httpx.Client], str]] = {
    "a referrers list": lambda client: _said(client.get(f"{_APP}/referrers/{digest(IMAGE)}")),
    "a manifest with a subject": lambda client: _header(_put(client, REFERRER), "oci-subject"),
    "POST with ?digest=": _post(f"?digest={digest(SPARE)}", SPARE),
    "?mount= without from": _post(f"?mount={digest(SPARE)}"),
    "?mount= with from": _post(f"?mount={digest(SPARE)}&from=team/app"),
    "Location": _location,
    "tags, page by page": _tags,
    "Accept: */*": _accepting("*/*"),
    "Accept: the type": _accepting(f"{OCI_IMAGE};q=0.5"),
    "PUT with ?tag=": lambda client: _header(_put(client, IMAGE, "?tag=x&tag=y"), "oci-tag"),
    "a range": lambda client: _said(
        client.get(f"{_APP}/blobs/{digest(LAYER)}", headers={"Range": "bytes=0-3"})
    ),
    "a catalog": lambda client: _said(client.get("/v2/_catalog")),
    "a manifest of more than 4 MiB": lambda client: _said(_put(client, _LARGE)),
    "PUT of a blob with a sha512 digest": lambda client: _push(client, digest(b"wide", "sha512"), b"wide"),
    "DELETE of a session": _cancelled,
    "DELETE of a tag": lambda client: _said(client.delete(f"{_APP}/manifests/c")),
    "DELETE of a manifest": lambda client: _said(client.delete(f"{_APP}/manifests/{digest(REFERRER)}")),
    "DELETE of a blob": lambda client: _said(client.delete(f"{_APP}/blobs/{digest(SPARE)}")),
}
