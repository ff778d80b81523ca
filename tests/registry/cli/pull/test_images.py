"""Images as people write them."""

import pytest

from registry.cli.pull.images import parse_image
from registry.errors import RegistryError
from storage.digest import Digest
from storage.errors import InvalidDigest

DIGEST = str(Digest.of(b"manifest"))


@pytest.mark.parametrize(
    ("written", "image"),
    [
        ("alpine", "docker.io/library/alpine:latest"),
        ("alpine:3.20", "docker.io/library/alpine:3.20"),
        ("bitnami/redis", "docker.io/bitnami/redis:latest"),
        ("docker.io/alpine", "docker.io/library/alpine:latest"),
        ("docker.io/library/alpine:3.20", "docker.io/library/alpine:3.20"),
        ("index.docker.io/alpine", "docker.io/library/alpine:latest"),
        ("ghcr.io/owner/name", "ghcr.io/owner/name:latest"),
        ("ghcr.io/name", "ghcr.io/name:latest"),
        ("GHCR.io/owner/name:V1", "ghcr.io/owner/name:V1"),
        (f"ghcr.io/owner/name@{DIGEST}", f"ghcr.io/owner/name@{DIGEST}"),
        (f"alpine:3.20@{DIGEST}", f"docker.io/library/alpine@{DIGEST}"),
        ("localhost/app", "localhost/app:latest"),
        ("localhost:5000/a/b:c", "localhost:5000/a/b:c"),
        ("corp.example:8443/a/b/c", "corp.example:8443/a/b/c:latest"),
        ("team/localhost", "docker.io/team/localhost:latest"),
    ],
)
def test_images(written: str, image: str) -> None:
    assert str(parse_image(written)) == image


@pytest.mark.parametrize(
    "written",
    [
        "",
        "/alpine",
        "Alpine",
        "alpine:",
        "alpine:a:b",
        "ghcr.io/",
        "ghcr.io/Owner/name",
        "alpine@sha256:short",
        f"alpine:{'x' * 129}@{DIGEST}",
        "alpine@md5:d41d8cd98f00b204e9800998ecf8427e",
        "docker://alpine",
        "https://ghcr.io/owner/name",
        "a b",
    ],
)
def test_what_is_no_image(written: str) -> None:
    with pytest.raises((RegistryError, InvalidDigest)):
        parse_image(written)
