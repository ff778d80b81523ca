"""Which bytes are a manifest's, and the tag that they claim."""

import pytest

from registry.reindex import READER, recognise
from storage.digest import Digest
from storage.manifest_rows import EdgeKind
from tests import builders

CONFIG = builders.descriptor(b"{}", builders.OCI_CONFIG)
LAYER = builders.descriptor(b"layer")


def claimed(name: str) -> bytes:
    return builders.image(CONFIG, annotations={"org.opencontainers.image.ref.name": name})


@pytest.mark.parametrize(
    ("raw", "media_type", "kinds"),
    [
        (builders.image(CONFIG, [LAYER]), builders.OCI_IMAGE, [EdgeKind.CONFIG, EdgeKind.LAYER]),
        (builders.index([CONFIG]), builders.OCI_INDEX, [EdgeKind.CHILD]),
        (b'{"config":{"mediaType":"a/b","digest":"sha256:' + b"0" * 64 + b'","size":1},"layers":[]}',
         builders.OCI_IMAGE, [EdgeKind.CONFIG]),
        (b'{"manifests":[]}', builders.OCI_INDEX, []),
        (b'{"config":{"Cmd":[]},"rootfs":{}}', "", []),
        (b"[]", "", []),
        (b"\xff", "", []),
    ],
    ids=["image", "index", "image by its members", "index by its members", "config", "list", "no text"],
)  # fmt: skip
def test_manifests(raw: bytes, media_type: str, kinds: list[EdgeKind]) -> None:
    found = recognise(raw, Digest.of(raw))
    assert (found.row.media_type if found else "") == media_type
    assert [edge.kind for edge in (found.edges if found else ())] == kinds
    assert found is None or (found.row.digest, found.row.size) == (Digest.of(raw), len(raw))


@pytest.mark.parametrize(
    ("name", "tag"), [("v1.2", "v1.2"), ("", None), ("host/a:v1", None), (".x", None), ("x" * 129, None)]
)
def test_tags(name: str, tag: str | None) -> None:
    found = recognise(claimed(name), Digest.of(claimed(name)))
    assert found
    assert found.tag == tag


def test_no_manifest_is_larger() -> None:
    raw = builders.image(CONFIG)
    raw += b" " * (READER.largest - len(raw))
    assert recognise(raw, Digest.of(raw))
    assert recognise(raw + b" ", Digest.of(raw + b" ")) is None
