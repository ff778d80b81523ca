"""Manifests that are too much, that two readers would read differently, or that name what is not theirs."""

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from storage.digest import Digest
from tests.builders import (
    DOCKER_IMAGE,
    DOCKER_INDEX,
    OCI_CONFIG,
    OCI_IMAGE,
    OCI_INDEX,
    descriptor,
    image,
    index,
)
from tests.hostile.attacking import MIB, PEAK, Fields, Line, closed, raw, refused, resident, stored
from tests.hostile.conftest import LAYER
from tests.live.servers import PROJECT, Live, running
from tests.live.wire import Answer, Closed, chunked, wire

LIMIT = 4 * MIB
BASE = "/v2/base/manifests"
TYPED = {"Content-Type": OCI_IMAGE}
MANIFEST = image(layers=[descriptor(LAYER)])


def put(
    line: Line, body: bytes, reference: str = "x", headers: Fields = (), repository: str = "base"
) -> Answer:
    return line.ask("PUT", f"/v2/{repository}/manifests/{reference}", body, headers)


def absent(line: Line, body: bytes, repository: str = "base") -> None:
    refused(line.ask("GET", f"/v2/{repository}/manifests/{Digest.of(body)}"), 404, "MANIFEST_UNKNOWN")


def bomb(size: int = LIMIT) -> bytes:
    """As many tokens as are read at all, in a manifest of that size."""
    start, end = b'{"schemaVersion":2,"config":{},"layers":[', b"]}"
    tokens = b"{}," * 99_000 + b"{}"
    return start + tokens + b" " * (size - len(start) - len(tokens) - len(end)) + end


# -- T6: size -------------------------------------------------------------------------------------------


def test_t06_what_is_announced_too_large_is_refused_unread(live: Live) -> None:
    for length in (LIMIT + 1, 2**40, 2**62):
        with wire(live.host) as connection:
            began = time.monotonic()
            connection.send_head(
                "PUT", f"{BASE}/x", {**TYPED, "Content-Length": str(length), "Expect": "100-continue"}
            )
            answer = connection.answer()
            refused(answer, 413, "MANIFEST_INVALID")
            assert answer.closing
            assert time.monotonic() - began < 1


def test_t06_what_turns_out_too_large_is_refused_where_it_does(live: Live) -> None:
    with wire(live.host) as connection:
        connection.send_head("PUT", f"{BASE}/x", {**TYPED, "Transfer-Encoding": "chunked"})
        connection.send(chunked(b" " * LIMIT) + chunked(b" ") + b"0\r\n\r\n")
        refused(connection.answer(), 413, "MANIFEST_INVALID")


def test_t06_a_length_that_is_too_short_ends_the_body(live: Live) -> None:
    """What is behind it is no part of it, and no request."""
    with wire(live.host) as connection:
        connection.send(raw("PUT", f"{BASE}/short", MANIFEST[:20], {"Content-Length": "20"}) + MANIFEST[20:])
        refused(connection.answer(), 400, "MANIFEST_INVALID")
        assert connection.at_end()


def test_t06_a_length_that_is_too_long_stores_nothing(live: Live, line: Line) -> None:
    for leave in (True, False):
        with wire(live.host) as connection:
            connection.send(raw("PUT", f"{BASE}/long", MANIFEST, {"Content-Length": str(len(MANIFEST) + 1)}))
            if leave:
                connection.half_close()
                assert connection.at_end()
    refused(line.ask("GET", f"{BASE}/long"), 404, "MANIFEST_UNKNOWN")


def test_t06_a_hundred_bombs_at_once(live: Live, line: Line) -> None:
    """Some are told to come later; the memory has a bound, and others are served meanwhile."""
    body = bomb()

    def drop(_: int) -> int:
        with wire(live.host) as connection:
            try:
                connection.send(raw("PUT", f"{BASE}/bomb", body, TYPED))
                return connection.answer().status
            except (Closed, ConnectionError):  # it had its 503 while it was sending
                return 503

    with ThreadPoolExecutor(100) as pool:
        dropping = [pool.submit(drop, number) for number in range(100)]
        while not all(each.done() for each in dropping):
            assert line.ask("GET", "/v2/").status == 200
            time.sleep(0.01)
    statuses = [each.result() for each in dropping]
    assert set(statuses) <= {400, 503}
    assert statuses.count(400) >= 2
    assert resident(live.workers()[0], "VmHWM") < PEAK


# -- T7: what readers differ on -------------------------------------------------------------------------

LAYERS = json.dumps([descriptor(LAYER)])
HEAD = '"schemaVersion": 2, "config": ' + json.dumps(descriptor(b"{}"))
ANNOTATED = f'{{{HEAD}, "layers": {LAYERS}, "annotations": {{"a": "X"}}}}'
ONE = json.dumps(descriptor(LAYER))


def with_members(text: str) -> bytes:
    """A manifest whose other members are these."""
    return f"{{{HEAD}, {text}}}".encode()


DIFFERENT: dict[str, bytes] = {
    "UTF-8 with BOM": b"\xef\xbb\xbf" + MANIFEST,
    "UTF-16": MANIFEST.decode().encode("utf-16"),
    "UTF-16 without BOM": MANIFEST.decode().encode("utf-16-le"),
    "UTF-32": MANIFEST.decode().encode("utf-32-le"),
    "latin-1": ANNOTATED.replace("X", "é").encode("latin-1"),
    "overlong UTF-8": ANNOTATED.encode().replace(b"X", b"\xc0\xaf"),
    "half a pair": ANNOTATED.replace("X", "\\ud800").encode(),
    "a pair in UTF-8": ANNOTATED.encode().replace(b"X", b"\xed\xa0\x80\xed\xb0\x80"),
    "a key twice": with_members(f'"layers": [], "layers": {LAYERS}'),
    "a key twice, escaped": with_members(f'"layers": [], "lay\\u0065rs": {LAYERS}'),
    "a key twice, below": with_members(f'"layers": {LAYERS}, "annotations": {{"a": "1", "a": "2"}}'),
    "a key in another case": with_members(f'"layers": [], "Layers": {LAYERS}'),
    "a key in another case only": with_members(f'"LAYERS": {LAYERS}'),
    "a case below": with_members(f'"layers": [{ONE[:-1]}, "Size": 1}}]'),
    "a case in a platform": with_members(f'"layers": [{ONE[:-1]}, "platform": {{"OS": "x"}}}}]'),
    "a long s": with_members(f'"layers": [], "layerſ": {LAYERS}'),
    "a long s, escaped": with_members(f'"layers": [], "layer\\u017f": {LAYERS}'),
    "NaN": with_members(f'"layers": {LAYERS}, "x": NaN'),
    "Infinity": with_members(f'"layers": {LAYERS}, "x": -Infinity'),
    "a comment": with_members(f'/* no */ "layers": {LAYERS}'),
    "a last comma": with_members(f'"layers": {LAYERS},'),
    "two values": MANIFEST + b"{}",
    "a NUL behind it": MANIFEST + b"\0",
    "a bare list": b"[]",
    "a bare null": b"null",
    "nothing": b"",
    "too deep": with_members(f'"layers": {LAYERS}, "x": {"[" * 32 + "]" * 32}'),
    "far too deep": b"[" * 100_000,
    "far too deep, below": f'{{{HEAD}, "x": {"[" * 100_000}'.encode(),
    "far too deep, objects": b'{"a":' * 100_000,
    "too many tokens": b'{"layers":[' + b"{}," * 1_000_000 + b"{}]}",
    "too many commas": b'{"layers":[' + b"0," * 300_000 + b"0]}",
    "too many descriptors": with_members(f'"layers": [{",".join([ONE] * 10_001)}]'),
}
SIZES = ("true", "1.0", "1e3", "-1", str(2**63), "9" * 5000, "-" + "9" * 5000, '"1"', "null", "[1]", "1E400")


@pytest.mark.parametrize("body", DIFFERENT.values(), ids=DIFFERENT)
def test_t07_json_that_readers_take_differently(line: Line, live: Live, body: bytes) -> None:
    before = stored(live.root)
    for content_type in (OCI_IMAGE, "application/json"):
        refused(put(line, body, headers={"Content-Type": content_type}), 400, "MANIFEST_INVALID")
    absent(line, body)
    assert stored(live.root) == before


@pytest.mark.parametrize("size", SIZES, ids=[size[:12] for size in SIZES])
def test_t07_numbers_that_are_no_size(line: Line, size: str) -> None:
    layer = f'{{"mediaType": "a/b", "digest": "{Digest.of(LAYER)}", "size": {size}}}'
    refused(put(line, f'{{{HEAD}, "layers": [{layer}]}}'.encode(), headers=TYPED), 400, "MANIFEST_INVALID")


def test_t07_what_only_looks_so_is_taken(line: Line) -> None:
    """At the limits, and with keys that no client knows: else the rows above show nothing."""
    for text in (
        f'{{{HEAD}, "layers": {LAYERS}, "x": {"[" * 31 + "]" * 31}}}',
        f'{{{HEAD}, "layers": {LAYERS}, "Created": 1.5e3, "created": "é\\ud83d\\ude00"}}',
        f'\n\t{{{HEAD}, "layers": {LAYERS}}}\r\n ',
        f'{{{HEAD}, "layers": [{",".join([json.dumps(descriptor(LAYER))] * 10_000)}]}}',
    ):
        assert put(line, text.encode(), headers=TYPED).status == 201
        assert line.ask("GET", f"{BASE}/x").body == text.encode()


def test_t07_four_megabytes_of_anything_cost_little(line: Line, live: Live) -> None:
    """25 times its size in memory, and a second of the processor, was the price of the first of these."""
    for unit, end in (
        (b"{},", b"{}"),
        (b"[],", b"[]"),
        (b'"",', b'""'),
        (b'{"a":[', b""),
        (b"0,", b"0"),
        (b'"\\u0061",', b"0"),
    ):
        body = (b'{"layers":[' + unit * (LIMIT // len(unit)))[: LIMIT - 10] + end
        began = time.monotonic()
        refused(put(line, body, headers=TYPED), 400, "MANIFEST_INVALID")
        assert time.monotonic() - began < 2
    assert resident(live.workers()[0], "VmHWM") < PEAK


# -- T8, T9: types --------------------------------------------------------------------------------------

CONFIG, CHILD = descriptor(b"{}", OCI_CONFIG), descriptor(MANIFEST, OCI_IMAGE)
SHAPES: dict[str, dict[str, object]] = {
    "image": {"config": CONFIG, "layers": [descriptor(LAYER)]},
    "index": {"manifests": [CHILD]},
    "both": {"config": CONFIG, "layers": [descriptor(LAYER)], "manifests": [CHILD]},
    "index with config": {"manifests": [CHILD], "config": CONFIG},
    "index with layers": {"manifests": [CHILD], "layers": []},
    "neither": {},
}
TYPES = {OCI_IMAGE: "image", OCI_INDEX: "index", DOCKER_IMAGE: "image", DOCKER_INDEX: "index"}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("inside", ["", *TYPES])
def test_t08_a_manifest_is_of_one_type_to_every_reader(line: Line, inside: str, shape: str) -> None:
    """CVE-2021-41190. An index without children is one; an image without a config is none."""
    assert put(line, MANIFEST, str(Digest.of(MANIFEST))).status == 201
    for outside in TYPES:
        typed = {"mediaType": inside} if inside else {}
        body = json.dumps(
            {"schemaVersion": 2, **typed, **SHAPES[shape], "annotations": {"o": outside}}
        ).encode()
        fits = TYPES[outside] == shape or (TYPES[outside] == "index" and shape == "neither")
        answer = put(line, body, headers={"Content-Type": outside})
        if not fits or inside not in ("", outside):
            refused(answer, 400, "MANIFEST_INVALID")
            absent(line, body)
            continue
        assert answer.status == 201, answer
        for accept in ("text/html", "*/*", "application/vnd.docker.distribution.manifest.v1+json", *TYPES):
            served = line.ask("GET", f"{BASE}/x", headers={"Accept": accept, "Content-Type": "text/html"})
            assert (served.status, served.headers["content-type"], served.body) == (200, outside, body)
            closed(served)


def test_t08_two_content_types_are_none(line: Line) -> None:
    for one, two in ((OCI_IMAGE, OCI_INDEX), (OCI_INDEX, OCI_IMAGE), (OCI_IMAGE, OCI_IMAGE)):
        answer = put(line, MANIFEST, headers=[("Content-Type", one), ("Content-Type", two)])
        refused(answer, 400, "UNSUPPORTED")


HTML = b"<script>alert(document.domain)</script>"
SCRIPTS = (
    "text/html",
    "image/svg+xml",
    "text/html; charset=utf-8",
    "application/xhtml+xml",
    "text/xml",
    "*/*",
    "",
)


@pytest.mark.parametrize("content_type", SCRIPTS)
def test_t09_nothing_is_served_as_a_page(line: Line, content_type: str) -> None:
    typed = {"Content-Type": content_type}
    assert line.ask("POST", f"/v2/base/blobs/uploads/?digest={Digest.of(HTML)}", HTML, typed).status == 201
    answer = line.ask("GET", f"/v2/base/blobs/{Digest.of(HTML)}", headers={"Accept": "text/html"})
    assert (answer.headers["content-type"], answer.body) == ("application/octet-stream", HTML)
    closed(answer)
    body = image(layers=[descriptor(HTML, "text/html")], annotations={"title": HTML.decode()})
    pushed = put(line, body, headers=typed)
    if content_type:  # without one, the manifest's own says what it is
        refused(pushed, 400, "MANIFEST_INVALID")
    else:
        assert pushed.status == 201
        assert line.ask("GET", f"{BASE}/x").headers["content-type"] == OCI_IMAGE
    inside = json.dumps({"schemaVersion": 2, "mediaType": content_type, **SHAPES["image"]}).encode()
    if content_type:
        refused(put(line, inside, headers=typed), 400, "MANIFEST_INVALID")


def test_t09_every_answer_forbids_a_page(line: Line, live: Live) -> None:
    """Of every route and method, and of none; by whoever it is given."""
    digest, session = Digest.of(LAYER), line.ask("POST", "/v2/base/blobs/uploads/").headers["location"]
    places = [
        *(
            "/",
            "/v2",
            "/v2/",
            "/v2/_catalog",
            "/healthz",
            "/livez",
            "/readyz",
            "/nowhere",
            "/v2/base/tags/list",
        ),
        *(
            f"{BASE}/latest",
            f"/v2/base/blobs/{digest}",
            f"/v2/base/referrers/{digest}",
            session,
            "/v2/<b>/tags/list",
        ),
        *(f"/v2/base/tags/list?n={HTML.decode().replace(' ', '')}", "/v2/base/blobs/sha256:<script>", "*"),
    ]
    for place in places:
        for method in ("GET", "HEAD", "PATCH", "OPTIONS", "PUT", "POST", "BREW"):
            answer = line.ask(method, place)
            closed(answer)
            kind = answer.headers.get("content-type", "application/json")
            assert kind.split(";")[0] in {
                "application/json",
                "application/octet-stream",
                OCI_IMAGE,
                OCI_INDEX,
            }, place
    for bad in (
        b"GET / HTTP/9.9\r\n\r\n",
        b"\0\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\n\r\n",
        raw("GET", "/v2/", headers={"X": "a" * 99_000}),
    ):
        with wire(live.host) as connection:
            connection.send(bad)
            answer = connection.answer()
            closed(answer)
            assert (answer.status in (400, 431), answer.headers["content-type"]) == (True, "application/json")


# -- T10: what it names ---------------------------------------------------------------------------------


def test_t10_what_a_repository_lacks_is_listed_whole(line: Line) -> None:
    """Not here at all, or in another repository only: that is the same."""
    elsewhere = b"in another repository only"
    assert (
        line.ask("POST", f"/v2/other/blobs/uploads/?digest={Digest.of(elsewhere)}", elsewhere).status == 201
    )
    lacking = [descriptor(b"absent"), descriptor(elsewhere), descriptor(b"also absent")]
    body = image(layers=[descriptor(LAYER), *lacking])
    answer = put(line, body, headers=TYPED)
    refused(answer, 400, "MANIFEST_BLOB_UNKNOWN")
    named = {error["detail"]["digest"] for error in json.loads(answer.body)["errors"]}
    assert named == {each["digest"] for each in lacking}
    absent(line, body)


WRONG = {
    "size of a layer": image(layers=[{**descriptor(LAYER), "size": len(LAYER) + 1}]),
    "size of a config": image({**descriptor(b"{}"), "size": 3}),
    "size of a child": index([{**descriptor(MANIFEST, OCI_IMAGE), "size": 1}]),
    "algorithm": image(layers=[descriptor(LAYER, algorithm="sha512")]),
    "child": index([descriptor(b"no such child", OCI_IMAGE)]),
}


@pytest.mark.parametrize("body", WRONG.values(), ids=WRONG)
def test_t10_what_is_here_otherwise_is_not_here(line: Line, body: bytes) -> None:
    assert put(line, MANIFEST, str(Digest.of(MANIFEST))).status == 201
    refused(put(line, body), 400, "MANIFEST_BLOB_UNKNOWN")
    absent(line, body)


def test_t10_a_manifest_of_another_repository_is_no_child(line: Line) -> None:
    refused(
        put(line, index([descriptor(MANIFEST, OCI_IMAGE)]), repository="empty"), 400, "MANIFEST_BLOB_UNKNOWN"
    )
    assert line.ask("GET", "/v2/empty/tags/list").status == 404


def test_t10_a_subject_may_be_absent(line: Line) -> None:
    missing = descriptor(b"pushed later", OCI_IMAGE)
    answer = put(line, image(layers=[descriptor(LAYER)], subject=missing))
    assert (answer.status, answer.headers["oci-subject"]) == (201, missing["digest"])


def test_t10_sparse_takes_what_is_absent(tmp_path: Path) -> None:
    body = image(descriptor(b"absent"), [descriptor(b"also absent")])
    with running(tmp_path / "root", "--sparse") as server, Line(server.host) as line:
        assert put(line, body).status == 201
        refused(line.ask("GET", f"/v2/base/blobs/{Digest.of(b'absent')}"), 404, "BLOB_UNKNOWN")


# -- T37: graphs ----------------------------------------------------------------------------------------


def diamonds(line: Line, levels: int) -> list[bytes]:
    """Each level names the one below twice, by two manifests: 2 ** levels ways to the bottom."""
    for data in (b"{}", LAYER):
        assert line.ask("POST", f"/v2/graph/blobs/uploads/?digest={Digest.of(data)}", data).status == 201
    below, pushed = [MANIFEST, MANIFEST], [MANIFEST]
    assert put(line, MANIFEST, str(Digest.of(MANIFEST)), repository="graph").status == 201
    for level in range(levels):
        children = [descriptor(child, OCI_IMAGE if level == 0 else OCI_INDEX) for child in below]
        below = [index(children, annotations={"side": side}) for side in ("left", "right")]
        for body in below:
            assert put(line, body, str(Digest.of(body)), repository="graph").status == 201
        pushed += below
    return pushed


def collected(live: Live, *flags: str) -> tuple[float, dict[str, object]]:
    """Seconds of a collection, and what it says."""
    began = time.monotonic()
    found = subprocess.run(
        [sys.executable, "-m", "registry", "gc", "--root", str(live.root), "--json", *flags],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    return time.monotonic() - began, json.loads(found.stdout)


def test_t37_a_graph_of_a_billion_ways_is_walked_once(line: Line, live: Live) -> None:
    pushed = diamonds(line, 30)
    top = pushed[-1]
    assert put(line, top, "top", repository="graph").status == 201
    idle = min(collected(live, "--dry-run", "--untagged", "1")[0] for _ in range(3))
    assert idle < 3  # the start of the command is most of it
    for body in (pushed[0], pushed[1], pushed[29]):
        refused(line.ask("DELETE", f"/v2/graph/manifests/{Digest.of(body)}"), 405, "UNSUPPORTED")
    began = time.monotonic()
    assert line.ask("DELETE", f"/v2/graph/manifests/{Digest.of(top)}").status == 202
    assert line.ask("GET", f"/v2/graph/referrers/{Digest.of(top)}").status == 200
    assert time.monotonic() - began < 1


def test_t37_a_manifest_that_names_itself_or_its_own_parent_cannot_be(line: Line) -> None:
    """A digest cannot be known before the bytes: what claims to be a cycle names what is absent."""
    one = index([descriptor(b"the second", OCI_INDEX)])
    refused(put(line, one), 400, "MANIFEST_BLOB_UNKNOWN")
    refused(put(line, MANIFEST, str(Digest.of(one))), 400, "DIGEST_INVALID")
    own = image(layers=[descriptor(LAYER)], subject=descriptor(MANIFEST, OCI_IMAGE))
    assert put(line, own).status == 201


def test_t37_a_chain_of_two_hundred_is_walked(line: Line) -> None:
    body = MANIFEST
    put(line, body, str(Digest.of(body)))
    for level in range(200):
        body = index([descriptor(body, OCI_IMAGE if level == 0 else OCI_INDEX)])
        assert put(line, body, str(Digest.of(body))).status == 201
    began = time.monotonic()
    assert put(line, body, "chain").status == 201
    assert line.ask("DELETE", f"{BASE}/chain").status == 202
    assert time.monotonic() - began < 1
