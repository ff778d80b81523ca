"""Names, tags, digests and ids that try to be a path, a route or another's."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from storage.digest import Digest
from tests.api.corpus import DIGESTS, NAMES, ROUTE_WORDS, TAGS, UPLOADS
from tests.builders import descriptor, image
from tests.hostile.attacking import Line, closed, raw, refused, stored
from tests.hostile.conftest import LAYER
from tests.live.servers import Live
from tests.live.tracing import traced
from tests.live.wire import wire

ABSENT = str(Digest.of(b"absent"))
MANIFEST = image(layers=[descriptor(LAYER)])
REFUSED_NAMES = {"NAME_INVALID", "UNSUPPORTED"}  # the second where it is no route any more


def test_t01_names_lead_nowhere(line: Line, live: Live) -> None:
    """Whoever decodes them: no name of the corpus is one, on any route."""
    before = stored(live.root)
    for name in NAMES:
        for method, rest in (
            ("GET", "tags/list"),
            ("HEAD", f"blobs/{ABSENT}"),
            ("POST", "blobs/uploads/"),
            ("POST", f"blobs/uploads/?mount={Digest.of(LAYER)}&from=base"),
            ("PUT", "manifests/x"),
            ("DELETE", "manifests/x"),
            ("GET", f"referrers/{ABSENT}"),
        ):
            answer = line.ask(method, f"/v2/{name}/{rest}", MANIFEST if method == "PUT" else b"")
            refused(answer, {400, 404, 414}, REFUSED_NAMES, method=method)
    assert stored(live.root) == before


@pytest.mark.parametrize("name", [name for name in NAMES if "//" not in name and name.strip("/") == name])
def test_t01_a_bad_name_is_name_invalid(line: Line, name: str) -> None:
    answer = line.ask("GET", f"/v2/{name}/manifests/x")
    refused(answer, 400, "NAME_INVALID" if name.isascii() else {"NAME_INVALID", "UNSUPPORTED"})


@pytest.mark.parametrize("tag", [tag for tag in TAGS if "%" not in tag and tag.isascii()])
def test_t01_a_bad_tag_is_manifest_invalid_to_push_and_unknown_to_pull(line: Line, tag: str) -> None:
    refused(line.ask("PUT", f"/v2/base/manifests/{tag}", MANIFEST), 400, "MANIFEST_INVALID")
    refused(line.ask("GET", f"/v2/base/manifests/{tag}"), 404, "MANIFEST_UNKNOWN")
    refused(line.ask("PUT", f"/v2/base/manifests/{Digest.of(MANIFEST)}?tag={_query(tag)}", MANIFEST), 400,
            "MANIFEST_INVALID")  # fmt: skip


def _query(text: str) -> str:
    return quote(text, safe="")


LONGEST = "a" * 127 + "/" + "b" * 127


def test_t01_the_longest_name_and_tag_are_served(line: Line) -> None:
    for name, tag, status in ((LONGEST, "t" * 128, 201), (LONGEST + "b", "t", 400), ("a" * 255, "t", 201)):
        pushed = line.ask("POST", f"/v2/{name}/blobs/uploads/?digest={Digest.of(LAYER)}", LAYER)
        assert pushed.status == status
        line.ask("POST", f"/v2/{name}/blobs/uploads/?digest={Digest.of(b'{}')}", b"{}")
        assert line.ask("PUT", f"/v2/{name}/manifests/{tag}", MANIFEST).status == status


OPENED = re.compile(
    r'(?:open|openat|openat2|stat|lstat|newfstatat|unlink|rename|link|mkdir)\((.*?)"((?:[^"\\]|\\.)*)"'
)
# What an interpreter opens by itself: modules it has not needed yet, the clock's zone, its own state.
OWN = ("/proc/", "/sys/", "/dev/", "/usr/", "/lib", "/etc/localtime")


def test_t01_nothing_outside_the_root_is_opened(line: Line, live: Live, tmp_path: Path) -> None:
    """By the kernel's own word: no path of the corpus reaches a call on a file."""
    log = tmp_path / "calls"
    with traced(live.pid, "%file", log):
        for name in NAMES:
            line.ask("GET", f"/v2/{name}/manifests/latest")
            line.ask("GET", f"/v2/{name}/blobs/{Digest.of(LAYER)}")
        for digest in DIGESTS:
            line.ask("GET", f"/v2/base/blobs/{digest}")
        for upload in UPLOADS:
            line.ask("PATCH", f"/v2/base/blobs/uploads/{upload}", b"x")
        assert (
            line.ask("GET", f"/v2/base/blobs/{Digest.of(LAYER)}", headers={"Range": "bytes=0-3"}).status
            == 206
        )
    found = [match[2] for match in OPENED.finditer(log.read_text())]
    paths = [path for path in found if path.startswith("/")]
    relative = {path for path in found if path and not path.startswith("/")}
    assert any(path.startswith(str(live.root)) for path in paths), "strace has seen nothing"
    prefixes = (str(live.root), str(Path(__file__).parents[2]), *OWN)
    assert [path for path in paths if not path.startswith(prefixes)] == []
    assert all(re.fullmatch(r"sha(256|512)|[0-9a-f]{2}|[0-9a-f]{64,128}", path) for path in relative), (
        relative
    )


BEFORE = re.compile(r"%(2f|5c|00|0a|0d|20|d9|c3)|/|[^!-~]", re.IGNORECASE)
"""What the path's own rules refuse, whatever it stands for."""


@pytest.mark.parametrize("text", DIGESTS)
def test_t02_a_bad_digest_is_digest_invalid(line: Line, text: str) -> None:
    odd = bool(BEFORE.search(text))
    statuses, codes = ({400, 404}, {"NAME_INVALID", "UNSUPPORTED"}) if odd else ({400}, {"DIGEST_INVALID"})
    asked = [("GET", "blobs"), ("HEAD", "blobs"), ("DELETE", "blobs")]
    if "%25" not in text:  # without a colon it is a tag
        asked += [("GET", "manifests"), ("PUT", "manifests"), ("DELETE", "manifests")]
    for method, path in asked:
        answer = line.ask(method, f"/v2/base/{path}/{text}", MANIFEST if method == "PUT" else b"")
        refused(answer, statuses, codes, method=method)
    refused(line.ask("POST", f"/v2/base/blobs/uploads/?digest={_query(text)}", LAYER), 400, "DIGEST_INVALID")
    refused(line.ask("POST", f"/v2/base/blobs/uploads/?mount={_query(text)}"), 400, "DIGEST_INVALID")


@pytest.mark.parametrize("text", UPLOADS)
def test_t02_a_bad_upload_id_is_unknown(line: Line, live: Live, text: str) -> None:
    before = stored(live.root)
    odd = bool(BEFORE.search(text))
    codes = {"BLOB_UPLOAD_UNKNOWN", *(("NAME_INVALID", "UNSUPPORTED") if odd else ())}
    for method in ("GET", "HEAD", "PATCH", "PUT", "DELETE"):
        answer = line.ask(method, f"/v2/base/blobs/uploads/{text}?digest={Digest.of(LAYER)}", LAYER)
        refused(answer, {400, 404} if odd else 404, codes, method=method)
    assert stored(live.root) == before


def test_t03_names_of_routes_and_of_the_stores_files_are_names(line: Line, live: Live) -> None:
    """Each has its own content; deleting every other one leaves the rest."""
    pushed: dict[str, bytes] = {}
    for number, name in enumerate(ROUTE_WORDS):
        layer = b"%d" % number
        for data in (b"{}", layer):
            assert line.ask("POST", f"/v2/{name}/blobs/uploads/?digest={Digest.of(data)}", data).status == 201
        pushed[name] = image(layers=[descriptor(layer)])
        assert line.ask("PUT", f"/v2/{name}/manifests/latest", pushed[name]).status == 201
    for gone in ROUTE_WORDS[::2]:
        assert line.ask("DELETE", f"/v2/{gone}/manifests/{Digest.of(pushed[gone])}").status == 202
    for number, name in enumerate(ROUTE_WORDS):
        listed = line.ask("GET", f"/v2/{name}/tags/list")
        pulled = line.ask("GET", f"/v2/{name}/manifests/latest")
        if number % 2:
            assert json.loads(listed.body) == {"name": name, "tags": ["latest"]}
            assert pulled.body == pushed[name]
        else:
            refused(pulled, 404, "MANIFEST_UNKNOWN")
        layer = json.loads(pushed[name])["layers"][0]["digest"]
        for other in {*ROUTE_WORDS[:6]} - {name}:
            refused(line.ask("GET", f"/v2/{other}/blobs/{layer}"), 404, "BLOB_UNKNOWN")
    assert {path.name for path in live.root.iterdir()} <= {
        *("format", "blobs", "uploads", "fetches", "quarantine", "index.db", "index.db-wal", "index.db-shm"),
        *("write.lock", "gc.lock", "evict.lock", "serving.lock", "ballast", "fsck", "scrub", "secrets"),
    }


FAMILY = ["f", "f-a", "f.a", "f/a", "f/a/b", "f/aa", "f0", "f_a", "fa", "fa/a"]


def walk(line: Line, first: str, key: str) -> list[str]:
    """All pages of a listing, by its links alone."""
    found: list[str] = []
    target: str | None = first
    while target:
        answer = line.ask("GET", target)
        assert answer.status == 200
        found += json.loads(answer.body)[key]
        link = re.fullmatch(r'<(/v2/[^>]*)>; rel="next"', answer.headers.get("link", ""))
        target = link[1] if link else None
    return found


def test_t04_a_listing_drops_no_name_that_begins_as_another(line: Line) -> None:
    for name in FAMILY:
        for data in (b"{}", LAYER):
            assert line.ask("POST", f"/v2/{name}/blobs/uploads/?digest={Digest.of(data)}", data).status == 201
        tags = "&".join(f"tag={tag}" for tag in ("v1", "v1.0", "v1-a", "v10", "V1", "v", "v_1"))
        assert line.ask("PUT", f"/v2/{name}/manifests/{Digest.of(MANIFEST)}?{tags}", MANIFEST).status == 201
    whole = walk(line, "/v2/_catalog", "repositories")
    assert whole == sorted(set(whole))
    assert [name for name in whole if name in FAMILY] == sorted(FAMILY)
    for n in range(1, len(whole) + 2):
        assert walk(line, f"/v2/_catalog?n={n}", "repositories") == whole
    for n in range(1, 9):
        assert walk(line, f"/v2/f/tags/list?n={n}", "tags") == ["V1", "v", "v1", "v1-a", "v1.0", "v10", "v_1"]


LISTINGS = ("/v2/_catalog", "/v2/base/tags/list", f"/v2/base/referrers/{ABSENT}")


@pytest.mark.parametrize(
    "n",
    [
        "-1",
        "1000000000",
        str(2**64),
        "1_0",
        "%D9%A3",
        "+5",
        "%205",
        "5%20",
        "0x10",
        "1e3",
        "5.0",
        "",
        "9" * 5000,
        "5%00",
    ],
)
def test_t05_what_is_no_count(line: Line, n: str) -> None:
    for listing in LISTINGS:
        refused(line.ask("GET", f"{listing}?n={n}"), 400, "UNSUPPORTED")


@pytest.mark.parametrize("n", ["0", "00", "000000000"])
def test_t05_none_is_an_empty_page(line: Line, n: str) -> None:
    for listing in LISTINGS[:2]:
        answer = line.ask("GET", f"{listing}?n={n}")
        assert (answer.status, "link" in answer.headers) == (200, False)
        assert [] in json.loads(answer.body).values()


def test_t05_a_count_is_clamped_and_the_rest_is_linked(line: Line) -> None:
    for data in (b"{}", LAYER):
        assert line.ask("POST", f"/v2/many/blobs/uploads/?digest={Digest.of(data)}", data).status == 201
    for page in range(11):
        tags = "&".join(f"tag=t{page * 100 + number:04}" for number in range(100))
        assert line.ask("PUT", f"/v2/many/manifests/{Digest.of(MANIFEST)}?{tags}", MANIFEST).status == 201
    for n in ("", "?n=999999999", "?n=1001"):
        answer = line.ask("GET", f"/v2/many/tags/list{n}")
        assert len(json.loads(answer.body)["tags"]) == 1000
        assert "n=1000" in answer.headers["link"]
        assert walk(line, f"/v2/many/tags/list{n}", "tags") == [f"t{number:04}" for number in range(1100)]


INJECTED = "%0d%0aX-Evil:%20y"
SPLITTING: dict[str, Callable[[str], tuple[str, str, bytes]]] = {
    "Location of a session": lambda text: ("POST", f"/v2/{text}/blobs/uploads/", b""),
    "Location of a blob": lambda text: ("POST", f"/v2/base/blobs/uploads/?digest={text}", LAYER),
    "Location of a mount": lambda text: ("POST", f"/v2/base/blobs/uploads/?mount={ABSENT}&from={text}", b""),
    "OCI-Tag": lambda text: ("PUT", f"/v2/base/manifests/{Digest.of(MANIFEST)}?tag={text}", MANIFEST),
    "Link of tags": lambda text: ("GET", f"/v2/base/tags/list?n=1&last={text}", b""),
    "Link of the catalog": lambda text: ("GET", f"/v2/_catalog?n=1&last={text}", b""),
    "Link of referrers": lambda text: ("GET", f"/v2/base/referrers/{ABSENT}?artifactType={text}", b""),
    "Docker-Content-Digest": lambda text: ("GET", f"/v2/base/manifests/{text}", b""),
    "Docker-Upload-UUID": lambda text: ("PATCH", f"/v2/base/blobs/uploads/{text}", b"x"),
    "Allow": lambda text: ("PATCH", f"/v2/{text}/tags/list", b""),
}


@pytest.mark.parametrize("request_of", SPLITTING.values(), ids=SPLITTING)
def test_t30_no_text_becomes_a_header(
    line: Line, request_of: Callable[[str], tuple[str, str, bytes]]
) -> None:
    for text in (
        INJECTED,
        f"latest{INJECTED}",
        "%0aX-Evil:y",
        "%E5%98%8A%E5%98%8DX-Evil:y",
        *NAMES,
        *TAGS,
        *DIGESTS,
    ):
        answer = line.ask(*request_of(text))
        closed(answer)
        assert answer.status < 500
        for name, value in answer.headers.items():
            assert re.fullmatch(r"[a-z-]+", name)
            assert re.fullmatch(r"[ -~]*", value)


def test_t30_a_line_break_of_its_own_is_a_400(live: Live) -> None:
    """Raw ones, which no client encodes."""
    for target in (
        "/v2/a\rX-Evil: y/tags/list",
        "/v2/a\nX-Evil: y/tags/list",
        "/v2/\x0b/tags/list",
        "/v2/a\x00",
    ):
        with wire(live.host) as connection:
            connection.send(raw("GET", target))
            answer = connection.answer()
            refused(answer, 400, {"UNSUPPORTED", "NAME_INVALID"})
