"""All scenarios, in the order in which they are reported."""

from collections.abc import Mapping
from typing import Final

from oci_registry_testing.scenarios.notes import (
    asks_again,
    by_tag_schema,
    how_uploaded,
    mounts,
    posts_whole,
    resumes,
    tries,
    waits,
)
from oci_registry_testing.scenarios.scenario import MANY_TAGS, Scenario

PROFILES: Final[Mapping[str, str]] = {
    "strict": "distribution-spec 1.1.1 and no more",
    "dev": "the specification as it is being written",
    "1.0": "distribution-spec 1.0.1",
    "distribution-2.8": "distribution 2.8 (registry:2)",
    "docker-hub": "Docker Hub",
    "ghcr": "GitHub's",
    "ecr": "Amazon's",
    "gar": "Google's",
    "quay": "Quay",
    "artifactory": "Artifactory",
}

_PULL, _PUSH, _BOTH = ("pull",), ("push",), ("push", "pull")
_REFER = ("attach", "referrers")


def _fault(do: str, **keys: object) -> tuple[Mapping[str, object], ...]:
    return ({"do": do, **keys},)


_OF_A_BLOB: Final = {"method": "GET", "route": "blob"}
_OF_A_MANIFEST: Final = {"method": "GET", "route": "manifest"}
# Several blobs may be sent at once: the long one is meant, whichever comes first.
_OF_AN_UPLOAD: Final = {"method": ["PATCH", "PUT"], "route": "upload"}

SCENARIOS: Final = (
    # -- nothing goes wrong ----------------------------------------------------------------------------
    Scenario("push, pull", "nothing goes wrong", _BOTH, plain=True, note=how_uploaded),
    Scenario("log in", "by a token, as at most registries", ("login", *_BOTH), login=True, plain=True),
    Scenario(
        "log in by Basic",
        "the registry asks for name and password themselves",
        ("login", *_BOTH),
        login=True,
        switches={"challenge": "basic"},
    ),
    Scenario(
        "push again elsewhere",
        "the image is in another repository already: its blobs can be mounted",
        _BOTH,
        before="team/base",
        note=mounts,
    ),
    Scenario("list tags", f"{MANY_TAGS} tags on one page", ("tags",)),
    Scenario("refer", "an artifact refers to an image, and is found by it and by its type", _REFER),
    Scenario("delete", "an image by its tag", ("delete",)),
    *(
        Scenario(f"as {name}", f"push and pull where the registry behaves as {whose}", _BOTH, profile=name)
        for name, whose in PROFILES.items()
    ),
    # -- less than the whole protocol ------------------------------------------------------------------
    Scenario("no referrers API", "it is a 404", _REFER, switches={"referrers": False}, note=by_tag_schema),
    Scenario(
        "referrers unfiltered",
        "`artifactType` is not heeded: what has another type is listed, too",
        _REFER,
        switches={"referrers_filter": False},
    ),
    Scenario(
        "pages of 10 tags", f"of {MANY_TAGS}; `Link` leads to the next", ("tags",), switches={"page_cap": 10}
    ),
    Scenario(
        "no mounts",
        "the image is in another repository, and a session begins instead",
        _BOTH,
        switches={"mount": False},
        before="team/base",
        note=mounts,
    ),
    Scenario(
        "no single POST", "a session begins instead", _BOTH, switches={"single_post": False}, note=posts_whole
    ),
    Scenario(
        "no chunks",
        "PATCH with `Content-Range` is a 400",
        _BOTH,
        switches={"chunks": False},
        note=how_uploaded,
    ),
    Scenario("absolute Location", "with scheme and host", _BOTH, switches={"locations": "absolute"}),
    Scenario(
        "no digest header", "`Docker-Content-Digest` is never sent", _BOTH, switches={"digest_header": False}
    ),
    Scenario("blobs elsewhere", "a 307 to another host", _BOTH, switches={"redirects": True}),
    Scenario(
        "no tag deletes", "405 for a tag, not for its digest", ("delete",), switches={"tag_delete": False}
    ),
    Scenario("no deletes", "405 for tags and digests", ("delete",), refuse=True, settings={"delete": False}),
    Scenario(
        "tag that stays",
        "the tag names another image, and cannot be moved",
        _PUSH,
        settings={"immutable_tags": ["*:*"]},
        taken=True,
        refuse=True,
    ),
    Scenario(
        "no room",
        "uploads are refused with 507",
        _PUSH,
        faults=_fault("refuse", status=507, route="uploads"),
        refuse=True,
        note=tries,
    ),
    # -- pulls that go wrong ---------------------------------------------------------------------------
    Scenario(
        "pull: 429",
        "the manifest's first request, `Retry-After: 2`",
        _PULL,
        faults=_fault("refuse", status=429, retry_after=2, route="manifest", nth=1),
        note=waits,
    ),
    Scenario(
        "pull: 503 of a manifest",
        "once",
        _PULL,
        faults=_fault("refuse", status=503, route="manifest", nth=1),
    ),
    Scenario(
        "pull: 503 of a blob",
        "once",
        _PULL,
        faults=_fault("refuse", status=503, per_path=True, nth=1, **_OF_A_BLOB),
    ),
    Scenario(
        "pull: 503 again and again",
        "three times for each blob",
        _PULL,
        faults=_fault("refuse", status=503, per_path=True, nth=1, times=3, **_OF_A_BLOB),
    ),
    Scenario(
        "pull: cut",
        "the connection closes after 100 kB of 300, once",
        _PULL,
        faults=_fault("cut", after=100_000, nth=1, per_path=True, **_OF_A_BLOB),
        note=resumes,
    ),
    Scenario(
        "pull: reset",
        "the same by RST",
        _PULL,
        faults=_fault("reset", after=100_000, nth=1, per_path=True, **_OF_A_BLOB),
        note=resumes,
    ),
    Scenario(
        "pull: cut, no ranges",
        "and the registry knows no `Range`",
        _PULL,
        switches={"ranges": False},
        faults=_fault("cut", after=100_000, nth=1, per_path=True, **_OF_A_BLOB),
        note=resumes,
    ),
    Scenario(
        "pull: cut every time",
        "each answer after 100 kB: only who goes on by Range gets to the end",
        _PULL,
        faults=_fault("cut", after=100_000, **_OF_A_BLOB),
        note=resumes,
    ),
    Scenario(
        "pull: late",
        "the manifest takes 3 s",
        _PULL,
        faults=_fault("delay", seconds=3, route="manifest", nth=1),
    ),
    Scenario("pull: drip", "100 kB/s", _PULL, faults=_fault("drip", rate=100_000, **_OF_A_BLOB)),
    Scenario(
        "pull: token expires",
        "401 with `invalid_token` for the first blob asked for",
        ("login", *_PULL),
        login=True,
        faults=_fault("expired_token", nth=1, **_OF_A_BLOB),
        note=asks_again,
    ),
    Scenario(
        "pull: other bytes",
        "one byte of each blob is another",
        _PULL,
        faults=_fault("corrupt", at=50_000, route="blob"),
        refuse=True,
    ),
    Scenario(
        "pull: other bytes, once",
        "and right at the second time",
        _PULL,
        faults=_fault("corrupt", at=50_000, nth=1, per_path=True, **_OF_A_BLOB),
    ),
    Scenario(
        "pull: short",
        "each blob lacks its last 100 kB, and `Content-Length` fits",
        _PULL,
        faults=_fault("wrong_length", by=-100_000, **_OF_A_BLOB),
        refuse=True,
    ),
    Scenario(
        "pull: half a manifest",
        "with a `Content-Length` that fits",
        _PULL,
        faults=_fault("half", **_OF_A_MANIFEST),
        refuse=True,
    ),
    Scenario(
        "pull: other digest",
        "a manifest's `Docker-Content-Digest` is another's, HEAD's too",
        _PULL,
        faults=_fault("wrong_digest", route="manifest", method=["GET", "HEAD"]),
        refuse=True,
    ),
    # -- pushes that go wrong --------------------------------------------------------------------------
    Scenario(
        "push: 429",
        "the first upload, `Retry-After: 2`",
        _PUSH,
        faults=_fault("refuse", status=429, retry_after=2, route="uploads", nth=1),
        note=waits,
    ),
    Scenario(
        "push: 503 of an upload",
        "once, where bytes are sent",
        _PUSH,
        faults=_fault("refuse", status=503, nth=1, at_least=1000, **_OF_AN_UPLOAD),
    ),
    Scenario(
        "push: 503 of a manifest",
        "once",
        _PUSH,
        faults=_fault("refuse", status=503, method="PUT", route="manifest", nth=1),
    ),
    Scenario(
        "push: cut",
        "the connection closes after 100 kB of 300, once",
        _PUSH,
        faults=_fault("cut", after=100_000, sending=True, nth=1, at_least=200_000, **_OF_AN_UPLOAD),
    ),
    Scenario(
        "push: session lost",
        "the first request with bytes is a 404",
        _PUSH,
        faults=_fault("session_lost", nth=1, at_least=1000, **_OF_AN_UPLOAD),
    ),
    Scenario(
        "push: 416",
        "the first request with bytes, and where the upload is",
        _PUSH,
        faults=_fault("range_refused", nth=1, at_least=1000, **_OF_AN_UPLOAD),
    ),
)
