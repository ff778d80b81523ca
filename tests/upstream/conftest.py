"""A live registry with a user and a pushed image, and clients of it through a proxy."""

import base64
import json
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import bcrypt
import pytest

from storage.digest import Digest
from tests.e2e.serving import Server, serve

USER, PASSWORD = "alice", "correct horse"
IMAGE = "application/vnd.oci.image.manifest.v1+json"


@dataclass(frozen=True, slots=True)
class Content:
    """What the registry holds in `team/app`: a layer, and a manifest under `v1`."""

    server: Server
    layer: bytes
    manifest: bytes

    @property
    def layer_digest(self) -> Digest:
        return Digest.of(self.layer)

    @property
    def digest(self) -> Digest:
        return Digest.of(self.manifest)


@pytest.fixture(scope="session")
def content(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Content]:
    folder = tmp_path_factory.mktemp("upstream")
    users = folder / "users"
    users.write_text(f"{USER}:{bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()}\n")
    users.chmod(0o600)
    layer = bytes(range(256)) * 4096
    config = b"{}"
    with serve(folder, "--htpasswd", str(users), "--anonymous", "none", "--no-access-log") as server:
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": IMAGE,
                "config": _push(server, config, "application/vnd.oci.image.config.v1+json"),
                "layers": [_push(server, layer, "application/vnd.oci.image.layer.v1.tar")],
            }
        ).encode()
        for tag in ("v1", "v2", "v3"):
            _send(server, "PUT", f"/v2/team/app/manifests/{tag}", manifest, IMAGE)
        yield Content(server, layer, manifest)


def _push(server: Server, data: bytes, media_type: str) -> dict[str, object]:
    digest = str(Digest.of(data))
    _send(server, "POST", f"/v2/team/app/blobs/uploads/?digest={digest}", data, "application/octet-stream")
    return {"mediaType": media_type, "digest": digest, "size": len(data)}


def _send(server: Server, method: str, path: str, data: bytes, media_type: str) -> None:
    login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    fields = {"Authorization": f"Basic {login}", "Content-Type": media_type}
    request = urllib.request.Request(f"http://{server.host}{path}", data, fields, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 201


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text(f"{PASSWORD}\n")
    path.chmod(0o600)
    return path
