"""Blobs over HTTP: ranges byte for byte, conditions, deletes, bytes that went bad."""

import email
import email.policy
import json
import os
import re
from itertools import pairwise

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.api.ranges import MAX_RANGES
from storage.digest import Digest
from storage.store import Store
from tests.api.rows import Row, check
from tests.api.world import LAYER, REPOSITORY, World, digest, push_blob, push_image
from tests.builders import blob, descriptor, image

TARGET = "/v2/{repo}/blobs/{layer}"
SIZE = len(LAYER)


def one(header: str, first: int, last: int) -> Row:
    return Row(
        "GET",
        TARGET,
        206,
        send={"Range": header},
        expect={
            "Content-Range": f"bytes {first}-{last}/{SIZE}",
            "Content-Length": str(last - first + 1),
            "Content-Type": "application/octet-stream",
            "Docker-Content-Digest": "{layer}",
            "ETag": '"{layer}"',
        },
        holds=LAYER[first : last + 1],
    )


def whole(**send: str) -> Row:
    return Row("GET", TARGET, 200, send=send, expect={"Content-Range": None}, holds=LAYER)


def none(header: str) -> Row:
    return Row(
        "GET",
        TARGET,
        416,
        "UNSUPPORTED",
        send={"Range": header},
        expect={"Content-Range": f"bytes */{SIZE}"},
        says=(str(SIZE),),
    )


def known(value: str) -> Row:
    expect = {"ETag": '"{layer}"', "Docker-Content-Digest": "{layer}", "Content-Length": None}
    return Row("GET", TARGET, 304, send={"If-None-Match": value}, expect=expect, holds=b"")


OWN = f'"{digest(LAYER)}"'
OTHER = f'"{digest(b"other")}"'
ROWS = (
    one("bytes=0-0", 0, 0),
    one("bytes=0-", 0, SIZE - 1),
    one("bytes=500-1499", 500, 1499),
    one("bytes=-500", SIZE - 500, SIZE - 1),
    one("bytes=2000-999999", 2000, SIZE - 1),
    one("bytes=-999999", 0, SIZE - 1),
    one("bytes=9999-,5-9", 5, 9),
    none("bytes=2048-"),
    none("bytes=5000-10000"),
    none("bytes=500-0"),
    none("bytes=-0"),
    none("bytes=2048-,9999-10000"),
    whole(Range="items=0-1"),
    whole(Range="bytes=x"),
    whole(Range="bytes=0-5,3-9"),
    whole(Range="bytes=0-2047,5-6"),
    # If-Range: only the strong ETag of these very bytes lets the range count.
    Row("GET", TARGET, 206, send={"Range": "bytes=0-1", "If-Range": OWN}, holds=LAYER[:2]),
    whole(**{"Range": "bytes=0-1", "If-Range": OTHER}),
    whole(**{"Range": "bytes=0-1", "If-Range": f"W/{OWN}"}),
    whole(**{"Range": "bytes=0-1", "If-Range": "Mon, 23 Nov 2026 00:00:00 GMT"}),
    whole(**{"Range": "bytes=5000-", "If-Range": OTHER}),
    # Conditions come before ranges.
    known(OWN),
    known(f"W/{OWN}"),
    known("*"),
    known(f"{OTHER}, {OWN}"),
    known(f"{OTHER} ,\tW/{OWN}"),
    Row("GET", TARGET, 304, send={"If-None-Match": OWN, "Range": "bytes=0-1"}, holds=b""),
    whole(**{"If-None-Match": OTHER}),
    whole(**{"If-Match": OWN}),
    whole(**{"If-Match": "*"}),
    whole(**{"If-Match": f"{OTHER}, {OWN}"}),
    Row("GET", TARGET, 412, "DENIED", send={"If-Match": OTHER}, says=("the request allows only",)),
    Row("GET", TARGET, 412, "DENIED", send={"If-Match": f"W/{OWN}"}),
    Row("GET", TARGET, 304, send={"If-Match": OWN, "If-None-Match": OWN}),
    whole(**{"If-None-Match": "unquoted"}),
    whole(**{"If-Match": "unquoted"}),
    # HEAD has no ranges (RFC 9110, section 14.2).
    Row("HEAD", TARGET, 200, send={"Range": "bytes=0-1"}, expect={"Content-Length": str(SIZE)}),
    Row("HEAD", TARGET, 200, send={"Range": "bytes=9999-"}, expect={"Content-Range": None}),
    Row("HEAD", TARGET, 304, send={"If-None-Match": OWN}),
    Row("HEAD", TARGET, 412, send={"If-Match": OTHER}),
)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.method} {row.status} {dict(row.send)}"[:90])
async def test_rows(client: httpx.AsyncClient, world: World, row: Row) -> None:
    await check(client, row, **world.named())


# -- many ranges, read by a parser that is not ours -------------------------------------------------------


def parts(response: httpx.Response) -> list[tuple[int, int, bytes]]:
    """First and last byte and content of each part, read as MIME (RFC 2046) by the standard library."""
    head = f"Content-Type: {response.headers['Content-Type']}\r\nMIME-Version: 1.0\r\n\r\n".encode()
    message = email.message_from_bytes(head + response.content, policy=email.policy.HTTP)
    assert message.get_content_type() == "multipart/byteranges"
    assert not message.defects
    found = []
    for part in message.iter_parts():
        assert part.get_content_type() == "application/octet-stream"
        matched = re.fullmatch(rf"bytes (\d+)-(\d+)/{SIZE}", part["Content-Range"])
        assert matched
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        found.append((int(matched[1]), int(matched[2]), content))
    return found


@st.composite
def disjoint(draw: st.DrawFn) -> list[tuple[int, int]]:
    edges = draw(st.lists(st.integers(0, SIZE), min_size=4, max_size=60, unique=True).map(sorted))
    spans = [(first, last - 1) for first, last in pairwise(edges)]
    chosen = draw(st.lists(st.sampled_from(spans), min_size=2, max_size=len(spans), unique=True))
    return draw(st.permutations(chosen))


@settings(max_examples=40, deadline=None)
@given(spans=disjoint())
async def test_parts_come_in_the_order_asked(
    client: httpx.AsyncClient, world: World, spans: list[tuple[int, int]]
) -> None:
    header = "bytes=" + ", ".join(f"{first}-{last}" for first, last in spans)
    response = await client.get(f"/v2/{REPOSITORY}/blobs/{digest(LAYER)}", headers={"Range": header})
    assert response.status_code == 206
    assert int(response.headers["Content-Length"]) == len(response.content)
    assert parts(response) == [(first, last, LAYER[first : last + 1]) for first, last in spans]


@pytest.mark.parametrize(
    ("count", "status"), [(2, 206), (300, 206), (MAX_RANGES, 206), (MAX_RANGES + 1, 200)]
)
async def test_adjacent_ranges_are_not_merged(
    client: httpx.AsyncClient, world: World, count: int, status: int
) -> None:
    """What podman counts on when it pulls a part of a layer (T23)."""
    spans = [(number, number) for number in range(count)]
    header = "bytes=" + ",".join(f"{first}-{last}" for first, last in spans)
    response = await client.get(f"/v2/{REPOSITORY}/blobs/{digest(LAYER)}", headers={"Range": header})
    assert response.status_code == status
    if status == 206:
        assert [part[:2] for part in parts(response)] == spans
    else:
        assert response.content == LAYER


async def test_an_empty_blob(client: httpx.AsyncClient, repository: str) -> None:
    named = await push_blob(client, repository, b"")
    target = f"/v2/{repository}/blobs/{named}"
    for method, header in (("GET", ""), ("HEAD", ""), ("GET", "bytes=0-0"), ("GET", "bytes=-1")):
        send = {"Range": header} if header else {}
        await check(client, Row(method, target, 200, send=send, expect={"Content-Length": "0"}, holds=b""))


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_a_blob_of_many_reads(client: httpx.AsyncClient, repository: str, algorithm: str) -> None:
    data = blob(3 * 2**20 + 17)
    target = f"/v2/{repository}/blobs/{await push_blob(client, repository, data, algorithm)}"
    assert (await client.get(target)).content == data
    response = await client.get(target, headers={"Range": "bytes=1048570-2097160"})
    assert response.content == data[1048570:2097161]


# -- deletes ----------------------------------------------------------------------------------------------


async def test_delete(client: httpx.AsyncClient, repository: str) -> None:
    named = await push_blob(client, repository, b"x")
    target = f"/v2/{repository}/blobs/{named}"
    await check(client, Row("DELETE", target, 202, expect={"Docker-Content-Digest": named}))
    for method in ("GET", "HEAD", "DELETE"):
        await check(client, Row(method, target, 404, "BLOB_UNKNOWN"))
    # The last content takes the repository along.
    await check(client, Row("GET", f"/v2/{repository}/tags/list", 404, "NAME_UNKNOWN"))
    assert await push_blob(client, repository, b"x") == named
    await check(client, Row("GET", target, 200, holds=b"x"))


async def test_a_referenced_blob_stays(client: httpx.AsyncClient, repository: str) -> None:
    raw = await push_image(client, repository, "latest", 5)
    for part in (json.loads(raw)["config"], *json.loads(raw)["layers"]):
        row = Row(
            "DELETE", f"/v2/{repository}/blobs/{part['digest']}", 405, "UNSUPPORTED", says=(digest(raw),)
        )
        response = await check(client, row)
        assert response.json()["errors"][0]["detail"] == {"digest": part["digest"], "parents": [digest(raw)]}
    await check(client, Row("DELETE", f"/v2/{repository}/manifests/{digest(raw)}", 202))
    await check(client, Row("DELETE", f"/v2/{repository}/blobs/{part['digest']}", 202))


async def test_other_repositories_keep_what_one_deletes(client: httpx.AsyncClient, repository: str) -> None:
    for name in (repository, f"{repository}/b"):
        named = await push_blob(client, name, b"shared")
    await check(client, Row("DELETE", f"/v2/{repository}/blobs/{named}", 202))
    await check(client, Row("GET", f"/v2/{repository}/blobs/{named}", 404, "BLOB_UNKNOWN"))
    await check(client, Row("GET", f"/v2/{repository}/b/blobs/{named}", 200, holds=b"shared"))


# -- bytes that went bad ----------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["shorter", "longer", "gone", "a link", "a folder"])
async def test_a_damaged_blob_is_absent_until_it_is_pushed_again(
    client: httpx.AsyncClient, store: Store, repository: str, damage: str
) -> None:
    data = blob(100, len(damage))
    path = store.layout.blob(Digest.of(data))
    named = await push_blob(client, repository, data)
    os.unlink(path)
    if damage in ("shorter", "longer"):
        with open(path, "wb") as file:
            file.write(data[:50] if damage == "shorter" else data + b"!")
    elif damage == "a link":
        os.symlink("/etc/passwd", path)
    elif damage == "a folder":
        os.mkdir(path)
    for method in ("HEAD", "GET", "HEAD"):
        await check(client, Row(method, f"/v2/{repository}/blobs/{named}", 404, "BLOB_UNKNOWN"))
    part = {"Range": "bytes=0-9"}
    await check(client, Row("GET", f"/v2/{repository}/blobs/{named}", 404, "BLOB_UNKNOWN", send=part))
    referring = image(descriptor(data), [descriptor(data)])
    row = Row("PUT", f"/v2/{repository}/manifests/x", 400, "MANIFEST_BLOB_UNKNOWN", body=referring)
    await check(client, row)
    await push_blob(client, f"{repository}/b", data)
    for name in (repository, f"{repository}/b"):
        await check(client, Row("GET", f"/v2/{name}/blobs/{named}", 200, holds=data))
