"""crane: copies between repositories, looks and deletes."""

from pathlib import Path

import pytest

from tests.e2e import reading
from tests.e2e.clients import Client
from tests.e2e.conftest import Require
from tests.e2e.images import Layout, make_layout
from tests.e2e.serving import Server

pytestmark = pytest.mark.e2e


@pytest.fixture
def crane(require: Require) -> Client:
    return require("crane")


@pytest.fixture
def source(tmp_path: Path) -> Layout:
    return make_layout(tmp_path / "source", platforms=("amd64", "arm64"))


def test_copy_mounts_and_stores_nothing(crane: Client, server: Server, source: Layout) -> None:
    crane("push", source.path, f"{server.host}/crane/from:1")
    before = server.stored()

    crane("copy", f"{server.host}/crane/from:1", f"{server.host}/crane/to:2")

    assert server.stored() == before
    assert reading.image(server, "crane/to", "2") == source.blobs


def test_looks(crane: Client, server: Server, source: Layout) -> None:
    repository = f"{server.host}/crane/looks"
    for tag in ("b", "a", "v10"):
        crane("push", source.path, f"{repository}:{tag}")

    assert crane("digest", f"{repository}:a") == source.digest
    assert crane("manifest", f"{repository}:a").encode() == source.blobs[source.digest]
    assert crane("ls", repository).split() == ["a", "b", "v10"]
    assert "crane/looks" in crane("catalog", server.host).split()
    assert crane("validate", "--remote", f"{repository}:a", "--fast").startswith("PASS")
    assert crane("validate", "--remote", f"{repository}:a").startswith("PASS")


def test_tag_and_delete(crane: Client, server: Server, source: Layout) -> None:
    repository = f"{server.host}/crane/delete"
    crane("push", source.path, f"{repository}:1")
    crane("tag", f"{repository}:1", "2")

    crane("delete", f"{repository}:1")  # only the tag
    assert reading.tags(server, "crane/delete") == ["2"]
    assert reading.image(server, "crane/delete", source.digest) == source.blobs

    crane("delete", f"{repository}@{source.digest}")
    assert reading.tags(server, "crane/delete") == []
    reading.get(server, f"crane/delete/manifests/{source.digest}", status=404)
