"""containerd by its ctr: what Kubernetes nodes pull with."""

import hashlib
import tarfile
from pathlib import Path

import pytest

from tests.e2e import reading
from tests.e2e.clients import Client
from tests.e2e.images import TAG, Layout, make_layout
from tests.e2e.serving import Server

pytestmark = pytest.mark.e2e

PLATFORMS: dict[str, tuple[str, ...]] = {"image": (), "index": ("amd64", "arm64")}


def load(ctr: Client, source: Layout, image: str) -> None:
    """Brings a layout into containerd, without a registry, under the name HOST/REPOSITORY:TAG."""
    archive = source.path.with_suffix(".tar")
    with tarfile.open(archive, "w") as out:
        out.add(source.path, arcname=".")
    base, _, tag = image.rpartition(":")
    assert tag == TAG
    ctr("images", "import", "--base-name", base, "--all-platforms", "--no-unpack", archive)


def forget(ctr: Client) -> None:
    for image in ctr("images", "list", "--quiet").split():
        ctr("images", "remove", "--sync", image)  # --sync waits until the content is gone too
    assert not ctr("content", "list", "--quiet")


@pytest.mark.parametrize("shape", PLATFORMS)
def test_push_remove_pull(shape: str, ctr: Client, server: Server, tmp_path: Path) -> None:
    source = make_layout(tmp_path / "source", platforms=PLATFORMS[shape])
    image = f"{server.host}/containerd/{shape}:{TAG}"
    load(ctr, source, image)

    ctr("images", "push", "--plain-http", image)
    forget(ctr)
    ctr("images", "pull", "--plain-http", "--all-platforms", image)

    assert reading.image(server, f"containerd/{shape}", TAG) == source.blobs
    assert set(ctr("content", "list", "--quiet").split()) == set(source.blobs)
    for digest in source.blobs:
        assert "sha256:" + hashlib.sha256(content(ctr, digest)).hexdigest() == digest
    forget(ctr)


def content(ctr: Client, digest: str) -> bytes:
    done = ctr.attempt("content", "get", digest)
    assert done.returncode == 0
    return done.stdout


def test_pull_by_digest(ctr: Client, server: Server, tmp_path: Path) -> None:
    source = make_layout(tmp_path / "source")
    image = f"{server.host}/containerd/digest:{TAG}"
    load(ctr, source, image)
    ctr("images", "push", "--plain-http", image)
    forget(ctr)

    ctr("images", "pull", "--plain-http", f"{server.host}/containerd/digest@{source.digest}")

    assert set(ctr("content", "list", "--quiet").split()) == set(source.blobs)
    forget(ctr)
