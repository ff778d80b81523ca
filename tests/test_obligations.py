"""What distribution-spec 1.1 and image-spec 1.1 oblige a registry to and the official suite does not test.

One test each, against a live server over HTTP. `OBLIGATIONS` names them all, by the section of spec.md (or
of image-spec) that each comes from. What this registry does not do, the `ns` parameter and 429, has none.
"""

import itertools
import json
import re
import sys
import time
import uuid
from collections.abc import Iterator, Mapping

import pytest

from tests.api.rows import CODES
from tests.builders import (
    DOCKER_IMAGE,
    OCI_CONFIG,
    OCI_IMAGE,
    OCI_INDEX,
    OCI_LAYER,
    JsonObject,
    blob,
    descriptor,
    image,
    index,
)
from tests.e2e.serving import Server, serve
from tests.live.wire import Answer, chunked, head, once, wire

OBLIGATIONS: Mapping[str, tuple[str, ...]] = {
    "Requirements": ("test_ping_is_200",),
    "Pulling manifests": (
        "test_names_outside_the_grammar_are_refused",
        "test_tags_outside_the_grammar_are_refused",
        "test_a_reference_is_a_tag_or_a_digest",
        "test_a_pull_from_an_unknown_repository_is_404",
    ),
    "Pulling blobs": (
        "test_if_range",
        "test_many_ranges",
        "test_head_ignores_range",
        "test_unknown_range_units_are_ignored",
    ),
    "Push": ("test_missing_references_are_manifest_blob_unknown",),
    "Pushing blobs": ("test_a_malformed_digest_is_400", "test_an_unsupported_algorithm_is_400"),
    "Pushing a blob monolithically": (
        "test_each_session_has_its_own_uuid",
        "test_the_query_of_a_location_survives",
        "test_a_short_body_is_not_stored",
        "test_a_short_single_post_is_not_stored",
    ),
    "Pushing a blob in chunks": (
        "test_no_minimum_chunk_is_announced_and_none_is_needed",
        "test_the_announced_algorithm_is_honoured",
        "test_patch_answers_the_range_so_far",
        "test_a_body_of_another_length_than_its_range_is_refused",
        "test_status_of_an_active_session",
        "test_status_of_an_ended_session_is_404",
    ),
    "Cancelling a blob upload": ("test_a_cancelled_session_is_gone", "test_unfinished_uploads_time_out"),
    "Mounting a blob from another repository": ("test_a_mount_from_an_unknown_repository_begins_a_session",),
    "Pushing Manifests": (
        "test_content_type_parameters_are_ignored",
        "test_a_manifest_above_the_limit_is_413",
        "test_a_manifest_of_four_megabytes_is_taken",
        "test_ten_tags_in_one_push",
    ),
    "Listing Tags": (
        "test_tags_are_sorted",
        "test_n_is_honoured",
        "test_links_lead_to_the_next_page",
        "test_n_zero_is_an_empty_list_without_a_link",
        "test_last_together_with_n",
    ),
    "Listing Referrers": (
        "test_referrers_of_a_malformed_digest_are_400",
        "test_an_index_without_artifact_type_shows_none",
        "test_paged_referrers_have_links",
        "test_a_filter_without_match_is_an_empty_list",
        "test_a_deleted_referrer_is_gone",
    ),
    "Deleting tags": ("test_a_deleted_tag_leaves_its_manifest",),
    "Deleting Manifests": (
        "test_a_manifest_of_an_unknown_repository_cannot_be_deleted",
        "test_a_deleted_manifest_takes_its_tags_along",
    ),
    "Deleting Blobs": ("test_a_missing_blob_cannot_be_deleted",),
    "Content Management": ("test_deletes_that_are_switched_off_are_405",),
    "Upgrade Procedures": ("test_referrers_from_a_fallback_tag_are_listed",),
    "API": ("test_other_methods_are_405_with_allow", "test_conditional_requests"),
    "Error Codes": ("test_errors_are_json", "test_error_codes_are_the_specifications"),
    "Warnings": ("test_no_warning_is_sent",),
    "image-spec: Digests": (
        "test_upper_case_digests_are_refused",
        "test_unknown_algorithms_in_descriptors_are_valid",
    ),
    "image-spec: Media Types": ("test_unknown_media_and_artifact_types_are_taken",),
    "image-spec: Embedded Content": ("test_manifests_are_never_rewritten",),
}

CONFIG, LAYER = b'{"os":"linux"}', blob(2000)
DIGEST = "docker-content-digest"
_numbers = itertools.count()


def test_every_obligation_has_its_test() -> None:
    listed = [name for names in OBLIGATIONS.values() for name in names]
    here = {name for name in vars(sys.modules[__name__]) if name.startswith("test_")}
    assert sorted(listed) == sorted(here - {"test_every_obligation_has_its_test"})


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve(tmp_path_factory.mktemp("obligations")) as server:
        yield server


class Repo:
    """A repository on a live server, which no other test uses."""

    def __init__(self, server: Server, name: str) -> None:
        self.host, self.name = server.host, name

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        """`path` is below the repository, or absolute. Header names with _ for -."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return once(self.host, method, self.at(path), body, sent)

    def at(self, path: str) -> str:
        return path if path.startswith("/") else f"/v2/{self.name}/{path}"

    def begin(self, data: bytes = b"") -> str:
        """An upload session's location."""
        answer = self.ask("POST", "blobs/uploads/")
        assert answer.status == 202
        if data:
            assert self.ask("PATCH", answer.headers["location"], data).status == 202
        return answer.headers["location"]

    def push(self, data: bytes) -> str:
        answer = self.ask("POST", f"blobs/uploads/?digest={digest(data)}", data)
        assert answer.status == 201
        return digest(data)

    def put(self, raw: bytes, reference: str = "", query: str = "") -> Answer:
        answer = self.ask("PUT", f"manifests/{reference or digest(raw)}{query}", raw)
        assert answer.status == 201, answer.body
        return answer

    def push_image(self, tag: str = "", **extra: str) -> bytes:
        for data in (CONFIG, LAYER):
            self.push(data)
        raw = image(descriptor(CONFIG, OCI_CONFIG), [descriptor(LAYER)], annotations=extra)
        self.put(raw, tag)
        return raw

    def tags(self, query: str = "") -> list[str]:
        found: list[str] = json.loads(self.ask("GET", f"tags/list{query}").body)["tags"]
        return found

    def referrers(self, subject: bytes, query: str = "") -> list[JsonObject]:
        answer = self.ask("GET", f"referrers/{digest(subject)}{query}")
        assert (answer.status, answer.headers["content-type"]) == (200, OCI_INDEX)
        found: list[JsonObject] = json.loads(answer.body)["manifests"]
        return found


@pytest.fixture
def repo(live: Server) -> Repo:
    return Repo(live, f"obligations/r{next(_numbers)}")


def digest(data: bytes, algorithm: str = "sha256") -> str:
    return str(descriptor(data, algorithm=algorithm)["digest"])


def refused(answer: Answer, status: int, code: str) -> None:
    assert answer.status == status, answer.body
    errors = json.loads(answer.body)["errors"]
    assert {error["code"] for error in errors} == {code}
    assert all(error["message"] for error in errors)


def next_page(answer: Answer) -> str | None:
    """The target of a Link header by RFC 5988, None without one."""
    link = answer.headers.get("link")
    if link is None:
        return None
    found = re.fullmatch(r'<([^>]+)>; *rel="next"', link)
    assert found, link
    return found[1]


# -- pull -------------------------------------------------------------------------------------------------


def test_ping_is_200(repo: Repo) -> None:
    """spec.md, "Determining Support"."""
    for path in ("/v2/", "/v2"):
        assert repo.ask("GET", path).status == 200


@pytest.mark.parametrize(
    "name",
    ["A", "a/B", "-a", "a-", "a..b", "a___b", "a._b", "_a", "a//b", "a/", "a%20b", "%C3%A9", "a" * 256],
)
def test_names_outside_the_grammar_are_refused(repo: Repo, name: str) -> None:
    """spec.md, "Pulling manifests"."""
    for method, path in (("GET", "tags/list"), ("GET", "manifests/x"), ("POST", "blobs/uploads/")):
        refused(repo.ask(method, f"/v2/{name}/{path}"), 400, "NAME_INVALID")


@pytest.mark.parametrize("tag", [".a", "-a", "a" * 129, "a+b", "a@b", "a~b", "%C3%A9", "a%20b"])
def test_tags_outside_the_grammar_are_refused(repo: Repo, tag: str) -> None:
    """spec.md, "Pulling manifests"."""
    raw = repo.push_image("t" * 128)
    assert repo.ask("GET", "manifests/" + "t" * 128).body == raw
    assert repo.ask("PUT", f"manifests/{tag}", raw).status == 400
    assert repo.ask("PUT", f"manifests/{digest(raw)}?tag={tag.replace('+', '%2B')}", raw).status == 400
    assert repo.ask("GET", f"manifests/{tag}").status in (400, 404)
    assert repo.tags() == ["t" * 128]


@pytest.mark.parametrize("reference", ["sha256", "latest:1", "sha256:abc", "md5:" + "0" * 32, "a:b:c", ":x"])
def test_a_reference_is_a_tag_or_a_digest(repo: Repo, reference: str) -> None:
    """spec.md, "Pulling manifests"."""
    raw = repo.push_image("latest")
    assert repo.ask("GET", f"manifests/{reference}").status in (400, 404)
    if ":" in reference:
        refused(repo.ask("PUT", f"manifests/{reference}", raw), 400, "DIGEST_INVALID")
    assert repo.tags() == ["latest"]


def test_a_pull_from_an_unknown_repository_is_404(repo: Repo) -> None:
    """spec.md, "Pulling manifests"."""
    for reference in ("latest", digest(b"x")):
        refused(repo.ask("GET", f"manifests/{reference}"), 404, "MANIFEST_UNKNOWN")
    refused(repo.ask("GET", "tags/list"), 404, "NAME_UNKNOWN")


def test_if_range(repo: Repo) -> None:
    """spec.md, "Pulling blobs"; RFC 9110, section 13.1.5."""
    path = f"blobs/{repo.push(LAYER)}"
    etag = repo.ask("HEAD", path).headers["etag"]
    same = repo.ask("GET", path, Range="bytes=10-19", If_Range=etag)
    other = repo.ask("GET", path, Range="bytes=10-19", If_Range=f'"{digest(b"other")}"')
    assert (same.status, same.body) == (206, LAYER[10:20])
    assert (other.status, other.body) == (200, LAYER)


def test_many_ranges(repo: Repo) -> None:
    """spec.md, "Pulling blobs"; RFC 9110, section 14.6."""
    answer = repo.ask("GET", f"blobs/{repo.push(LAYER)}", Range="bytes=500-509,0-4,-3")
    assert answer.status == 206
    boundary = answer.headers["content-type"].removeprefix("multipart/byteranges; boundary=")
    before, *parts, after = answer.body.split(f"\r\n--{boundary}".encode())
    contents = [part.partition(b"\r\n\r\n") for part in parts]
    ranges = [re.findall(rb"Content-Range: (.*)", part_head) for part_head, _, _ in contents]
    assert (before, after) == (b"", b"--\r\n")
    assert ranges == [[b"bytes 500-509/2000"], [b"bytes 0-4/2000"], [b"bytes 1997-1999/2000"]]
    assert [content for _, _, content in contents] == [LAYER[500:510], LAYER[:5], LAYER[-3:]]


def test_head_ignores_range(repo: Repo) -> None:
    """spec.md, "Pulling blobs"; RFC 9110, section 14.2."""
    answer = repo.ask("HEAD", f"blobs/{repo.push(LAYER)}", Range="bytes=0-9")
    assert (answer.status, answer.headers["content-length"]) == (200, str(len(LAYER)))


@pytest.mark.parametrize("header", ["items=0-9", "0-9", "bytes 0-9", "bytes=a-b", "bytes"])
def test_unknown_range_units_are_ignored(repo: Repo, header: str) -> None:
    """spec.md, "Pulling blobs"; RFC 9110, section 14.2."""
    answer = repo.ask("GET", f"blobs/{repo.push(LAYER)}", Range=header)
    assert (answer.status, answer.body) == (200, LAYER)


# -- push -------------------------------------------------------------------------------------------------


def test_missing_references_are_manifest_blob_unknown(repo: Repo) -> None:
    """spec.md, "Push"."""
    repo.push(CONFIG)
    for raw in (image(descriptor(CONFIG), [descriptor(LAYER)]), index([descriptor(b"no child", OCI_IMAGE)])):
        refused(repo.ask("PUT", "manifests/x", raw), 400, "MANIFEST_BLOB_UNKNOWN")
    refused(repo.ask("GET", "manifests/x"), 404, "MANIFEST_UNKNOWN")


MALFORMED = (
    "sha256:abc",
    "sha256",
    "sha256:",
    "sha256:" + "g" * 64,
    "sha256:" + "0" * 65,
    "sha512:" + "0" * 64,
)


@pytest.mark.parametrize("text", MALFORMED)
def test_a_malformed_digest_is_400(repo: Repo, text: str) -> None:
    """spec.md, "Pushing blobs"."""
    refused(repo.ask("POST", f"blobs/uploads/?digest={text}", LAYER), 400, "DIGEST_INVALID")
    refused(repo.ask("PUT", f"{repo.begin(LAYER)}?digest={text}"), 400, "DIGEST_INVALID")
    refused(repo.ask("PUT", f"{repo.begin()}?digest={text}", LAYER), 400, "DIGEST_INVALID")


@pytest.mark.parametrize("text", ["md5:" + "0" * 32, "sha384:" + "0" * 96, "blake3:abc", "sha256+b64u:abc"])
def test_an_unsupported_algorithm_is_400(repo: Repo, text: str) -> None:
    """spec.md, "Pushing blobs"."""
    refused(repo.ask("POST", f"blobs/uploads/?digest={text}", LAYER), 400, "DIGEST_INVALID")
    refused(repo.ask("PUT", f"{repo.begin(LAYER)}?digest={text}"), 400, "DIGEST_INVALID")


def test_each_session_has_its_own_uuid(repo: Repo) -> None:
    """spec.md, "POST then PUT"."""
    found = [repo.begin().rpartition("/")[2] for _ in range(20)]
    assert all(str(uuid.UUID(text)) == text for text in found)
    assert len(set(found)) == 20


def test_the_query_of_a_location_survives(repo: Repo) -> None:
    """spec.md, "POST then PUT": a client may add to what a location has, in any order."""
    for query in (f"_state=a%2Fb&digest={digest(LAYER)}", f"digest={digest(LAYER).replace(':', '%3A')}&x"):
        answer = repo.ask("PUT", f"{repo.begin()}?{query}", LAYER)
        assert answer.status == 201
        assert repo.ask("GET", answer.headers["location"]).body == LAYER


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_a_short_body_is_not_stored(repo: Repo, method: str) -> None:
    """spec.md, "POST then PUT": the connection breaks before Content-Length bytes have come."""
    location = repo.begin()
    query = f"?digest={digest(LAYER)}" if method == "PUT" else ""
    with wire(repo.host) as connection:
        connection.send_head(method, location + query, {"Content-Length": str(len(LAYER))})
        connection.send(LAYER[:1500])
    refused(repo.ask("GET", f"blobs/{digest(LAYER)}"), 404, "BLOB_UNKNOWN")
    # The session goes on from what came, as soon as the broken request has let go of it.
    deadline = time.monotonic() + 10
    ranged = {"Content-Range": "1500-1999"}
    while (answer := once(repo.host, "PATCH", location, LAYER[1500:], ranged)).status in (409, 416):
        assert time.monotonic() < deadline, answer
        time.sleep(0.02)
    assert (answer.status, answer.headers["range"]) == (202, "0-1999")
    assert repo.ask("PUT", f"{location}?digest={digest(LAYER)}").status == 201
    assert repo.ask("GET", f"blobs/{digest(LAYER)}").body == LAYER


def test_a_short_single_post_is_not_stored(repo: Repo) -> None:
    """spec.md, "Single POST"."""
    target = repo.at(f"blobs/uploads/?digest={digest(LAYER[:1500])}")
    with wire(repo.host) as connection:
        connection.send_head("POST", target, {"Content-Length": str(len(LAYER))})
        connection.send(LAYER[:1500])
    with wire(repo.host) as connection:
        connection.send(head("POST", target, {"Transfer-Encoding": "chunked"}) + chunked(LAYER[:1500]))
    refused(repo.ask("GET", f"blobs/{digest(LAYER[:1500])}"), 404, "BLOB_UNKNOWN")


# -- chunks -----------------------------------------------------------------------------------------------


def test_no_minimum_chunk_is_announced_and_none_is_needed(repo: Repo) -> None:
    """spec.md, "Pushing a blob in chunks"."""
    answer = repo.ask("POST", "blobs/uploads/")
    assert "oci-chunk-min-length" not in answer.headers
    location = answer.headers["location"]
    for number in range(5):
        answer = repo.ask("PATCH", location, LAYER[number : number + 1], Content_Range=f"{number}-{number}")
        assert answer.status == 202
    assert repo.ask("PUT", f"{location}?digest={digest(LAYER[:5])}").status == 201


def test_the_announced_algorithm_is_honoured(repo: Repo) -> None:
    """spec.md, "Pushing a blob in chunks"."""
    named = digest(LAYER, "sha512")
    answer = repo.ask("POST", "blobs/uploads/?digest-algorithm=sha512")
    assert answer.status == 202
    location = answer.headers["location"]
    assert repo.ask("PATCH", location, LAYER).status == 202
    done = repo.ask("PUT", f"{location}?digest={named}")
    assert (done.status, done.headers[DIGEST]) == (201, named)
    assert repo.ask("GET", f"blobs/{named}").body == LAYER
    refused(repo.ask("POST", "blobs/uploads/?digest-algorithm=md5"), 400, "DIGEST_INVALID")


@pytest.mark.parametrize("stream", [True, False])
def test_patch_answers_the_range_so_far(repo: Repo, stream: bool) -> None:
    """spec.md, "Pushing a blob in chunks"."""
    location = repo.begin()
    with wire(repo.host) as connection:
        for start in range(0, 2000, 500):
            data = LAYER[start : start + 500]
            if stream:
                connection.send(head("PATCH", location, {"Transfer-Encoding": "chunked"}))
                connection.send(chunked(data[:100]) + chunked(data[100:]) + chunked(b""))
                answer = connection.answer("PATCH")
            else:
                ranged = {"Content-Range": f"{start}-{start + 499}"}
                answer = connection.request("PATCH", location, data, ranged)
            assert (answer.status, answer.headers["range"]) == (202, f"0-{start + 499}")
            assert answer.headers["location"] == location


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize("header", ["4-9", "4-4"])
def test_a_body_of_another_length_than_its_range_is_refused(repo: Repo, method: str, header: str) -> None:
    """spec.md, "Pushing a blob in chunks"."""
    location = repo.begin(b"four")
    query = f"?digest={digest(b'fourxy')}" if method == "PUT" else ""
    refused(repo.ask(method, location + query, b"xy", Content_Range=header), 400, "SIZE_INVALID")
    with wire(repo.host) as connection:
        headers = {"Transfer-Encoding": "chunked", "Content-Range": header}
        connection.send(head(method, location + query, headers) + chunked(b"xy") + chunked(b""))
        refused(connection.answer(method), 400, "SIZE_INVALID")
    assert repo.ask("GET", location).headers["range"] == "0-3"


def test_status_of_an_active_session(repo: Repo) -> None:
    """spec.md, "Pushing a blob in chunks"."""
    location = repo.begin(LAYER[:700])
    answer = repo.ask("GET", location)
    assert (answer.status, answer.headers["location"], answer.headers["range"]) == (204, location, "0-699")


@pytest.mark.parametrize("end", ["PUT", "DELETE", "never begun"])
def test_status_of_an_ended_session_is_404(repo: Repo, end: str) -> None:
    """spec.md, "Pushing a blob in chunks"."""
    location = repo.begin(LAYER)
    if end == "never begun":
        location = location.rpartition("/")[0] + "/" + str(uuid.uuid4())
    else:
        assert repo.ask(end, f"{location}?digest={digest(LAYER)}").status in (201, 204)
    refused(repo.ask("GET", location), 404, "BLOB_UPLOAD_UNKNOWN")


def test_a_cancelled_session_is_gone(repo: Repo, live: Server) -> None:
    """spec.md, "Cancelling a blob upload"."""
    location = repo.begin(LAYER)
    assert (live.root / "uploads" / location.rpartition("/")[2]).exists()
    assert repo.ask("DELETE", location).status == 204
    for method in ("GET", "PATCH", "DELETE", "PUT"):
        query = f"?digest={digest(LAYER)}" if method == "PUT" else ""
        refused(
            repo.ask(method, location + query, LAYER if method == "PATCH" else b""),
            404,
            "BLOB_UPLOAD_UNKNOWN",
        )
    refused(repo.ask("GET", f"blobs/{digest(LAYER)}"), 404, "BLOB_UNKNOWN")
    assert not (live.root / "uploads" / location.rpartition("/")[2]).exists()


def test_unfinished_uploads_time_out(tmp_path_factory: pytest.TempPathFactory) -> None:
    """spec.md, "Cancelling a blob upload"."""
    with serve(tmp_path_factory.mktemp("expiry"), "--upload-expiry", "1") as server:
        repo = Repo(server, "a")
        location = repo.begin(LAYER)
        deadline = time.monotonic() + 15
        while repo.ask("GET", location).status == 204 and time.monotonic() < deadline:
            time.sleep(0.1)
        refused(repo.ask("GET", location), 404, "BLOB_UPLOAD_UNKNOWN")
        assert list((server.root / "uploads").iterdir()) == []


def test_a_mount_from_an_unknown_repository_begins_a_session(repo: Repo) -> None:
    """spec.md, "Mounting a blob from another repository"."""
    for source in ("none/at/all", "NOT/a/name", ""):
        answer = repo.ask("POST", f"blobs/uploads/?mount={digest(LAYER)}&from={source}")
        assert answer.status == 202
        assert repo.ask("PUT", f"{answer.headers['location']}?digest={digest(b'x')}", b"x").status == 201


# -- manifests --------------------------------------------------------------------------------------------


def test_content_type_parameters_are_ignored(repo: Repo) -> None:
    """spec.md, "Pushing Manifests"."""
    raw = repo.push_image()
    answer = repo.ask("PUT", "manifests/x", raw, Content_Type=f"{OCI_IMAGE}; charset=utf-8; x=y")
    assert answer.status == 201
    assert repo.ask("GET", "manifests/x").headers["content-type"] == OCI_IMAGE


def padded(size: int) -> bytes:
    empty = image(descriptor(CONFIG, OCI_CONFIG), annotations={"filler": ""})
    return image(descriptor(CONFIG, OCI_CONFIG), annotations={"filler": "x" * (size - len(empty))})


@pytest.mark.parametrize("stream", [True, False])
def test_a_manifest_above_the_limit_is_413(repo: Repo, stream: bool) -> None:
    """spec.md, "Pushing Manifests"."""
    repo.push(CONFIG)
    raw = padded(4 * 2**20 + 1)
    with wire(repo.host) as connection:
        framing = {"Transfer-Encoding": "chunked"} if stream else {"Content-Length": str(len(raw))}
        connection.send(head("PUT", repo.at("manifests/x"), framing))
        connection.send(chunked(raw) + chunked(b"") if stream else raw[: 2**20])
        refused(connection.answer("PUT"), 413, "MANIFEST_INVALID")
    refused(repo.ask("GET", "manifests/x"), 404, "MANIFEST_UNKNOWN")


def test_a_manifest_of_four_megabytes_is_taken(repo: Repo) -> None:
    """spec.md, "Pushing Manifests"."""
    repo.push(CONFIG)
    raw = padded(4 * 2**20)
    repo.put(raw, "x")
    assert repo.ask("GET", "manifests/x").body == raw


def test_ten_tags_in_one_push(repo: Repo) -> None:
    """spec.md, "Pushing Manifests"."""
    raw = repo.push_image()
    tags = [f"t{number:02}" for number in range(12)]
    answer = repo.put(raw, query="?" + "&".join(f"tag={tag}" for tag in tags))
    assert [tag.strip() for tag in answer.headers["oci-tag"].split(",")] == tags
    assert repo.tags() == tags
    for tag in tags:
        assert repo.ask("HEAD", f"manifests/{tag}").headers[DIGEST] == digest(raw)


# -- tags -------------------------------------------------------------------------------------------------

TAGS = ["b", "a", "B", "A", "1", "10", "2", "_", "v1.0", "v1.0-rc", "V1.0"]


@pytest.fixture
def tagged(repo: Repo) -> Repo:
    repo.put(index(), query="?" + "&".join(f"tag={tag}" for tag in TAGS))
    return repo


def test_tags_are_sorted(tagged: Repo) -> None:
    """spec.md, "Listing Tags": by ASCII."""
    body = json.loads(tagged.ask("GET", "tags/list").body)
    assert body == {"name": tagged.name, "tags": sorted(TAGS)}


@pytest.mark.parametrize("n", [1, 3, 10, 11, 12, 1000, 100_000])
def test_n_is_honoured(tagged: Repo, n: int) -> None:
    """spec.md, "Listing Tags": exactly n, or fewer if there are no more."""
    answer = tagged.ask("GET", f"tags/list?n={n}")
    assert json.loads(answer.body)["tags"] == sorted(TAGS)[:n]
    assert (next_page(answer) is not None) == (n < len(TAGS))


@pytest.mark.parametrize("n", [1, 2, 5])
def test_links_lead_to_the_next_page(tagged: Repo, n: int) -> None:
    """spec.md, "Listing Tags"; RFC 5988."""
    target: str | None = f"tags/list?n={n}"
    found: list[str] = []
    while target:
        answer = tagged.ask("GET", target)
        found += json.loads(answer.body)["tags"]
        target = next_page(answer)
    assert found == sorted(TAGS)


def test_n_zero_is_an_empty_list_without_a_link(tagged: Repo) -> None:
    """spec.md, "Listing Tags"."""
    for query in ("?n=0", "?n=0&last=A"):
        answer = tagged.ask("GET", f"tags/list{query}")
        assert json.loads(answer.body) == {"name": tagged.name, "tags": []}
        assert "link" not in answer.headers


@pytest.mark.parametrize("last", ["", "0", "A", "b", "zzz"])
@pytest.mark.parametrize("n", [1, 4, 20])
def test_last_together_with_n(tagged: Repo, last: str, n: int) -> None:
    """spec.md, "Listing Tags"."""
    assert tagged.tags(f"?n={n}&last={last}") == [tag for tag in sorted(TAGS) if tag > last][:n]


# -- referrers --------------------------------------------------------------------------------------------

SUBJECT = index(annotations={"the": "subject"})


def referring(number: int, artifact_type: str | None = "application/x.test") -> bytes:
    return index(
        subject=descriptor(SUBJECT, OCI_INDEX), artifact_type=artifact_type, annotations={"n": str(number)}
    )


@pytest.mark.parametrize("text", [*MALFORMED, "latest", "sha256:" + "A" * 64])
def test_referrers_of_a_malformed_digest_are_400(repo: Repo, text: str) -> None:
    """spec.md, "Listing Referrers"."""
    refused(repo.ask("GET", f"referrers/{text}"), 400, "DIGEST_INVALID")


def test_an_index_without_artifact_type_shows_none(repo: Repo) -> None:
    """spec.md, "Listing Referrers"."""
    raw = referring(1, None)
    repo.put(raw)
    assert repo.referrers(SUBJECT) == [descriptor(raw, OCI_INDEX, annotations={"n": "1"})]


def test_paged_referrers_have_links(repo: Repo) -> None:
    """spec.md, "Listing Referrers"; RFC 5988."""
    raws = [referring(number) for number in range(7)]
    for raw in raws:
        repo.put(raw)
    target: str | None = f"referrers/{digest(SUBJECT)}?n=3&artifactType=application/x.test"
    found: list[str] = []
    pages = 0
    while target:
        answer = repo.ask("GET", target)
        assert answer.headers["oci-filters-applied"] == "artifactType"
        found += [entry["digest"] for entry in json.loads(answer.body)["manifests"]]
        target, pages = next_page(answer), pages + 1
    assert (sorted(found), pages) == (sorted(map(digest, raws)), 3)


def test_a_filter_without_match_is_an_empty_list(repo: Repo) -> None:
    """spec.md, "Listing Referrers"."""
    repo.put(referring(1))
    answer = repo.ask("GET", f"referrers/{digest(SUBJECT)}?artifactType=application/x.none")
    assert answer.headers["oci-filters-applied"] == "artifactType"
    assert json.loads(answer.body) == {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}


def test_a_deleted_referrer_is_gone(repo: Repo) -> None:
    """spec.md, "Listing Referrers"."""
    for number in range(2):
        repo.put(referring(number))
    assert repo.ask("DELETE", f"manifests/{digest(referring(0))}").status == 202
    assert [entry["digest"] for entry in repo.referrers(SUBJECT)] == [digest(referring(1))]


def test_referrers_from_a_fallback_tag_are_listed(repo: Repo) -> None:
    """spec.md, "Upgrade Procedures": of a client that knew no referrers API, and kept a list under a tag."""
    listed, new = referring(1), referring(2)
    repo.put(listed)
    fallback = index([descriptor(listed, OCI_INDEX, artifactType="application/x.test")])
    repo.put(fallback, digest(SUBJECT).replace(":", "-"))
    repo.put(new)
    assert {entry["digest"] for entry in repo.referrers(SUBJECT)} == {digest(listed), digest(new)}
    assert repo.ask("GET", f"manifests/{digest(SUBJECT).replace(':', '-')}").body == fallback


# -- deletes ----------------------------------------------------------------------------------------------


def test_a_deleted_tag_leaves_its_manifest(repo: Repo) -> None:
    """spec.md, "Deleting tags"."""
    raw = repo.push_image("gone")
    repo.put(raw, "stays")
    assert repo.ask("DELETE", "manifests/gone").status == 202
    refused(repo.ask("GET", "manifests/gone"), 404, "MANIFEST_UNKNOWN")
    for reference in ("stays", digest(raw)):
        assert repo.ask("GET", f"manifests/{reference}").body == raw


def test_a_manifest_of_an_unknown_repository_cannot_be_deleted(repo: Repo) -> None:
    """spec.md, "Deleting Manifests"."""
    for reference in ("latest", digest(b"x"), digest(b"x", "sha512")):
        refused(repo.ask("DELETE", f"manifests/{reference}"), 404, "MANIFEST_UNKNOWN")


def test_a_deleted_manifest_takes_its_tags_along(repo: Repo) -> None:
    """spec.md, "Deleting Manifests"."""
    raw = repo.push_image("one")
    repo.put(raw, "two")
    repo.push_image("other", another="manifest")
    assert repo.ask("DELETE", f"manifests/{digest(raw)}").status == 202
    for reference in (digest(raw), "one", "two"):
        for method in ("GET", "HEAD"):
            assert repo.ask(method, f"manifests/{reference}").status == 404
    assert repo.tags() == ["other"]


def test_a_missing_blob_cannot_be_deleted(repo: Repo) -> None:
    """spec.md, "Deleting Blobs"."""
    refused(repo.ask("DELETE", f"blobs/{digest(b'never')}"), 404, "BLOB_UNKNOWN")
    named = repo.push(b"once")
    assert repo.ask("DELETE", f"blobs/{named}").status == 202
    refused(repo.ask("DELETE", f"blobs/{named}"), 404, "BLOB_UNKNOWN")


def test_deletes_that_are_switched_off_are_405(tmp_path_factory: pytest.TempPathFactory) -> None:
    """spec.md, "Content Management"."""
    with serve(tmp_path_factory.mktemp("fixed"), "--no-delete") as server:
        repo = Repo(server, "a")
        raw = repo.push_image("latest")
        for path in ("manifests/latest", f"manifests/{digest(raw)}", f"blobs/{digest(LAYER)}"):
            refused(repo.ask("DELETE", path), 405, "UNSUPPORTED")
        assert repo.ask("GET", "manifests/latest").body == raw
        assert repo.ask("GET", f"blobs/{digest(LAYER)}").body == LAYER


# -- HTTP and errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/v2/", {"GET", "HEAD"}),
        ("manifests/latest", {"GET", "HEAD", "PUT", "DELETE"}),
        (f"blobs/{digest(LAYER)}", {"GET", "HEAD", "DELETE"}),
        ("blobs/uploads/", {"POST"}),
        ("tags/list", {"GET", "HEAD"}),
        (f"referrers/{digest(LAYER)}", {"GET", "HEAD"}),
    ],
)
def test_other_methods_are_405_with_allow(repo: Repo, path: str, allow: set[str]) -> None:
    """spec.md, "API"; RFC 9110, section 15.5.6."""
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} - allow:
        answer = repo.ask(method, path)
        refused(answer, 405, "UNSUPPORTED")
        assert set(answer.headers["allow"].split(", ")) == allow


def test_conditional_requests(repo: Repo) -> None:
    """spec.md, "API"; RFC 9110, section 13."""
    raw = repo.push_image("latest")
    for path in ("manifests/latest", f"manifests/{digest(raw)}", f"blobs/{digest(LAYER)}"):
        etag = repo.ask("HEAD", path).headers["etag"]
        for method in ("GET", "HEAD"):
            known = repo.ask(method, path, If_None_Match=f'"x", W/{etag}')
            assert (known.status, known.headers["etag"]) == (304, etag)
            assert repo.ask(method, path, If_None_Match='"x"').status == 200
            assert repo.ask(method, path, If_Match='"x"').status == 412
    refused(repo.ask("PUT", "manifests/latest", raw, If_None_Match="*"), 412, "DENIED")
    assert repo.ask("PUT", "manifests/latest", raw, If_Match=f'"{digest(raw)}"').status == 201


def failures(repo: Repo) -> Iterator[Answer]:
    """Every kind of refusal that a client can cause."""
    raw = repo.push_image("latest")
    location = repo.begin(b"four")
    wrong = digest(b"wrong")
    yield repo.ask("GET", "/")
    yield repo.ask("GET", "/v2/NOT/tags/list")
    yield repo.ask("GET", "/v2/none/tags/list")
    yield repo.ask("GET", "tags/list?n=x")
    yield repo.ask("POST", "tags/list")
    yield repo.ask("GET", "manifests/none")
    yield repo.ask("GET", "manifests/sha256:x")
    yield repo.ask("PUT", "manifests/-", raw)
    yield repo.ask("PUT", "manifests/x", b"{")
    yield repo.ask("PUT", "manifests/x", image(descriptor(b"none")))
    yield repo.ask("PUT", f"manifests/{wrong}", raw)
    yield repo.ask("PUT", "manifests/latest", raw, If_None_Match="*")
    yield repo.ask("PUT", "manifests/latest", raw, If_Match="x")
    yield repo.ask("PUT", "manifests/latest", raw, Content_Encoding="gzip")
    yield repo.ask("PUT", "manifests/latest", raw, Content_Type=DOCKER_IMAGE)
    yield repo.ask("GET", f"blobs/{wrong}")
    yield repo.ask("GET", f"blobs/{digest(LAYER)}", Range="bytes=9999-")
    yield repo.ask("DELETE", f"blobs/{digest(LAYER)}")
    yield repo.ask("GET", f"blobs/uploads/{uuid.uuid4()}")
    yield repo.ask("PATCH", location, b"x", Content_Range="9-9")
    yield repo.ask("PATCH", location, b"x", Content_Range="4-9")
    yield repo.ask("PUT", location)
    yield repo.ask("PUT", f"{location}?digest={wrong}")


def test_errors_are_json(repo: Repo) -> None:
    """spec.md, "Error Codes"."""
    for answer in failures(repo):
        assert 400 <= answer.status < 500
        assert answer.headers["content-type"] == "application/json"
        body = json.loads(answer.body)
        assert set(body) == {"errors"}
        for error in body["errors"]:
            assert set(error) == {"code", "message", "detail"}
            assert isinstance(error["message"], str)


def test_error_codes_are_the_specifications(repo: Repo) -> None:
    """spec.md, "Error Codes"."""
    for answer in failures(repo):
        for error in json.loads(answer.body)["errors"]:
            assert error["code"] in CODES
            assert re.fullmatch(r"[A-Z_]+", error["code"])


def test_no_warning_is_sent(repo: Repo) -> None:
    """spec.md, "Warnings": there is none to give."""
    raw = repo.push_image("latest")
    paths = ("/v2/", "manifests/latest", f"blobs/{digest(LAYER)}", "tags/list", f"referrers/{digest(raw)}")
    answers = [repo.ask(method, path) for path in paths for method in ("GET", "HEAD", "DELETE")]
    for answer in (*answers, *failures(repo)):
        assert "warning" not in answer.headers


# -- image-spec -------------------------------------------------------------------------------------------


def test_upper_case_digests_are_refused(repo: Repo) -> None:
    """image-spec descriptor.md, "Registered algorithms"."""
    for algorithm in ("sha256", "sha512"):
        upper = digest(LAYER, algorithm).replace(
            digest(LAYER, algorithm)[7:], digest(LAYER, algorithm)[7:].upper()
        )
        refused(repo.ask("POST", f"blobs/uploads/?digest={upper}", LAYER), 400, "DIGEST_INVALID")
        refused(repo.ask("GET", f"blobs/{upper}"), 400, "DIGEST_INVALID")
        raw = image({**descriptor(CONFIG), "digest": upper})
        refused(repo.ask("PUT", "manifests/x", raw), 400, "MANIFEST_INVALID")


def test_unknown_algorithms_in_descriptors_are_valid(repo: Repo) -> None:
    """image-spec descriptor.md, "Digests"."""
    repo.push(CONFIG)
    strange = {
        "mediaType": OCI_LAYER,
        "digest": "multihash+base58:QmRZxt2b1FVZPNqd8hsiykDL3TdBDeTSPX9Kv46HmX4Gx8",
        "size": 5,
    }
    foreign = {**strange, "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar"}
    for raw in (
        image(descriptor(CONFIG), [foreign]),
        image(descriptor(CONFIG), subject={**strange, "mediaType": OCI_IMAGE}),
    ):
        repo.put(raw, "x")
        assert repo.ask("GET", "manifests/x").body == raw
    # Valid, but not here.
    refused(
        repo.ask("PUT", "manifests/y", image(descriptor(CONFIG), [strange])), 400, "MANIFEST_BLOB_UNKNOWN"
    )


def test_unknown_media_and_artifact_types_are_taken(repo: Repo) -> None:
    """image-spec media-types.md and manifest.md."""
    for data in (CONFIG, LAYER):
        repo.push(data)
    raw = image(
        descriptor(CONFIG, "application/x.never-heard-of+json"),
        [descriptor(LAYER, "text/x.neither", artifactType="application/x.nor-this")],
        artifact_type="application/vnd.example.unknown",
        subject=descriptor(SUBJECT, "application/x.subject"),
    )
    repo.put(raw, "x")
    assert repo.ask("GET", "manifests/x").body == raw
    assert [entry["artifactType"] for entry in repo.referrers(SUBJECT)] == ["application/vnd.example.unknown"]


def test_manifests_are_never_rewritten(repo: Repo) -> None:
    """image-spec descriptor.md, "Embedded Content": neither filled in nor taken out."""
    for data in (CONFIG, b"{}"):
        repo.push(data)
    embedded = image({**descriptor(b"{}", "application/vnd.oci.empty.v1+json"), "data": "e30="})
    spaced = json.dumps(json.loads(image(descriptor(CONFIG))), indent="\t", sort_keys=True).encode() + b"\n\n"
    for raw in (embedded, spaced, image(descriptor(b"{}"))):
        repo.put(raw, "x")
        answer = repo.ask("GET", "manifests/x")
        assert (answer.body, answer.headers[DIGEST]) == (raw, digest(raw))
