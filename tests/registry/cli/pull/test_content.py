"""What manifests lead to."""

import pytest

from registry.cli.pull.content import read_content
from registry.cli.pull.errors import PullFailed
from registry.cli.pull.platforms import parse_platform
from storage.digest import Digest
from tests import builders
from tests.builders import JsonObject, descriptor

AMD = [parse_platform("linux/amd64")]
CONFIG = descriptor(b"{}", builders.OCI_CONFIG)
LAYER, FOREIGN = (
    descriptor(b"layer"),
    descriptor(b"foreign", "application/vnd.oci.image.layer.nondistributable.v1.tar"),
)


def child(data: bytes, os: str, architecture: str) -> JsonObject:
    return descriptor(data, builders.OCI_IMAGE, platform={"os": os, "architecture": architecture})


FOR_AMD, FOR_ARM = child(b"amd", "linux", "amd64"), child(b"arm", "linux", "arm64")
PROOF = child(b"proof", "unknown", "unknown")


@pytest.mark.parametrize(
    ("raw", "wanted", "manifests", "blobs"),
    [
        (builders.image(CONFIG, [LAYER, FOREIGN]), AMD, [], [CONFIG, LAYER]),
        (builders.index([FOR_ARM, FOR_AMD, PROOF]), AMD, [FOR_AMD], []),
        (builders.index([FOR_ARM, FOR_AMD, PROOF]), [], [FOR_ARM, FOR_AMD, PROOF], []),
        (builders.index([descriptor(b"a", builders.OCI_INDEX)]), AMD, [descriptor(b"a")], []),
        (builders.index([LAYER, CONFIG]), AMD, [], [LAYER, CONFIG]),
        (builders.index([], subject=descriptor(b"s", builders.OCI_IMAGE)), AMD, [], []),
    ],
    ids=["image", "index", "all of it", "an index in it", "cache of BuildKit", "empty"],
)
def test_content(raw: bytes, wanted: list[object], manifests: list[object], blobs: list[object]) -> None:
    content = read_content(raw, "", Digest.of(raw), AMD if wanted else [])
    assert [str(each.digest) for each in content.manifests] == digests(manifests)
    assert [str(each.digest) for each in content.blobs] == digests(blobs)


def digests(descriptors: list[object]) -> list[str]:
    return [str(each["digest"]) for each in descriptors if isinstance(each, dict)]


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"{", "cannot be read: the manifest cannot be read: it is not JSON"),
        (b'{"schemaVersion": 1}', "schema 1"),
        (builders.index([FOR_ARM]), "nothing for linux/amd64 in it, but for linux/arm64"),
    ],
)
def test_what_leads_nowhere(raw: bytes, says: str) -> None:
    with pytest.raises(PullFailed, match=says):
        read_content(raw, "", Digest.of(raw), AMD)
