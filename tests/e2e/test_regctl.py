"""regctl: chunked uploads with resumption, mounts without a source, artifacts, tags."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e import reading
from tests.e2e.clients import Client
from tests.e2e.conftest import Require
from tests.e2e.images import TAG, Layout, make_layout, sha256
from tests.e2e.serving import Server

pytestmark = pytest.mark.e2e


@dataclass(frozen=True, slots=True)
class Regctl:
    client: Client
    host: str

    def __call__(self, *arguments: str | Path, stdin: bytes = b"") -> str:
        return self.client("--host", f"reg={self.host},tls=disabled", *arguments, stdin=stdin)


@pytest.fixture
def regctl(require: Require, server: Server) -> Regctl:
    return Regctl(require("regctl"), server.host)


@pytest.fixture
def source(tmp_path: Path) -> Layout:
    return make_layout(tmp_path / "source", platforms=("amd64", "arm64"))


def test_a_blob_in_chunks(regctl: Regctl, server: Server, tmp_path: Path) -> None:
    content = os.urandom(1_000_000)
    settings = tmp_path / "config.json"
    hosts = {server.host: {"tls": "disabled", "blobChunk": 300_000, "blobMax": 300_000}}
    settings.write_text(json.dumps({"hosts": hosts}))
    client = regctl.client.within(REGCTL_CONFIG=str(settings))

    digest = client("blob", "put", f"{server.host}/regctl/blob", stdin=content)

    assert digest == sha256(content)
    assert reading.get(server, f"regctl/blob/blobs/{digest}").content == content
    fetched = client.attempt("blob", "get", f"{server.host}/regctl/blob", digest)
    assert fetched.stdout == content
    chunks = [one["status"] for one in server.requests() if one["method"] == "PATCH"]
    assert chunks == [202] * 4


def test_a_copy_between_repositories_mounts(regctl: Regctl, server: Server, source: Layout) -> None:
    regctl("image", "copy", f"ocidir://{source.path}:{TAG}", f"{server.host}/regctl/from:1")
    before = server.stored()

    regctl("image", "copy", f"{server.host}/regctl/from:1", f"{server.host}/regctl/to:1")
    # The layout knows no repository to mount from, so this one asks without naming any.
    regctl("image", "copy", f"ocidir://{source.path}:{TAG}", f"{server.host}/regctl/anonymous:1")

    assert server.stored() == before
    mounts = [
        one
        for one in server.requests()
        if "/regctl/anonymous/" in one["target"] and "mount=" in one["target"]
    ]
    assert [("from=" in one["target"], one["status"]) for one in mounts] == [(False, 201)] * 6
    for repository in ("regctl/to", "regctl/anonymous"):
        assert reading.image(server, repository, "1") == source.blobs


def test_an_artifact_with_a_subject(regctl: Regctl, server: Server, source: Layout) -> None:
    image = f"{server.host}/regctl/subject:1"
    regctl("image", "copy", f"ocidir://{source.path}:{TAG}", image)
    content = os.urandom(3000)

    regctl("artifact", "put", "--artifact-type=application/x.note", f"--subject={image}", stdin=content)
    listed = json.loads(regctl("artifact", "list", "--format={{json .}}", image))["descriptors"]

    assert [one["artifactType"] for one in listed] == ["application/x.note"]
    found = regctl.client.attempt(
        "--host", f"reg={server.host},tls=disabled",
        "artifact", "get", f"--subject={image}", "--filter-artifact-type=application/x.note",
    )  # fmt: skip
    assert found.stdout == content
    assert reading.tags(server, "regctl/subject") == ["1"]  # no fallback tag was needed


def test_tags_are_listed_and_deleted_one_by_one(regctl: Regctl, server: Server, source: Layout) -> None:
    repository = f"{server.host}/regctl/tags"
    for tag in ("a", "b", "c"):
        regctl("image", "copy", f"ocidir://{source.path}:{TAG}", f"{repository}:{tag}")
    assert regctl("tag", "ls", repository).split() == ["a", "b", "c"]

    regctl("tag", "rm", f"{repository}:b")

    assert regctl("tag", "ls", repository).split() == ["a", "c"]
    assert regctl("manifest", "head", f"{repository}:a") == source.digest
    assert "regctl/tags" in regctl("repo", "ls", server.host).split()
