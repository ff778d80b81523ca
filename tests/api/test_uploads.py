"""Upload sessions over HTTP: every way to push a blob, and every way to get it wrong."""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import ASGIApp

from registry.app import build
from registry.settings import Settings
from storage.store import Store
from tests.api.rows import Row, assert_error, check
from tests.api.world import begin, digest
from tests.builders import blob
from tests.inprocess import ask, connect, opened

DATA = blob(3067)


async def streamed(data: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    """As a body without a Content-Length."""
    for start in range(0, len(data), size):
        yield data[start : start + size]


def path(repository: str, upload: str = "") -> str:
    return f"/v2/{repository}/blobs/uploads/{upload}"


def stored(store: Store) -> set[str]:
    return set(os.listdir(store.layout.uploads))


# -- ways that end in a blob ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Way:
    """The PATCHes as (first byte, end, Content-Range?), and where the closing PUT's part begins."""

    name: str
    patches: tuple[tuple[int, int, bool], ...] = ()
    last: int = len(DATA)
    ranged_put: bool = False
    stream: bool = False
    single: bool = False
    query: dict[str, str] = field(default_factory=dict)


WAYS = (
    Way("one POST", single=True),
    Way("one POST, streamed", single=True, stream=True),
    Way("POST and PUT", last=0),
    Way("POST and PUT, streamed", last=0, stream=True),
    Way("POST and ranged PUT", last=0, ranged_put=True),
    Way("one chunk", ((0, 3067, True),)),
    Way("one stream", ((0, 3067, False),), stream=True),
    Way("one stream with its range", ((0, 3067, True),), stream=True),
    Way("three chunks", ((0, 1024, True), (1024, 2048, True), (2048, 3067, True))),
    Way("three streams", ((0, 1024, False), (1024, 2048, False), (2048, 3067, False)), stream=True),
    Way("the last chunk in the PUT", ((0, 1024, True), (1024, 2048, True)), last=2048, ranged_put=True),
    Way("the last chunk in a streamed PUT", ((0, 1024, True),), last=1024, stream=True),
    Way("an empty PATCH", ((0, 0, False), (0, 3067, False))),
    Way("byte by byte at first", tuple((at, at + 1, True) for at in range(9)), last=9),
    Way("with the algorithm announced", ((0, 3067, False),), query={"digest-algorithm": "sha512"}),
    Way("with another algorithm announced", ((0, 3067, False),), query={"digest-algorithm": "sha256"}),
)


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
async def test_ways(
    client: httpx.AsyncClient, store: Store, repository: str, way: Way, algorithm: str
) -> None:
    """T18: whatever was hashed on the way, the digest asked for at the end counts."""
    before, named = stored(store), digest(DATA, algorithm)

    def body(start: int, end: int) -> AsyncIterator[bytes] | bytes:
        return streamed(DATA[start:end]) if way.stream else DATA[start:end]

    if way.single:
        response = await client.post(path(repository), params={"digest": named}, content=body(0, len(DATA)))
    else:
        response = await client.post(path(repository), params=way.query)
        location = response.headers["Location"]
        assert str(uuid.UUID(response.headers["Docker-Upload-UUID"])) == location.rpartition("/")[2]
        assert (response.status_code, response.headers["Range"]) == (202, "0-0")
        for start, end, ranged in way.patches:
            send = {"Content-Range": f"{start}-{end - 1}"} if ranged else {}
            response = await client.patch(location, content=body(start, end), headers=send)
            assert (response.status_code, response.headers["Location"]) == (202, location)
            assert response.headers["Range"] == f"0-{max(end - 1, 0)}"
            assert (await client.get(location)).headers["Range"] == f"0-{max(end - 1, 0)}"
        send = {"Content-Range": f"{way.last}-{len(DATA) - 1}"} if way.ranged_put else {}
        response = await client.put(
            location, params={"digest": named}, content=body(way.last, len(DATA)), headers=send
        )
        await check(client, Row("GET", location, 404, "BLOB_UPLOAD_UNKNOWN"))
    assert (response.status_code, response.content) == (201, b"")
    assert response.headers["Docker-Content-Digest"] == named
    await check(client, Row("GET", response.headers["Location"], 200, holds=DATA))
    assert stored(store) == before


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("single", [True, False])
async def test_the_empty_blob(
    client: httpx.AsyncClient, repository: str, single: bool, algorithm: str
) -> None:
    named = {"digest": digest(b"", algorithm)}
    if single:
        response = await client.post(path(repository), params=named, content=streamed(b""))
    else:
        response = await client.put(path(repository, await begin(client, repository)), params=named)
    assert response.status_code == 201
    await check(client, Row("GET", response.headers["Location"], 200, holds=b""))


async def test_the_clients_query_survives(client: httpx.AsyncClient, repository: str) -> None:
    """Docker appends to what our Location has, and escapes the colon."""
    upload = await begin(client, repository, b"x")
    target = path(repository, upload) + "?_state=abc&digest=" + digest(b"x").replace(":", "%3A")
    await check(client, Row("PUT", target, 201))


async def test_a_second_push_of_a_blob(client: httpx.AsyncClient, store: Store, repository: str) -> None:
    before = stored(store)
    for _ in range(2):
        answer = await client.post(path(repository), params={"digest": digest(DATA)}, content=DATA)
        assert answer.status_code == 201
    assert stored(store) == before


@settings(max_examples=30, deadline=None)
@given(
    size=st.integers(1, 5000),
    moves=st.lists(st.tuples(st.booleans(), st.integers(0, 5000), st.integers(1, 5000)), max_size=12),
)
async def test_chunks_of_any_size(
    client: httpx.AsyncClient, size: int, moves: list[tuple[bool, int, int]]
) -> None:
    """T17 as a property: right chunks go in, wrong ones leave everything as it was."""
    content, repository = blob(size), "own/chunks"
    target = path(repository, await begin(client, repository))
    offset = 0
    for right, elsewhere, length in (*moves, (True, 0, size)):
        start = offset if right else elsewhere % size
        end = min(start + length, size + 1) if moves else size
        sent = content[start:end]
        response = await client.patch(
            target, content=streamed(sent), headers={"Content-Range": f"{start}-{end - 1}"}
        )
        if start != offset:
            assert_error(response, 416, "BLOB_UPLOAD_INVALID", f"byte {offset}")
            assert response.headers["Range"] == f"0-{max(offset - 1, 0)}"
        elif len(sent) < end - start:
            assert_error(response, 400, "SIZE_INVALID", "were announced")
        else:
            assert response.status_code == 202
            offset = end
        assert (await client.get(target)).headers["Range"] == f"0-{max(offset - 1, 0)}"
    closed = await client.put(target, params={"digest": digest(content)}, content=content[offset:])
    assert closed.status_code == 201


# -- ways that do not -------------------------------------------------------------------------------------

FOUR = b"four"
RANGES = (
    *((header, 416, "BLOB_UPLOAD_INVALID") for header in ("0-1", "3-4", "5-6", "999999-1000000")),
    (f"{'9' * 18}8-{'9' * 19}", 416, "BLOB_UPLOAD_INVALID"),
    # What is no range at all: the suite and the specification know only 416 for it.
    *(
        (header, 416, "BLOB_UPLOAD_INVALID")
        for header in ("", "4", "4-", "-5", "5-4", "bytes 4-5/*", "bytes=4-5")
    ),
    *(
        (header, 416, "BLOB_UPLOAD_INVALID")
        for header in ("4-5/6", "+4-5", "4_0-41", "4-5,6-7", "0x4-5", "a-b")
    ),
    *((f"{'9' * size}-{'9' * size}", 416, "BLOB_UPLOAD_INVALID") for size in (20, 400)),
    *((header, 400, "SIZE_INVALID") for header in ("4-4", "4-6", "4-999999999", "0-5")),
)


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize(("header", "status", "code"), RANGES)
async def test_ranges_that_lie(
    client: httpx.AsyncClient, repository: str, method: str, header: str, status: int, code: str
) -> None:
    """T17: two bytes at offset four."""
    upload = await begin(client, repository, FOUR)
    target = path(repository, upload)
    query = f"?digest={digest(b'fourxy')}" if method == "PUT" else ""
    row = Row(method, target + query, status, code, send={"Content-Range": header}, body=b"xy")
    await check(client, row)
    await check(client, Row("GET", target, 204, expect={"Range": "0-3"}))
    # The session goes on from there.
    await check(client, Row("PATCH", target, 202, send={"Content-Range": "4-5"}, body=b"xy"))
    await check(client, Row("PUT", f"{target}?digest={digest(b'fourxy')}", 201))


@pytest.mark.parametrize(("header", "length"), [("4-9", 2), ("4-4", 2), ("4-9", 0)])
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
async def test_a_stream_of_another_length_is_taken_back(
    client: httpx.AsyncClient, repository: str, method: str, header: str, length: int
) -> None:
    target = path(repository, await begin(client, repository, FOUR))
    response = await client.request(
        method,
        target,
        params={"digest": digest(FOUR + b"x" * length)} if method == "PUT" else {},
        content=streamed(b"x" * length, 1),
        headers={"Content-Range": header},
    )
    assert_error(response, 400, "SIZE_INVALID", "were announced")
    await check(client, Row("GET", target, 204, expect={"Range": "0-3"}))


DIGESTS = (
    ("", "DIGEST_INVALID", "needs ?digest="),
    ("?digest=", "DIGEST_INVALID", "expected algorithm:encoded"),
    ("?digest=sha256:abc", "DIGEST_INVALID", "64 lower-case hex digits"),
    ("?digest=md5:" + "0" * 32, "DIGEST_INVALID", "sha256, sha512"),
    ("?digest=" + digest(b"other"), "DIGEST_INVALID", digest(b"other")),
    ("?digest=" + digest(b"other", "sha512"), "DIGEST_INVALID", digest(b"fourxy", "sha512")),
    ("?digest=" + digest(b"four"), "DIGEST_INVALID", digest(b"fourxy")),
)


@pytest.mark.parametrize(("query", "code", "says"), DIGESTS)
async def test_wrong_digests_leave_the_session(
    client: httpx.AsyncClient, repository: str, query: str, code: str, says: str
) -> None:
    """T18: a last chunk whose digest does not fit is taken back; those bytes can't be seen."""
    target = path(repository, await begin(client, repository, FOUR))
    await check(client, Row("PUT", target + query, 400, code, body=b"xy", says=(says,)))
    await check(client, Row("GET", target, 204, expect={"Range": "0-3"}))
    await check(client, Row("GET", f"/v2/{repository}/blobs/{digest(b'fourxy')}", 404, "BLOB_UNKNOWN"))
    await check(client, Row("PUT", f"{target}?digest={digest(b'fourxy')}", 201, body=b"xy"))


@pytest.mark.parametrize(("query", "code", "says"), [row for row in DIGESTS if "four" not in row[0]][1:])
async def test_wrong_digests_of_one_post_leave_nothing(
    client: httpx.AsyncClient, store: Store, repository: str, query: str, code: str, says: str
) -> None:
    before = stored(store)
    await check(client, Row("POST", path(repository) + query, 400, code, body=b"fourxy", says=(says,)))
    assert stored(store) == before
    await check(client, Row("GET", f"/v2/{repository}/tags/list", 404, "NAME_UNKNOWN"))


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("digest-algorithm=sha256", 202),
        ("digest-algorithm=sha512", 202),
        ("digest-algorithm=md5", 400),
        ("digest-algorithm=", 400),
        ("digest-algorithm=SHA256", 400),
        ("unknown=1", 202),
    ],
)
async def test_algorithms(
    client: httpx.AsyncClient, store: Store, repository: str, query: str, status: int
) -> None:
    before = stored(store)
    row = Row("POST", f"{path(repository)}?{query}", status, "DIGEST_INVALID" if status == 400 else "")
    response = await check(client, row)
    if status == 400:
        assert "sha256, sha512" in response.text
        assert stored(store) == before
    else:
        assert (await client.delete(response.headers["Location"])).status_code == 204


# -- whose session ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD", "PATCH", "PUT", "DELETE"])
async def test_a_session_answers_in_its_repository_only(
    client: httpx.AsyncClient, repository: str, method: str
) -> None:
    """T15: elsewhere it looks like one that never was."""
    upload = await begin(client, repository, FOUR)
    for other in (f"{repository}/b", "own", "none"):
        target = f"{path(other, upload)}?digest={digest(FOUR)}"
        seen = await check(client, Row(method, target, 404, "BLOB_UPLOAD_UNKNOWN", body=b""))
        never = await client.request(method, target.replace(upload, str(uuid.uuid4())))
        assert seen.status_code == never.status_code
        assert len(seen.content) == len(never.content)
    await check(client, Row("GET", path(repository, upload), 204, expect={"Range": "0-3"}))


@pytest.mark.parametrize("end", ["DELETE", "PUT"])
async def test_an_ended_session_is_gone(
    client: httpx.AsyncClient, store: Store, repository: str, end: str
) -> None:
    before = stored(store)
    target = path(repository, await begin(client, repository, FOUR))
    closing = f"{target}?digest={digest(FOUR)}"
    await check(client, Row(end, closing, 204 if end == "DELETE" else 201))
    for method in ("GET", "HEAD", "PATCH", "PUT", "DELETE"):
        row = Row(method, closing, 404, "BLOB_UPLOAD_UNKNOWN", body=b"x" if method == "PATCH" else b"")
        await check(client, row)
    other = f"{target}?digest={digest(b'another')}"
    await check(client, Row("PUT", other, 404, "BLOB_UPLOAD_UNKNOWN", body=b"another"))
    assert stored(store) == before


# -- more than one at a time ------------------------------------------------------------------------------


async def test_one_writer_at_a_time(client: httpx.AsyncClient, repository: str) -> None:
    """T16: of twenty at once one goes in whole, the rest write no byte."""
    target = path(repository, await begin(client, repository))
    start = asyncio.Event()

    async def body(letter: int) -> AsyncIterator[bytes]:
        for _ in range(50):
            yield bytes([letter]) * 997
            await asyncio.sleep(0)

    async def patch(letter: int) -> httpx.Response:
        await start.wait()
        return await client.patch(target, content=body(letter))

    tasks = [asyncio.create_task(patch(65 + number)) for number in range(20)]
    start.set()
    answers = await asyncio.gather(*tasks)
    won = [number for number, answer in enumerate(answers) if answer.status_code == 202]
    for number, answer in enumerate(answers):
        if number not in won:
            assert_error(answer, 409, "BLOB_UPLOAD_INVALID", "another request")
            assert answer.headers["Retry-After"] == "5"
    content = b"".join(bytes([65 + number]) * 997 * 50 for number in won)
    assert len(won) == 1
    assert (await client.put(target, params={"digest": digest(content)})).status_code == 201


async def test_many_push_the_same_blob(client: httpx.AsyncClient, store: Store, repository: str) -> None:
    before, data = stored(store), blob(200_000)
    answers = await asyncio.gather(
        *(
            client.post(path(f"{repository}/n{number % 5}"), params={"digest": digest(data)}, content=data)
            for number in range(30)
        )
    )
    assert {answer.status_code for answer in answers} == {201}
    assert stored(store) == before
    for number in range(5):
        row = Row("GET", f"/v2/{repository}/n{number}/blobs/{digest(data)}", 200, holds=data)
        await check(client, row)


# -- connections that break -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def app(store: Store) -> ASGIApp:
    return build(store, Settings(root=store.layout.root))


@pytest.mark.parametrize(
    ("method", "announced"), [("PATCH", False), ("PATCH", True), ("PUT", False), ("PUT", True)]
)
@pytest.mark.parametrize("size", [1, 1000, 3 * 2**20])
async def test_what_came_before_a_break_is_kept(
    client: httpx.AsyncClient, app: ASGIApp, repository: str, method: str, announced: bool, size: int
) -> None:
    """A client can go on where its connection broke, or send all again."""
    data = blob(size + 10)
    upload = await begin(client, repository)
    query = f"digest={digest(data)}".encode() if method == "PUT" else b""
    body = [
        {"type": "http.request", "body": data[at : min(at + 65536, size)], "more_body": True}
        for at in range(0, size, 65536)
    ]
    answer = await ask(
        app,
        method,
        path(repository, upload).encode(),
        query=query,
        headers=[(b"content-length", str(len(data)).encode())]
        + ([(b"content-range", f"0-{len(data) - 1}".encode())] if announced else []),
        body=[*body, {"type": "http.disconnect"}],
    )
    assert answer.status == 0
    await check(client, Row("GET", f"/v2/{repository}/blobs/{digest(data)}", 404, "BLOB_UNKNOWN"))
    await check(client, Row("GET", path(repository, upload), 204, expect={"Range": f"0-{size - 1}"}))
    rest = Row(
        "PATCH", path(repository, upload), 202, send={"Content-Range": f"{size}-{size + 9}"}, body=data[size:]
    )
    await check(client, rest)
    await check(client, Row("PUT", f"{path(repository, upload)}?digest={digest(data)}", 201))


async def test_one_post_that_breaks_leaves_nothing(app: ASGIApp, store: Store, repository: str) -> None:
    before = stored(store)
    answer = await ask(
        app,
        "POST",
        path(repository).encode(),
        query=f"digest={digest(DATA)}".encode(),
        headers=[(b"content-length", b"3067")],
        body=[{"type": "http.request", "body": DATA[:99], "more_body": True}, {"type": "http.disconnect"}],
    )
    assert answer.status == 0
    assert stored(store) == before


async def test_a_refused_body_closes_the_connection(app: ASGIApp, repository: str) -> None:
    """At most a mebibyte of it is read, so that nobody can fill the line for nothing."""
    chunk = {"type": "http.request", "body": b"x" * 65536, "more_body": True}
    endless = [dict(chunk) for _ in range(100)]
    headers = [(b"transfer-encoding", b"chunked")]
    answer = await ask(
        app, "PATCH", path(repository, str(uuid.uuid4())).encode(), headers=headers, body=endless
    )
    assert (answer.status, answer.headers["connection"]) == (404, "close")
    short = [{"type": "http.request", "body": b"x" * 65536, "more_body": False}]
    answer = await ask(
        app, "PATCH", path(repository, str(uuid.uuid4())).encode(), headers=headers, body=short
    )
    assert (answer.status, answer.headers.get("connection")) == (404, None)


async def test_sessions_live_through_a_restart(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        async with connect(store) as client:
            target = path("a", await begin(client, "a", FOUR))
    with opened(tmp_path) as store:
        async with connect(store) as client:
            await check(client, Row("GET", target, 204, expect={"Range": "0-3"}))
            await check(client, Row("PATCH", target, 202, send={"Content-Range": "4-5"}, body=b"xy"))
            await check(client, Row("PUT", f"{target}?digest={digest(b'fourxy')}", 201))
