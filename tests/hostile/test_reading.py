"""Reads that ask for too much, or for the same again and again; and writes that hold up reads."""

import asyncio
import json
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import pytest

from registry.names import RepositoryName, Tag
from registry.registry import Registry
from registry.repository import Repository
from storage.digest import Digest
from storage.manifest_rows import EdgeKind
from tests.builders import EMPTY_JSON, OCI_IMAGE, blob, descriptor, image
from tests.hostile.attacking import MIB, PEAK, Line, refused, require_sound, resident
from tests.hostile.test_manifests import bomb
from tests.inprocess import opened
from tests.live.measuring import ATTEMPTS, expect_ok, latencies, ninety_ninth
from tests.live.servers import Live, running
from tests.live.slow_disk import SECONDS, SIZE
from tests.live.stories import push_blob, push_manifest
from tests.live.wire import Answer
from tests.storage.pushing import edge, row
from tests.storage.pushing import push_blob as store_blob
from tests.storage.pushing import push_manifest as store_manifest

CONFIG = json.dumps(descriptor(b"{}", EMPTY_JSON))
DATA = blob(100_000, 23)
TARGET = f"/v2/base/blobs/{Digest.of(DATA)}"


@pytest.fixture(scope="module", autouse=True)
def pushed(live: Live) -> None:
    assert push_blob(live.host, "base", DATA).status == 201


# -- T23: ranges --------------------------------------------------------------------------------------------


def parts(answer: Answer) -> list[tuple[str, bytes]]:
    """Content-Range and bytes of each part."""
    boundary = answer.headers["content-type"].removeprefix("multipart/byteranges; boundary=")
    before, *found, after = answer.body.split(f"\r\n--{boundary}".encode())
    assert (before, after) == (b"", b"--\r\n")
    split = [part.partition(b"\r\n\r\n") for part in found]
    return [
        (re.findall(r"Content-Range: bytes (.*)/100000", head.decode())[0], body) for head, _, body in split
    ]


def joined(ranges: list[tuple[int, int]]) -> str:
    return "bytes=" + ",".join(f"{first}-{last}" for first, last in ranges)


WHOLE = {
    "overlapping": joined([(0, 10), (10, 20)]),
    "the same twice": joined([(0, 10), (0, 10)]),
    "all of it a thousand times": "bytes=" + ",".join(["0-"] * 1000),
    "a total above the size": joined([(0, 60_000), (50_000, 99_999)]),
    "more than 1024": joined([(number, number) for number in range(1025)]),
    "10,000 of nothing": "bytes=" + "," * 10_000,
    "10,000 characters": "bytes=" + "9" * 10_000,
    "digits of another script": "bytes=٠-٩",
    "underscores": "bytes=0-1_0",
    "signs": "bytes=+0-+9",
    "spaces inside": "bytes=0 -9",
    "another unit": "bits=0-9",
    "no unit": "0-9",
    "20 digits": f"bytes={'0' * 19}1-5",
}


@pytest.mark.parametrize("header", WHOLE.values(), ids=WHOLE)
def test_t23_what_is_no_honest_range_is_all_of_it(line: Line, header: str) -> None:
    began = time.monotonic()
    answer = line.ask("GET", TARGET, headers={"Range": header})
    assert (answer.status, answer.body == DATA) == (200, True)
    assert time.monotonic() - began < 1


@pytest.mark.parametrize(
    "header", ["100000-", "100000-100001", "9999999999999999999-", "200000-,300000-", "-0", "9-1"]
)
def test_t23_nothing_of_it_is_416(line: Line, header: str) -> None:
    answer = line.ask("GET", TARGET, headers={"Range": f"bytes={header}"})
    refused(answer, 416, "UNSUPPORTED")
    assert answer.headers["content-range"] == "bytes */100000"


@pytest.mark.parametrize(
    ("header", "start", "end"),
    [
        ("0-0", 0, 1),
        ("-1", 99_999, 100_000),
        ("-999999999", 0, 100_000),
        ("99999-9999999999", 99_999, 100_000),
    ],
)
def test_t23_one_range_is_what_was_asked_for(line: Line, header: str, start: int, end: int) -> None:
    answer = line.ask("GET", TARGET, headers={"Range": f"bytes={header}"})
    assert (answer.status, answer.body) == (206, DATA[start:end])


@pytest.mark.parametrize("count", [300, 1024])
def test_t23_adjacent_ranges_come_one_by_one_in_the_order_asked(line: Line, count: int) -> None:
    """As podman asks for the parts of a layer that it lacks."""
    ranges = [(number * 9, number * 9 + 8) for number in range(count)]
    for asked in (ranges, ranges[::-1], ranges[1::2] + ranges[::2]):
        found = parts(line.ask("GET", TARGET, headers={"Range": joined(asked)}))
        assert found == [(f"{first}-{last}", DATA[first : last + 1]) for first, last in asked]


def test_t23_two_range_headers_are_none(line: Line) -> None:
    answer = line.ask("GET", TARGET, headers=[("Range", "bytes=0-0"), ("Range", "bytes=1-1")])
    refused(answer, 400, "UNSUPPORTED")


# -- T38: floods --------------------------------------------------------------------------------------------

SUBJECT, FAT_SUBJECT = b"what all of them refer to", b"what the fat ones refer to"
REFERRERS, TAGS, FAT = 10_000, 10_000, 1_000
PADDING = "x" * 8_000  # so that 500 fill a page of 4 MiB


async def fill(folder: Path) -> None:
    """Without HTTP and without syncs, which would take minutes."""
    subject, fat = Digest.of(SUBJECT), Digest.of(FAT_SUBJECT)
    with opened(folder) as store:
        registry = Registry(store.names, store.blobs, store.uploads)
        repository = Repository(registry, RepositoryName("flood"))
        await store_blob(store, "flood", b"{}")
        names = [f"t{number:05}" for number in range(TAGS)]
        raw = image()
        for start in range(0, TAGS, 1000):
            tags = [Tag(name) for name in names[start : start + 1000]]
            await repository.put_manifest(Digest.of(raw), raw, OCI_IMAGE, tags=tags)

        async def refer(number: int, to: Digest, annotations: str) -> None:
            text = f'{{"schemaVersion":2,"config":{CONFIG},"layers":[],"subject":{{"mediaType":"{OCI_IMAGE}",'
            text += f'"digest":"{to}","size":9}},"annotations":{annotations},"n":{number}}}'
            body = text.encode()
            manifest = row(body, artifact_type=EMPTY_JSON, annotations=annotations, subject=to)
            await store_manifest(store, "flood", body, [edge(b"{}", EdgeKind.CONFIG)], manifest=manifest)

        for start in range(0, REFERRERS, 250):
            await asyncio.gather(*(refer(number, subject, "{}") for number in range(start, start + 250)))
        padded = json.dumps({"padding": PADDING}, separators=(",", ":"))
        for start in range(0, FAT, 250):
            await asyncio.gather(*(refer(number, fat, padded) for number in range(start, start + 250)))


@pytest.fixture(scope="module")
def flooded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("flood")
    asyncio.run(fill(folder))
    with running(folder / "root") as server:
        yield server
        assert resident(server.workers()[0], "VmHWM") < PEAK
    require_sound(folder / "root")


def walk(line: Line, target: str) -> Iterator[Answer]:
    """Every page, by its links."""
    following: str | None = target
    while following:
        answer = line.ask("GET", following)
        assert answer.status == 200, answer
        yield answer
        link = re.fullmatch(r'<(/v2/[^>]*)>; rel="next"', answer.headers.get("link", ""))
        following = link[1] if link else None


def digests(pages: list[Answer]) -> list[str]:
    return [entry["digest"] for page in pages for entry in json.loads(page.body)["manifests"]]


def test_t38_a_flood_comes_in_pages(flooded: Live) -> None:
    with Line(flooded.host) as line:
        for query in ("", "?n=999999999", "?n=1000"):
            began = time.monotonic()
            pages = list(walk(line, f"/v2/flood/referrers/{Digest.of(SUBJECT)}{query}"))
            found = digests(pages)
            assert (len(pages), len(found), len(set(found))) == (10, REFERRERS, REFERRERS)
            assert time.monotonic() - began < 10
            tags = [json.loads(page.body)["tags"] for page in walk(line, f"/v2/flood/tags/list{query}")]
            assert [len(page) for page in tags] == [1000] * 10
            assert list(chain.from_iterable(tags)) == [f"t{number:05}" for number in range(TAGS)]


def test_t38_a_page_of_fat_entries_has_four_megabytes_at_most(flooded: Live) -> None:
    with Line(flooded.host) as line:
        pages = list(walk(line, f"/v2/flood/referrers/{Digest.of(FAT_SUBJECT)}"))
        assert len(set(digests(pages))) == FAT
        assert all(len(page.body) < 5 * MIB for page in pages)
        assert len(pages) >= 2
        filtered = list(walk(line, f"/v2/flood/referrers/{Digest.of(FAT_SUBJECT)}?artifactType=none"))
        assert (len(filtered), digests(filtered)) == (1, [])


def test_t38_many_ask_for_the_fattest_page_at_once(flooded: Live) -> None:
    def ask(_: int) -> int:
        with Line(flooded.host) as line:
            return line.ask("GET", f"/v2/flood/referrers/{Digest.of(FAT_SUBJECT)}").status

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(ask, range(32))) == {200}


# -- T24: nobody is held up ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Each fsync of an upload of some size takes three seconds."""
    root = tmp_path_factory.mktemp("slow") / "root"
    with running(root, module="tests.live.slow_disk") as server:
        yield server
    require_sound(root)


def test_t24_a_slow_disk_holds_up_its_writers_only(slow: Live) -> None:
    """No read waits for it, for a third of its time; and most are quick in one of some attempts."""
    told: list[str] = []
    while not told or told[-1]:
        assert len(told) < ATTEMPTS, told
        told.append(read_beside_writers(slow, len(told)))


def read_beside_writers(slow: Live, attempt: int) -> str:
    """What has held up the reads of a second, or been wrong with the measurement; empty if nothing was."""
    with ThreadPoolExecutor(8) as pool:
        data = [blob(SIZE, 8 * attempt + number) for number in range(8)]
        pushing = [pool.submit(push_blob, slow.host, "slow", each) for each in data]
        time.sleep(0.3)
        until = time.monotonic() + 1.2
        found = latencies(expect_ok("GET", "/v2/"), slow.host, lambda: time.monotonic() < until)
        waiting = not any(each.done() for each in pushing)
        assert {each.result().status for each in pushing} == {201}
    if not waiting:
        return "the writers were through before"
    slow_ones = sorted(found)[-5:]
    assert slow_ones[-1] < SECONDS / 3
    return "" if len(found) >= 50 and ninety_ninth(found) <= 0.1 else f"{len(found)} reads, {slow_ones}"


HASHED = blob(32 * MIB, 24)
BOMB = bomb(MIB)


def read_bomb(host: str) -> int:
    return push_manifest(host, "base", "bomb", BOMB).status


def hash_again(host: str) -> int:
    """By an algorithm that it was not hashed with on its way in: the whole session is read again."""
    with Line(host) as line:
        session = line.ask("POST", "/v2/base/blobs/uploads/").headers["location"]
        assert line.ask("PATCH", session, HASHED).status == 202
        return line.ask("PUT", f"{session}?digest={Digest.of(HASHED, 'sha512')}").status


@pytest.mark.parametrize(("work", "status"), [(read_bomb, 400), (hash_again, 201)], ids=["JSON", "hashes"])
def test_t24_work_holds_nobody_up(live: Live, work: Callable[[str], int], status: int) -> None:
    with ThreadPoolExecutor(3) as pool:
        working = [pool.submit(work, live.host) for _ in range(6)]
        found = latencies(
            expect_ok("GET", "/v2/"), live.host, lambda: not all(each.done() for each in working)
        )
        assert {each.result() for each in working} == {status}
    assert sorted(found)[len(found) // 2] <= 0.1
    assert ninety_ninth(found) <= 1.0, sorted(found)[-5:]
