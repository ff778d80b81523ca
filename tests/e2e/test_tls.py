"""HTTPS by real clients: each trusts the certificate in its own way, and none is told to be insecure."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import Certificate, make_authority, make_certificate, sign
from tests.e2e.clients import Client
from tests.e2e.conftest import Require
from tests.e2e.images import TAG, Layout, make_layout, read_layout
from tests.e2e.serving import Server, serve
from tests.e2e.test_containerd import content, forget, load
from tests.e2e.test_podman import with_store

pytestmark = pytest.mark.e2e

DOCKER_CERTIFICATES = Path("/etc/docker/certs.d")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module", params=["1", "2"], ids=["1 worker", "2 workers"])
def server(
    request: pytest.FixtureRequest, certificate: Certificate, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    flags = ("--workers", request.param, *certificate.flags)
    with serve(tmp_path_factory.mktemp("server"), *flags) as running:
        yield running


@pytest.fixture
def trusted(certificate: Certificate, tmp_path: Path) -> Path:
    """A folder as clients look for it: with a ca.crt."""
    folder = tmp_path / "trusted"
    folder.mkdir()
    shutil.copy(certificate.cert, folder / "ca.crt")
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Layout:
    return make_layout(tmp_path / "source", size=3 * 2**20)


@pytest.fixture
def trusting_docker(docker: Client, server: Server, trusted: Path) -> Iterator[Client]:
    """The engine looks into this one folder of the machine; the server's port makes it the test's own.

    It takes any certificate of 127.0.0.0/8, too, so that no test here can show that it needs the folder.
    """
    folder = DOCKER_CERTIFICATES / server.host
    new = not DOCKER_CERTIFICATES.exists()
    shutil.copytree(trusted, folder)
    yield docker
    shutil.rmtree(DOCKER_CERTIFICATES if new else folder)


def test_docker(trusting_docker: Client, server: Server, tmp_path: Path) -> None:
    image = f"{server.host}/tls/docker:1"
    (tmp_path / "payload.bin").write_bytes(os.urandom(3 * 2**20))
    (tmp_path / "Dockerfile").write_text('FROM scratch\nCOPY payload.bin /\nCMD ["/payload.bin"]\n')
    docker = trusting_docker.within(DOCKER_BUILDKIT="1")
    docker("build", "--quiet", "--tag", image, tmp_path)
    built = docker("image", "inspect", "--format", "{{.Id}}", image)

    docker("push", image)
    docker("image", "prune", "--all", "--force")
    docker("pull", image)

    assert docker("image", "inspect", "--format", "{{.Id}}", image) == built
    docker("image", "prune", "--all", "--force")


def test_podman(require: Require, server: Server, trusted: Path, tmp_path: Path, scratch: Path) -> None:
    podman = with_store(require("podman"), scratch / "containers", "vfs")
    image = f"{server.host}/tls/podman:1"
    (tmp_path / "payload.bin").write_bytes(os.urandom(3 * 2**20))
    (tmp_path / "Containerfile").write_text("FROM scratch\nCOPY payload.bin /\n")
    podman("build", "--tag", image, tmp_path)
    built = podman("inspect", "--type=image", "--format={{.Id}}", image)

    podman("push", f"--cert-dir={trusted}", image)
    podman("rmi", "--all", "--force")
    podman("pull", f"--cert-dir={trusted}", image)

    assert podman("inspect", "--type=image", "--format={{.Id}}", image) == built


def test_skopeo(require: Require, server: Server, source: Layout, trusted: Path, tmp_path: Path) -> None:
    skopeo = require("skopeo")
    image = f"docker://{server.host}/tls/skopeo:1"

    skopeo("copy", f"--dest-cert-dir={trusted}", f"oci:{source.path}:{TAG}", image)
    skopeo("copy", f"--src-cert-dir={trusted}", image, f"oci:{tmp_path / 'back'}:{TAG}")

    assert read_layout(tmp_path / "back") == (source.digest, source.blobs)


def test_containerd(ctr: Client, server: Server, source: Layout, trusted: Path, tmp_path: Path) -> None:
    hosts = tmp_path / "certs.d"
    (hosts / server.host).mkdir(parents=True)
    (hosts / server.host / "hosts.toml").write_text(
        f"""server = "https://{server.host}"
[host."https://{server.host}"]
  capabilities = ["pull", "resolve", "push"]
  ca = "{trusted / "ca.crt"}"
"""
    )
    image = f"{server.host}/tls/containerd:{TAG}"
    load(ctr, source, image)

    ctr("images", "push", "--hosts-dir", hosts, image)
    forget(ctr)
    ctr("images", "pull", "--hosts-dir", hosts, "--all-platforms", image)

    assert {digest: content(ctr, digest) for digest in source.blobs} == source.blobs
    forget(ctr)


def test_a_certificate_that_the_registry_made(
    require: Require, source: Layout, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """With the authority that its start names, and what binds it; containers/image is Go, as most are."""
    skopeo, trusted = require("skopeo"), tmp_path / "trusted"
    with serve(tmp_path_factory.mktemp("own"), "--tls-self-signed") as own:
        image = f"docker://{own.host}/tls/own:1"
        refused = skopeo.attempt("copy", f"oci:{source.path}:{TAG}", image)
        trusted.mkdir()
        shutil.copy(own.root / "secrets" / "tls-ca.crt", trusted / "ca.crt")
        skopeo("copy", f"--dest-cert-dir={trusted}", f"oci:{source.path}:{TAG}", image)
        skopeo("copy", f"--src-cert-dir={trusted}", image, f"oci:{tmp_path / 'back'}:{TAG}")

    assert b"certificate" in refused.stderr
    assert read_layout(tmp_path / "back") == (source.digest, source.blobs)


def test_a_client_with_a_certificate(
    require: Require, certificate: Certificate, source: Layout, trusted: Path, tmp_path: Path
) -> None:
    """As docker and podman look for it: client.cert and client.key beside ca.crt."""
    skopeo, authority = require("skopeo"), make_authority(tmp_path)
    build = sign(authority, "build")
    flags = ("--tls-client-ca", str(authority.cert), "--tls-client-auth", "required")
    with serve(tmp_path, *certificate.flags, *flags) as server:
        image = f"docker://{server.host}/tls/client:1"
        refused = skopeo.attempt("copy", f"--dest-cert-dir={trusted}", f"oci:{source.path}:{TAG}", image)
        shutil.copy(build.cert, trusted / "client.cert")
        shutil.copy(build.key, trusted / "client.key")
        skopeo("copy", f"--dest-cert-dir={trusted}", f"oci:{source.path}:{TAG}", image)

    assert b"certificate required" in refused.stderr


def test_who_does_not_trust_the_certificate_gets_nothing(
    require: Require, server: Server, source: Layout
) -> None:
    done = require("skopeo").attempt(
        "copy", f"oci:{source.path}:{TAG}", f"docker://{server.host}/tls/stranger:1"
    )

    assert done.returncode != 0
    assert b"certificate" in done.stderr
