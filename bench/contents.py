"""What a filled root holds: names and bytes that the filler and the measurement agree on.

    bench/many    `tags` tags (t0000000 …) on one image, and `referrers` referrers of it
    bench/few     100 tags on the same image, 100 referrers, and every blob that catalog/ links
    catalog/r…    `repositories` of them, with `links` links altogether to `held` blobs

The index also knows links ÷ 5 digests that nobody has. `registry fsck` finds such a root sound.
"""

import json
from dataclasses import dataclass

from bench.payloads import MANIFEST, Image
from storage.digest import Digest

MANY, FEW = "bench/many", "bench/few"
SMALL = 100  # tags and referrers in bench/few
ARTIFACT = "application/vnd.example.note"
IMAGE = Image(config=b"{}", layer=b"layer")
SUBJECT = Digest.of(IMAGE.manifest)
_EMPTY = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": str(Digest.of(b"{}")), "size": 2}


@dataclass(frozen=True, slots=True)
class Sizes:
    tags: int = 1_000_000
    repositories: int = 100_000
    referrers: int = 100_000
    links: int = 1_000_000
    held: int = 10_000


def tag(number: int) -> str:
    return f"t{number:07}"


def repository(number: int) -> str:
    return f"catalog/r{number:07}"


def held(number: int) -> bytes:
    """A blob that catalog/ links: repository r has number r % `held` at least."""
    return b"bench blob %d\n" % number


def referrer(number: int) -> bytes:
    body = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": ARTIFACT,
        "config": _EMPTY,
        "layers": [_EMPTY],
        "subject": {"mediaType": MANIFEST, "digest": str(SUBJECT), "size": len(IMAGE.manifest)},
        "annotations": {"org.example.number": str(number)},
    }
    return json.dumps(body).encode()
