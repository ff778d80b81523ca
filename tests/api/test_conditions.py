"""Conditional requests on manifests: what clients keep, and writes that only happen in the right state."""

import asyncio

import httpx
import pytest

from tests.api.rows import Row, assert_error, check
from tests.api.world import digest, push_blob, push_image, push_manifest, put_manifest
from tests.builders import EMPTY_JSON, descriptor, image

FIRST, SECOND = image(annotations={"number": "1"}), image(annotations={"number": "2"})
ONE, TWO, OTHER = f'"{digest(FIRST)}"', f'"{digest(SECOND)}"', f'"{digest(b"other")}"'


@pytest.fixture
async def tagged(client: httpx.AsyncClient, repository: str) -> str:
    """A repository whose tag `here` names FIRST."""
    await push_blob(client, repository, b"{}")
    await push_manifest(client, repository, FIRST, "here")
    return repository


async def tags(client: httpx.AsyncClient, repository: str) -> dict[str, str]:
    """Each tag with its digest."""
    found: dict[str, str] = {}
    for tag in (await client.get(f"/v2/{repository}/tags/list")).json()["tags"]:
        answer = await client.head(f"/v2/{repository}/manifests/{tag}")
        found[tag] = answer.headers["Docker-Content-Digest"]
    return found


UNREADABLE = [
    {"If-None-Match": digest(FIRST)},
    {"If-None-Match": '"open'},
    {"If-None-Match": '"' + "a" * 9000 + '"'},
    {"If-Match": "*, *"},
    {"If-Match": ""},
]
READS = [
    ({"If-None-Match": ONE}, 304),
    ({"If-None-Match": f"W/{ONE}"}, 304),
    ({"If-None-Match": "*"}, 304),
    ({"If-None-Match": " * "}, 304),
    ({"If-None-Match": f"{TWO}, {ONE}"}, 304),
    ({"If-None-Match": f"{TWO},W/{ONE},"}, 304),
    ({"If-None-Match": TWO}, 200),
    ({"If-None-Match": '"*"'}, 200),
    ({"If-Match": ONE}, 200),
    ({"If-Match": "*"}, 200),
    ({"If-Match": f"{TWO}, {ONE}"}, 200),
    ({"If-Match": TWO}, 412),
    ({"If-Match": f"W/{ONE}"}, 412),
    ({"If-Match": ONE, "If-None-Match": ONE}, 304),
    ({"If-Match": TWO, "If-None-Match": ONE}, 412),
    # What cannot be read asks for nothing.
    *((unreadable, 200) for unreadable in UNREADABLE),
]
CODES = {412: "DENIED", 400: "UNSUPPORTED"}


@pytest.mark.parametrize(("send", "status"), READS)
async def test_reads(client: httpx.AsyncClient, tagged: str, send: dict[str, str], status: int) -> None:
    for reference in ("here", digest(FIRST)):
        target = f"/v2/{tagged}/manifests/{reference}"
        expect = {"ETag": ONE, "Docker-Content-Digest": digest(FIRST)} if status < 400 else {}
        holds = {200: FIRST, 304: b""}.get(status)
        await check(client, Row("GET", target, status, CODES.get(status, ""), send, b"", expect, (), holds))
        await check(client, Row("HEAD", target, status, "", send, b"", expect))
    await check(client, Row("GET", f"/v2/{tagged}/manifests/none", 404, "MANIFEST_UNKNOWN", send))


@pytest.mark.parametrize("send", UNREADABLE)
@pytest.mark.parametrize(("method", "tag"), [("PUT", "here"), ("PUT", "new"), ("DELETE", "here")])
async def test_a_write_must_understand_its_condition(
    client: httpx.AsyncClient, tagged: str, method: str, tag: str, send: dict[str, str]
) -> None:
    before = await tags(client, tagged)
    row = Row(
        method, f"/v2/{tagged}/manifests/{tag}", 400, "UNSUPPORTED", send, SECOND, says=("quoted digests",)
    )
    await check(client, row)
    assert await tags(client, tagged) == before


# Condition, and whether a write to `here`, which names FIRST, and to `new`, which does not exist, may happen.
WRITES = [
    ({"If-None-Match": "*"}, False, True),
    ({"If-Match": "*"}, True, False),
    ({"If-Match": ONE}, True, False),
    ({"If-Match": f"{OTHER}, {ONE}"}, True, False),
    ({"If-Match": TWO}, False, False),
    ({"If-Match": f"W/{ONE}"}, False, False),
    ({"If-None-Match": ONE}, False, True),
    ({"If-None-Match": f"W/{ONE}"}, False, True),
    ({"If-None-Match": TWO}, True, True),
    ({"If-None-Match": '"*"'}, True, True),
    ({"If-Match": '"*"'}, False, False),
    ({"If-Match": ONE, "If-None-Match": TWO}, True, False),
]


@pytest.mark.parametrize(("send", "here", "new"), WRITES)
async def test_writes(
    client: httpx.AsyncClient, tagged: str, send: dict[str, str], here: bool, new: bool
) -> None:
    """Refused: 412, and no tag, no manifest is different from before."""
    for tag, allowed in (("here", here), ("new", new)):
        before = await tags(client, tagged)
        answer = await put_manifest(client, tagged, SECOND, tag, headers=send)
        if allowed:
            assert answer.status_code == 201
            assert await tags(client, tagged) == {**before, tag: digest(SECOND)}
            await push_manifest(client, tagged, FIRST, "here")
            await check(client, Row("DELETE", f"/v2/{tagged}/manifests/{digest(SECOND)}", 202))
        else:
            assert_error(answer, 412, "DENIED", f"tag {tag} is", "the request allows")
            assert await tags(client, tagged) == before
            await check(
                client, Row("GET", f"/v2/{tagged}/manifests/{digest(SECOND)}", 404, "MANIFEST_UNKNOWN")
            )


@pytest.mark.parametrize("reference", ["", "another"])
@pytest.mark.parametrize(
    ("send", "wanted", "status"),
    [
        ({"If-None-Match": "*"}, ("new", "newer"), 201),
        ({"If-None-Match": "*"}, ("new", "here"), 412),
        ({"If-None-Match": "*"}, ("here", "new"), 412),
        ({"If-Match": ONE}, ("here",), 201),
        ({"If-Match": ONE}, ("here", "new"), 412),
    ],
)
async def test_every_tag_of_a_push_must_meet_the_condition(
    client: httpx.AsyncClient,
    tagged: str,
    reference: str,
    send: dict[str, str],
    wanted: tuple[str, ...],
    status: int,
) -> None:
    """The tag of the path counts like those of the query; a digest in the path is no tag."""
    if reference and "If-Match" in send:
        await push_manifest(client, tagged, FIRST, reference)
    before = await tags(client, tagged)
    answer = await put_manifest(client, tagged, SECOND, reference or digest(SECOND), *wanted, headers=send)
    assert answer.status_code == status
    moved = {name: digest(SECOND) for name in (*wanted, *([reference] if reference else []))}
    assert await tags(client, tagged) == (before | moved if status == 201 else before)


@pytest.mark.parametrize(
    ("send", "first", "second"),
    [({"If-None-Match": "*"}, 412, 201), ({"If-Match": "*"}, 201, 412), ({"If-Match": TWO}, 412, 412)],
)
async def test_a_push_by_digest_alone(
    client: httpx.AsyncClient, tagged: str, send: dict[str, str], first: int, second: int
) -> None:
    for raw, status in ((FIRST, first), (SECOND, second)):
        assert (await put_manifest(client, tagged, raw, headers=send)).status_code == status


@pytest.mark.parametrize(
    ("send", "status"),
    [
        ({"If-Match": ONE}, 202),
        ({"If-Match": "*"}, 202),
        ({"If-None-Match": TWO}, 202),
        ({"If-Match": TWO}, 412),
        ({"If-None-Match": ONE}, 412),
        ({"If-None-Match": "*"}, 412),
        ({"If-Match": "x"}, 400),
    ],
)
@pytest.mark.parametrize("reference", ["here", digest(FIRST)])
async def test_deletes(
    client: httpx.AsyncClient, tagged: str, send: dict[str, str], status: int, reference: str
) -> None:
    target = f"/v2/{tagged}/manifests/{reference}"
    await check(client, Row("DELETE", target, status, CODES.get(status, ""), send))
    kept = Row("GET", target, 200 if status > 300 else 404, "MANIFEST_UNKNOWN")
    await check(client, kept)


async def test_twenty_create_one_tag(client: httpx.AsyncClient, tagged: str) -> None:
    raws = [image(annotations={"racer": str(number)}) for number in range(20)]
    answers = await asyncio.gather(
        *(put_manifest(client, tagged, raw, "raced", headers={"If-None-Match": "*"}) for raw in raws)
    )
    assert sorted(answer.status_code for answer in answers) == [201] + [412] * 19
    won = next(raw for raw, answer in zip(raws, answers, strict=True) if answer.status_code == 201)
    assert (await tags(client, tagged))["raced"] == digest(won)


async def test_twenty_move_one_tag_from_the_same_state(client: httpx.AsyncClient, tagged: str) -> None:
    """Compare and swap: each moves the tag only from what it saw, so that no move is lost."""
    moves = 0
    for _ in range(5):
        seen = (await client.head(f"/v2/{tagged}/manifests/here")).headers["ETag"]
        raws = [image(annotations={"round": f"{moves}/{number}"}) for number in range(20)]
        answers = await asyncio.gather(
            *(put_manifest(client, tagged, raw, "here", headers={"If-Match": seen}) for raw in raws)
        )
        assert sorted(answer.status_code for answer in answers) == [201] + [412] * 19
        moves += 1
    assert moves == 5


async def test_pushes_without_conditions_all_land(client: httpx.AsyncClient, tagged: str) -> None:
    raws = [image(annotations={"free": str(number)}) for number in range(20)]
    answers = await asyncio.gather(*(put_manifest(client, tagged, raw, "free") for raw in raws))
    assert {answer.status_code for answer in answers} == {201}
    assert (await tags(client, tagged))["free"] in {digest(raw) for raw in raws}
    for raw in raws:
        await check(client, Row("GET", f"/v2/{tagged}/manifests/{digest(raw)}", 200, holds=raw))


async def test_a_refused_push_leaves_no_bytes(client: httpx.AsyncClient, tagged: str) -> None:
    raw = image(descriptor(b"{}", EMPTY_JSON), annotations={"unique to": "this test"})
    assert (
        await put_manifest(client, tagged, raw, "here", headers={"If-None-Match": "*"})
    ).status_code == 412
    await push_image(client, tagged, "free", 3)
    await check(client, Row("GET", f"/v2/{tagged}/manifests/{digest(raw)}", 404, "MANIFEST_UNKNOWN"))
