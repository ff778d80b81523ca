"""oras for Python: whole uploads, chunked uploads, tags."""

import os
from pathlib import Path
from typing import Any

import pytest
from oras.client import OrasClient

from tests.e2e import reading
from tests.e2e.serving import Server

pytestmark = pytest.mark.e2e


@pytest.fixture
def oras(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OrasClient:
    monkeypatch.setenv("HOME", str(tmp_path))  # it runs in this process: no logins or proxies of the user
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return OrasClient(hostname=server.host, insecure=True)


# How the blob travels: oras sends it whole, or in chunks of which the last is short, even or alone.
UPLOADS: dict[str, tuple[dict[str, Any], int]] = {  # how to ask for it, and the PATCH requests that it makes
    "whole": ({"do_chunked": False}, 0),
    "chunks": ({"do_chunked": True, "chunk_size": 70_000}, 3),
    "even chunks": ({"do_chunked": True, "chunk_size": 50_000}, 4),
    "one chunk": ({"do_chunked": True, "chunk_size": 1 << 20}, 1),
}


@pytest.mark.parametrize("upload", UPLOADS)
def test_push_and_pull(upload: str, oras: OrasClient, server: Server, tmp_path: Path) -> None:
    content = os.urandom(200_000)
    (tmp_path / "data.bin").write_bytes(content)
    repository = f"oras-py/{upload.replace(' ', '-')}"
    image = f"{server.host}/{repository}:1"

    asked, patches = UPLOADS[upload]
    oras.push(image, files=[str(tmp_path / "data.bin")], disable_path_validation=True, **asked)
    (pulled,) = oras.pull(image, outdir=str(tmp_path / "back"))

    assert Path(pulled).read_bytes() == content
    assert content in reading.image(server, repository, "1").values()
    sent = [one for one in server.requests() if f"/{repository}/blobs/" in one["target"]]
    assert [one["status"] for one in sent if one["method"] == "PATCH"] == [202] * patches


def test_tags_and_delete(oras: OrasClient, server: Server, tmp_path: Path) -> None:
    for tag in ("2", "1", "latest"):
        (tmp_path / "data.bin").write_bytes(os.urandom(100))
        oras.push(
            f"{server.host}/oras-py/tags:{tag}",
            files=[str(tmp_path / "data.bin")],
            disable_path_validation=True,
        )
    assert oras.get_tags(f"{server.host}/oras-py/tags") == ["1", "2", "latest"]

    oras.delete_tags(f"{server.host}/oras-py/tags", ["2"])

    assert oras.get_tags(f"{server.host}/oras-py/tags") == ["1", "latest"]
