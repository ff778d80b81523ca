"""Any request at all: never a failure of ours, always an answer in the API's words (T40)."""

import json

from hypothesis import example, given, settings
from hypothesis import strategies as st
from starlette.types import ASGIApp, Message

from registry.app import build
from registry.settings import Settings
from storage.store import Store
from tests.api.rows import CODES, assert_closed, assert_error_body
from tests.api.world import IMAGE, LAYER, World, digest
from tests.inprocess import ask

WORDS = [
    *(
        "v2",
        "team",
        "app",
        "blobs",
        "uploads",
        "manifests",
        "tags",
        "list",
        "referrers",
        "_catalog",
        "latest",
    ),
    *("", ".", "..", "%2e", "%2F", "%00", "%0a", "sha256:", digest(LAYER), digest(IMAGE), "md5:" + "0" * 32),
]
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "GE T"]
KEYS = ["n", "last", "digest", "mount", "from", "tag", "artifactType", "digest-algorithm", "ns", "%00", ""]
VALUES = [
    "",
    "0",
    "-1",
    "1",
    "٣",
    "%ff",
    "%00",
    "a",
    "a@b",
    "*",
    digest(LAYER),
    digest(b"x", "sha512"),
    "x" * 300,
]
HEADERS = [
    *("range", "if-range", "if-match", "if-none-match", "content-range", "content-type", "content-encoding"),
    *("accept", "origin", "authorization", "user-agent", "x-request-id"),
]
TEXTS = [
    "",
    "*",
    "bytes=0-",
    "bytes=-1,0-",
    "bytes=9-1",
    "0-1",
    "5-4",
    "application/json",
    "identity",
    "é",
    '"x"',
]

line = st.binary(max_size=30).filter(lambda value: not set(value) & set(b"\r\n\0"))
segments = st.one_of(st.sampled_from(WORDS), st.text(st.characters(codec="latin-1"), max_size=12))
paths = st.lists(segments, max_size=8).map(
    lambda parts: "/".join(["/v2", *parts]).encode("latin-1", "replace")
)
GOOD = [
    *(f"team/app/blobs/{digest(LAYER)}", f"team/app/manifests/{digest(IMAGE)}", "team/app/manifests/latest"),
    *("team/app/tags/list", f"team/app/referrers/{digest(IMAGE)}", "team/app/blobs/uploads/", "_catalog", ""),
]
good = st.sampled_from(GOOD).map(lambda path: f"/v2/{path}".encode())
places = st.sampled_from(["blobs", "manifests", "blobs/uploads", "referrers", "tags"])
aimed = st.tuples(places, segments).map(
    lambda pair: f"/v2/team/app/{pair[0]}/{pair[1]}".encode("latin-1", "replace")
)
queries = st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(VALUES)), max_size=4).map(
    lambda pairs: "&".join(f"{key}={value}" for key, value in pairs).encode()
)
headers = st.lists(
    st.tuples(
        st.sampled_from(HEADERS).map(str.encode),
        st.one_of(st.sampled_from(TEXTS).map(lambda text: text.encode("latin-1")), line),
    ),
    max_size=4,
)
bodies = st.one_of(st.binary(max_size=60), st.sampled_from([IMAGE, LAYER, b"{}", b"[]", b'{"layers":[1]}']))


@settings(max_examples=400, deadline=None, derandomize=True)
@given(
    method=st.sampled_from(METHODS),
    path=st.one_of(good, aimed, paths, st.binary(max_size=40)),
    query=st.one_of(queries, line),
    sent=headers,
    body=bodies,
)
@example(method="PUT", path=b"/v2/team/app/manifests/x", query=b"tag=%ff", sent=[], body=IMAGE)
@example(method="GET", path=b"/v2/_catalog", query=b"last=%ed%a0%80&n=1", sent=[], body=b"")
@example(
    method="GET",
    path=b"/v2/team/app/referrers/" + digest(IMAGE).encode(),
    query=b"last=@x:y",
    sent=[],
    body=b"",
)
@example(method="GET", path=b"/\xed\xa0\x80", query=b"", sent=[(b"if-match", b"\xff")], body=b"")
async def test_any_request(
    store: Store,
    world: World,
    method: str,
    path: bytes,
    query: bytes,
    sent: list[tuple[bytes, bytes]],
    body: bytes,
) -> None:
    app: ASGIApp = build(store, Settings(root=store.layout.root, access_log=False))
    whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
    length = (b"content-length", str(len(body)).encode())
    answer = await ask(app, method, path, query=query, headers=[length, *sent], body=whole)
    assert 200 <= answer.status < 500
    assert_closed({name.title(): value for name, value in answer.headers.items()})
    assert not any(set(value) & set("\r\n\0") for value in answer.headers.values())
    if answer.status >= 400 and method != "HEAD":
        code = json.loads(answer.body)["errors"][0]["code"]
        assert code in CODES
        assert_error_body(answer.body, code)
    assert not (method == "HEAD" and answer.body)
