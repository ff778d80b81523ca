"""The oras command: files as artifacts, and artifacts that refer to each other."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import reading
from tests.e2e.clients import Client
from tests.e2e.conftest import Require
from tests.e2e.serving import Server

pytestmark = pytest.mark.e2e

HTTP = "--plain-http"


@pytest.fixture
def oras(require: Require, tmp_path: Path) -> Client:
    return require("oras").at(tmp_path)  # oras takes relative paths


FILE = "data.bin:application/octet-stream"


def push(oras: Client, image: str, folder: Path) -> bytes:
    """Pushes one file of random bytes as an artifact; the bytes."""
    content = os.urandom(9000)
    (folder / "data.bin").write_bytes(content)
    oras("push", HTTP, image, "--artifact-type=application/x.test", FILE)
    return content


def referrers(oras: Client, image: str, *flags: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(oras("discover", HTTP, "--format=json", *flags, image))[
        "referrers"
    ]
    return found


def test_push_and_pull_a_file(oras: Client, server: Server, tmp_path: Path) -> None:
    image = f"{server.host}/oras/file:1"
    content = push(oras, image, tmp_path)

    oras("pull", HTTP, "--output=back", image)
    fetched = oras.attempt("blob", "fetch", HTTP, "--output=-", blob_of(server, "oras/file"))

    assert fetched.stdout == content
    assert (tmp_path / "back" / "data.bin").read_bytes() == content
    assert content in reading.image(server, "oras/file", "1").values()


def blob_of(server: Server, repository: str) -> str:
    (layer,) = reading.manifest(server, repository, "1")["layers"]
    return f"{server.host}/{repository}@{layer['digest']}"


def test_attach_and_discover(oras: Client, server: Server, tmp_path: Path) -> None:
    image = f"{server.host}/oras/subject:1"
    push(oras, image, tmp_path)
    kinds = ("application/x.sbom", "application/x.signature", "application/x.sbom")
    for number, kind in enumerate(kinds):
        flags = (f"--artifact-type={kind}", f"--annotation=number={number}")
        oras("attach", HTTP, image, *flags, FILE)

    every = referrers(oras, image)
    boms = referrers(oras, image, "--artifact-type=application/x.sbom")

    assert sorted(one["artifactType"] for one in every) == sorted(kinds)
    assert {one["digest"] for one in boms} < {one["digest"] for one in every}
    assert len(boms) == 2
    # attach fell back to no tag: the answer to the push named the subject
    assert reading.tags(server, "oras/subject") == ["1"]


def test_a_copy_with_its_referrers(oras: Client, server: Server, tmp_path: Path) -> None:
    image, copy = f"{server.host}/oras/whole:1", f"{server.host}/oras/copy:1"
    push(oras, image, tmp_path)
    oras("attach", HTTP, image, "--artifact-type=application/x.sbom", FILE)
    before = server.stored()

    oras("cp", "--recursive", "--from-plain-http", "--to-plain-http", image, copy)

    assert server.stored() == before
    assert referrers(oras, copy)[0]["digest"] == referrers(oras, image)[0]["digest"]
    assert reading.image(server, "oras/copy", "1") == reading.image(server, "oras/whole", "1")


def test_lists_and_deletes(oras: Client, server: Server, tmp_path: Path) -> None:
    for name in ("oras/list/one:1", "oras/list/one:2", "oras/list/two:1"):
        push(oras, f"{server.host}/{name}", tmp_path)

    assert oras("repo", "ls", HTTP, f"{server.host}/oras/list/").split() == ["one", "two"]
    assert oras("repo", "tags", HTTP, f"{server.host}/oras/list/one").split() == ["1", "2"]

    oras("manifest", "delete", HTTP, "--force", f"{server.host}/oras/list/one:1")

    assert reading.tags(server, "oras/list/one") == ["2"]
