"""What the requests tell."""

from collections.abc import Sequence

import pytest

from oci_registry_testing.registry import Fired
from oci_registry_testing.request import Request
from oci_registry_testing.scenarios import notes
from oci_registry_testing.scenarios.scenario import Note, Scenario, no_note
from oci_registry_testing.scenarios.verdict import Verdict

BLOB = "/v2/a/blobs/sha256:" + 64 * "0"
MANIFEST = "/v2/a/manifests/v1"


def asked(
    method: str, path: str, *, status: int = 200, time: float = 0.0, query: str = "", **headers: str
) -> Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request(method, path, query, named, status, 0, "", time)


def hit(path: str = BLOB, method: str = "GET", **fault: object) -> Fired:
    return Fired(fault, method, path)


def refused(again: float) -> tuple[list[Request], list[Fired]]:
    requests = [
        asked("HEAD", MANIFEST, status=429, time=10.0),
        asked("HEAD", MANIFEST, time=10.0 + again),
    ]
    return requests, [hit(MANIFEST, "HEAD", status=429, retry_after=2)]


REST = asked("GET", BLOB, status=206, range="bytes=7-")
SCHEMA_TAG = "/v2/a/manifests/sha256-" + 64 * "0"
TABLE: list[tuple[Note, Sequence[Request], Sequence[Fired], str]] = [
    (no_note, [asked("GET", BLOB)], [hit()], ""),
    (notes.resumes, [asked("GET", BLOB)], [hit()], ""),
    (notes.resumes, [asked("GET", BLOB), asked("GET", BLOB)], [], ""),
    (notes.resumes, [asked("GET", BLOB), asked("GET", BLOB)], [hit()], "begins anew"),
    (notes.resumes, [asked("GET", BLOB), asked("GET", BLOB, range="bytes=0-")], [hit()], "begins anew"),
    (
        notes.resumes,
        [asked("GET", BLOB), asked("GET", BLOB, range="bytes=7-")],
        [hit()],
        "asks by Range in vain",
    ),
    (notes.resumes, [asked("GET", BLOB), REST], [hit()], "goes on by Range"),
    (notes.resumes, [asked("GET", BLOB), REST, asked("GET", BLOB)], [hit()], "goes on by Range"),
    (notes.resumes, [asked("GET", BLOB), asked("HEAD", BLOB)], [hit()], ""),
    (notes.waits, *refused(2.0), "waits as long as it is told"),
    (notes.waits, *refused(1.95), "waits as long as it is told"),
    (notes.waits, *refused(1.0), "does not wait"),
    (notes.waits, refused(1.0)[0][:1], refused(1.0)[1], ""),
    (notes.waits, [], [], ""),
    (notes.mounts, [asked("GET", BLOB)], [], ""),
    (notes.mounts, [asked("POST", "/u", status=202)], [], "sends all again"),
    (notes.mounts, [asked("POST", "/u", query="mount=x&from=y", status=202)], [], "asks for a mount"),
    (notes.mounts, [asked("POST", "/u", query="mount=x&from=y", status=201)], [], "mounts"),
    (notes.tries, [], [], ""),
    (notes.tries, [], [hit(), hit()], ""),
    (notes.tries, [], [hit(), hit(), hit()], "tries again"),
    (notes.by_tag_schema, [asked("PUT", MANIFEST), asked("GET", SCHEMA_TAG)], [], ""),
    (notes.by_tag_schema, [asked("PUT", SCHEMA_TAG)], [], "by the tag schema"),
    (notes.how_uploaded, [asked("PATCH", "/u", content_range="0-1"), asked("PUT", "/u")], [], "in chunks"),
    (notes.how_uploaded, [asked("PATCH", "/u"), asked("PUT", "/u")], [], "as a stream"),
    (notes.how_uploaded, [asked("POST", "/u", query="digest=x", status=201)], [], "in one POST"),
    (
        notes.how_uploaded,
        [asked("POST", "/u", query="digest=x", status=202), asked("PUT", "/u")],
        [],
        "by PUT",
    ),
    (notes.how_uploaded, [], [], ""),
    (notes.posts_whole, [asked("POST", "/u"), asked("PUT", "/u", query="digest=x")], [], "does not meet it"),
    (notes.posts_whole, [asked("POST", "/u", query="digest=x", status=202)], [], ""),
    (notes.asks_again, [asked("GET", "/token")], [], ""),
    (notes.asks_again, [asked("GET", "/token"), asked("POST", "/token")], [], "gets another token"),
]


CUT = Scenario("cut", "", ("pull",), faults=({"do": "cut"},), note=notes.resumes)
CALM = Scenario("calm", "", ("pull",), note=notes.how_uploaded)


@pytest.mark.parametrize(
    ("scenario", "verdict", "fired", "told", "said"),
    [
        (CUT, Verdict.SURVIVES, [hit()], "", "goes on by Range"),
        (CUT, Verdict.SURVIVES, [], "", "does not meet it"),
        (CUT, Verdict.GIVES_UP, [hit()], "broken", "goes on by Range"),
        (CUT, Verdict.GIVES_UP, [hit()], " \n", "goes on by Range, without a word"),
        (CUT, Verdict.REFUSES, [hit(MANIFEST)], "", "without a word"),
        (CUT, Verdict.HANGS, [hit()], "", ""),
        (CALM, Verdict.SURVIVES, [], "", ""),
    ],
)
def test_all_that_is_told(
    scenario: Scenario, verdict: Verdict, fired: Sequence[Fired], told: str, said: str
) -> None:
    assert notes.tell(scenario, verdict, [asked("GET", BLOB), REST], fired, told) == said


@pytest.mark.parametrize(("note", "requests", "fired", "said"), TABLE)
def test_it_is_said(note: Note, requests: Sequence[Request], fired: Sequence[Fired], said: str) -> None:
    assert note(requests, fired) == said
