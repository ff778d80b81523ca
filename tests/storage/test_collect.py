"""What a collection takes, what it leaves, and when."""

import asyncio
import itertools
import os
import sqlite3
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import closing, suppress

import pytest

from storage import sweeping
from storage.collect import collect, expected_rows, foresee
from storage.database import Connection
from storage.digest import Digest
from storage.errors import BlobMissing, IndexFailed, StoreBusy, StoreDegraded
from storage.garbage import DAY, HOUR, Item, Report, Rules
from storage.links import LinkRow
from storage.locks import held
from storage.manifest_rows import EdgeKind
from storage.store import Store, open_store
from tests.storage.conftest import Opener
from tests.storage.hands import Hands
from tests.storage.pushing import allow, begin, edge, push_blob, push_manifest, row

Act = Callable[[Store], Awaitable[object]]

LAYER, OTHER = b"layer", b"another layer"
IMAGE, SECOND, INDEX, REFERRER = b"image", b"second image", b"index", b"referrer"
MONTH = 30 * DAY
RULES = Rules()


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def store(opener: Opener, hands: Hands) -> Store:
    return opener(durable=False, machine=hands.machine)


async def push_image(
    store: Store,
    raw: bytes = IMAGE,
    *tags: str,
    layers: Sequence[bytes] = (LAYER,),
    repository: str = "a",
    subject: bytes | None = None,
) -> None:
    for layer in layers:
        await push_blob(store, repository, layer)
    manifest = row(raw, subject=Digest.of(subject) if subject else None)
    await push_manifest(store, repository, raw, [edge(layer) for layer in layers], tags, manifest=manifest)


async def push_index(store: Store, *children: bytes, raw: bytes = INDEX, tag: str = "i") -> None:
    await push_manifest(store, "a", raw, [edge(child, EdgeKind.CHILD) for child in children], [tag])


def untag(tag: str) -> Act:
    return lambda store: store.names.manifests.remove_tag("a", tag, check=allow)


def delete(raw: bytes) -> Act:
    return lambda store: store.names.manifests.remove(
        "a", Digest.of(raw), even_if_referenced=False, check=allow
    )


async def two_passes(store: Store, hands: Hands, *, apart: float = HOUR + 2) -> Report:
    """Everything that has no use now is gone after them."""
    await collect(store, RULES)
    hands.wait(apart)
    return await collect(store, RULES)


def files(store: Store) -> set[bytes]:
    """The contents of all blobs."""
    found = set()
    for _, entry in store.blobs.walk():
        with open(entry.path, "rb") as file:
            found.add(file.read())
    return found


async def present(store: Store) -> set[Digest]:
    """What the index says is here."""
    sql = "SELECT digest FROM blobs WHERE state = 1"
    rows = await store.database.read(lambda connection: connection.execute(sql).fetchall())
    return {Digest.from_binary(digest) for (digest,) in rows}


# -- what nothing needs ----------------------------------------------------------------------------------


async def old_uploads(store: Store) -> None:
    await push_image(store, IMAGE, "t")
    await push_blob(store, "a", OTHER)


async def replaced(store: Store) -> None:
    await push_image(store, IMAGE, "t", layers=[LAYER, OTHER])
    await push_image(store, SECOND, "t", layers=[LAYER])


async def deleted(store: Store) -> None:
    await push_image(store, IMAGE, "t", layers=[LAYER, OTHER])
    await push_image(store, SECOND, "u", layers=[LAYER])
    await delete(IMAGE)(store)


async def untagged_index(store: Store) -> None:
    for raw in (IMAGE, SECOND):
        await push_image(store, raw)
    await push_index(store, IMAGE, SECOND)
    await untag("i")(store)


async def only_by_digest(store: Store) -> None:
    await push_image(store)


async def child_with_a_tag(store: Store) -> None:
    await push_image(store, IMAGE, "t")
    await push_image(store, SECOND, layers=[OTHER])
    await push_index(store, IMAGE, SECOND)
    await untag("i")(store)


async def referred_to(store: Store) -> None:
    await push_image(store, IMAGE, "t")
    await push_image(store, REFERRER, layers=[OTHER], subject=IMAGE)


async def refers_to_the_deleted(store: Store) -> None:
    await push_image(store, SECOND, "u")
    await push_image(store, IMAGE, "t")
    await push_image(store, REFERRER, layers=[OTHER], subject=IMAGE)
    await delete(IMAGE)(store)


async def refers_to_the_untagged(store: Store) -> None:
    await push_image(store, SECOND, "u")
    await push_image(store, IMAGE, "t")
    await push_image(store, REFERRER, layers=[OTHER], subject=IMAGE)
    await untag("t")(store)


async def refers_to_the_absent(store: Store) -> None:
    await push_image(store, REFERRER, layers=[OTHER], subject=IMAGE)


async def signed_by_tag(store: Store) -> None:
    await push_image(store, IMAGE, "t")
    await push_image(store, REFERRER, f"sha256-{Digest.of(IMAGE).encoded}.sig", layers=[OTHER])


async def signed_by_tag_and_untagged(store: Store) -> None:
    await push_image(store, SECOND, "u")
    await signed_by_tag(store)
    await untag("t")(store)


async def signature_of_elsewhere(store: Store) -> None:
    await push_image(store, REFERRER, f"sha256-{Digest.of(IMAGE).encoded}.sig", layers=[OTHER])


async def each_signs_the_other(store: Store) -> None:
    await push_image(store, IMAGE, f"sha256-{Digest.of(SECOND).encoded}")
    await push_image(store, SECOND, f"sha256-{Digest.of(IMAGE).encoded}", "t")


async def only_each_other(store: Store) -> None:
    """Neither could ever go first."""
    await push_image(store, IMAGE, f"sha256-{Digest.of(SECOND).encoded}")
    await push_image(store, SECOND, f"sha256-{Digest.of(IMAGE).encoded}")


async def signed_by_tag_and_deleted(store: Store) -> None:
    await push_image(store, SECOND, "u")
    await signed_by_tag(store)
    await delete(IMAGE)(store)


async def index_of_its_child(store: Store) -> None:
    await push_image(store, IMAGE)
    await push_index(store, IMAGE, tag=f"sha256-{Digest.of(IMAGE).encoded}")


async def bytes_lost(store: Store) -> None:
    """A manifest that can't be read any more: what it names stays until a push brings it back."""
    await push_image(store, IMAGE, "t")
    store.blobs.unlink(Digest.of(IMAGE))
    await store.names.links.lose(Digest.of(IMAGE), lambda: True)


KEPT: dict[str, tuple[Act, set[bytes]]] = {
    "a blob that no manifest names": (old_uploads, {IMAGE, LAYER}),
    "a manifest that lost its tag": (replaced, {SECOND, LAYER}),
    "a manifest that was deleted": (deleted, {SECOND, LAYER}),
    "an index that lost its tag, and its images": (untagged_index, set()),
    "pushed by digest alone": (only_by_digest, {IMAGE, LAYER}),
    "a child with a tag of its own": (child_with_a_tag, {IMAGE, LAYER}),
    "what refers to a live one": (referred_to, {IMAGE, LAYER, REFERRER, OTHER}),
    "what refers to a deleted one": (refers_to_the_deleted, {SECOND, LAYER}),
    "what refers to one that lost its tag": (refers_to_the_untagged, {SECOND, LAYER}),
    "what refers to one that was never here": (refers_to_the_absent, {REFERRER, OTHER}),
    "a signature by tag": (signed_by_tag, {IMAGE, LAYER, REFERRER, OTHER}),
    "a signature by tag of one that lost its tag": (signed_by_tag_and_untagged, {SECOND, LAYER}),
    "a signature by tag of one that is elsewhere": (signature_of_elsewhere, {REFERRER, OTHER}),
    "two that sign each other": (each_signs_the_other, {IMAGE, SECOND, LAYER}),
    "two that sign each other, and nothing else": (only_each_other, {IMAGE, SECOND, LAYER}),
    "a signature by tag of a deleted one": (signed_by_tag_and_deleted, {SECOND, LAYER}),
    "an index that refers to its own child by tag": (index_of_its_child, {INDEX, IMAGE, LAYER}),
    "what a lost manifest names": (bytes_lost, {LAYER}),
}


@pytest.mark.parametrize(("act", "left"), KEPT.values(), ids=KEPT)
async def test_what_is_left_two_passes_later(store: Store, hands: Hands, act: Act, left: set[bytes]) -> None:
    await act(store)
    hands.wait(MONTH + 1)
    await two_passes(store, hands)
    assert files(store) == left
    named = await store.database.read(
        lambda c: {d for (d,) in c.execute("SELECT digest FROM blobs WHERE state = 1")}
    )
    assert named == {Digest.of(raw).binary for raw in left}


# -- when --------------------------------------------------------------------------------------------------


async def look(store: Store, digest: Digest) -> LinkRow | None:
    try:
        return await store.names.links.find("a", digest)
    except BlobMissing:
        return None


async def test_a_mark_is_swept_after_the_grace_and_not_before(store: Store, hands: Hands) -> None:
    digest = await push_blob(store, "a", LAYER)
    hands.wait(HOUR + 1)  # the repository is quiet again
    assert (await collect(store, RULES)).waiting == 1
    hands.wait(HOUR)
    assert (await collect(store, RULES)).blobs == 0
    assert await look(store, digest) == LinkRow(len(LAYER), marked=True)
    hands.wait(1)
    assert (await collect(store, RULES)).blobs == 1
    assert await look(store, digest) is None


async def keep_link(store: Store) -> None:
    await store.names.links.keep("a", Digest.of(LAYER))


async def push_again(store: Store) -> None:
    await push_blob(store, "a", LAYER)


async def mount_again(store: Store) -> None:
    await push_blob(store, "b", LAYER)
    await store.names.links.mount("a", Digest.of(LAYER), store.blobs.size, source="b")


async def name_it(store: Store) -> None:
    await push_manifest(store, "a", IMAGE, [edge(LAYER)], ["t"])


@pytest.mark.parametrize("act", [keep_link, push_again, mount_again, name_it])
async def test_whoever_is_told_that_it_is_here_takes_the_mark_off(
    store: Store, hands: Hands, act: Act
) -> None:
    digest = await push_blob(store, "a", LAYER)
    await collect(store, RULES)
    hands.wait(HOUR + 1)
    await act(store)
    assert await look(store, digest) == LinkRow(len(LAYER))
    assert (await collect(store, RULES)).blobs == 0
    hands.wait(HOUR)
    assert (await collect(store, RULES)).blobs == 0
    assert LAYER in files(store)


async def tag_again(store: Store) -> None:
    await push_index(store, IMAGE, SECOND, tag="again")


async def keep_index(store: Store) -> None:
    await store.names.manifests.keep("a", Digest.of(INDEX))


async def name_the_index(store: Store) -> None:
    await push_index(store, INDEX, raw=b"index of an index", tag="outer")


@pytest.mark.parametrize("act", [tag_again, keep_index, name_the_index])
async def test_a_manifest_takes_the_marks_of_all_that_it_keeps_off(
    store: Store, hands: Hands, act: Act
) -> None:
    await untagged_index(store)
    await push_image(store, REFERRER, layers=[OTHER], subject=IMAGE)
    await push_image(store, b"signature", f"sha256-{Digest.of(INDEX).encoded}.sig", layers=[b"signed"])
    hands.wait(MONTH + 1)
    await collect(store, RULES)
    waiting = (await collect(store, RULES)).waiting
    assert waiting == 8  # five manifests, three layers
    await act(store)
    marks = "SELECT mark FROM links UNION SELECT mark FROM manifests"
    assert await store.database.read(lambda c: c.execute(marks).fetchall()) == [(None,)]


@pytest.mark.parametrize(("days", "kept"), [(29, True), (31, False)], ids=["within a month", "after it"])
@pytest.mark.parametrize("last", ["untagged", "pushed again", "pulled"])
async def test_what_lost_its_tag_goes_a_month_after_its_last_use(
    store: Store, hands: Hands, last: str, days: int, kept: bool
) -> None:
    await push_image(store, IMAGE, "t")
    await push_image(store, SECOND, "t", layers=[OTHER])
    if last != "untagged":
        hands.wait(20 * DAY)
        await USES[last](store)
    hands.wait(days * DAY)
    await two_passes(store, hands)
    assert (IMAGE in files(store)) is kept


async def note_pull(store: Store) -> None:
    def change(connection: Connection) -> None:
        connection.execute(
            "UPDATE manifests SET pulled = store_time() WHERE digest = ?", (Digest.of(IMAGE).binary,)
        )

    await store.database.write(change, durable=False)


USES: dict[str, Act] = {"pushed again": lambda store: push_image(store, IMAGE), "pulled": note_pull}


async def test_uploads_hold_their_repository_up_for_a_day(store: Store, hands: Hands) -> None:
    """A client that pushes for hours was told of blobs that no manifest names yet."""
    digest = await push_blob(store, "a", LAYER)
    upload = await begin(store, b"so far")
    await store.names.sessions.begin(upload, "a", "", "sha256")
    await collect(store, RULES)
    for _ in range(23):
        hands.wait(HOUR)
        assert (await collect(store, RULES)).held_up == ["a"]
    assert await look(store, digest)
    hands.wait(HOUR + 2)
    await collect(store, RULES)
    assert not await look(store, digest)


async def test_blobs_that_come_in_hold_their_repository_up(store: Store, hands: Hands) -> None:
    digest = await push_blob(store, "a", LAYER)
    await collect(store, RULES)
    hands.wait(HOUR - 1)
    await push_blob(store, "a", OTHER)
    hands.wait(HOUR - 1)
    assert (await collect(store, RULES)).held_up == ["a"]
    assert await look(store, digest)
    hands.wait(2)
    await collect(store, RULES)
    assert not await look(store, digest)


@pytest.mark.parametrize("years", [-10, 10])
@pytest.mark.parametrize("reboots", [False, True])
async def test_no_clock_that_jumps_makes_anything_old(
    opener: Opener, hands: Hands, years: int, reboots: bool
) -> None:
    store = opener(machine=hands.machine)
    await push_image(store, IMAGE, "t")
    await push_image(store, SECOND, "t", layers=[OTHER])  # IMAGE has lost its tag
    await collect(store, RULES)
    hands.wait(100)
    if reboots:
        hands.boot_again("another boot")
    hands.wall += years * 365 * DAY
    if reboots:
        store = opener(machine=hands.machine)
    for _ in range(3):
        hands.wait(2 * HOUR)
        await collect(store, RULES)
    assert files(store) == {IMAGE, SECOND, LAYER, OTHER}
    hands.wait(MONTH + 1)
    await two_passes(store, hands)
    assert files(store) == {SECOND, OTHER}


async def test_marks_of_another_boot_count_for_nothing(opener: Opener, hands: Hands) -> None:
    store = opener(machine=hands.machine)
    digest = await push_blob(store, "a", LAYER)
    await collect(store, RULES)
    hands.boot_again("another boot", off=DAY)
    store = opener(machine=hands.machine)
    await collect(store, RULES)
    assert await look(store, digest)
    hands.wait(HOUR + 2)
    await collect(store, RULES)
    assert not await look(store, digest)


async def test_at_once_takes_all_in_one_pass(store: Store, hands: Hands) -> None:
    await untagged_index(store)
    await push_blob(store, "b", OTHER)
    hands.wait(MONTH + 1)
    report = await collect(store, Rules(at_once=True))
    assert (report.manifests, report.blobs, report.repositories) == (3, 2, 2)
    assert files(store) == set()
    assert await store.names.listings.repositories(after="", limit=9) == []


# -- what it tells -----------------------------------------------------------------------------------------


async def test_it_says_what_went_and_why(store: Store, hands: Hands) -> None:
    await push_image(store, IMAGE, "t", layers=[LAYER, OTHER])
    await push_blob(store, "b", LAYER)
    await push_manifest(store, "b", SECOND, [edge(LAYER)], ["t"])
    await untag("t")(store)
    hands.wait(MONTH + 1)
    await collect(store, RULES)
    hands.wait(HOUR + 2)
    told: list[Item] = []
    report = await collect(store, RULES, tell=told.append)
    assert sorted((item.kind, item.name, item.why) for item in told) == sorted(
        [
            ("manifest", str(Digest.of(IMAGE)), "no tag names it any more"),
            ("blob", str(Digest.of(LAYER)), "no manifest names it"),
            ("blob", str(Digest.of(OTHER)), "no manifest names it"),
            ("repository", "a", "it holds nothing any more"),
        ]
    )
    assert {item.repository for item in told} == {"a"}
    assert (report.files, report.freed) == (2, len(IMAGE) + len(OTHER))


async def test_progress_is_told_to_the_row(store: Store) -> None:
    await push_image(store, IMAGE, "t", layers=[LAYER, OTHER])
    await push_image(store, SECOND, "t", repository="b")
    expected, progress = expected_rows(store), list[int]()
    await collect(store, RULES, progress=progress.append)
    assert sum(progress) == expected > 0


# -- files -------------------------------------------------------------------------------------------------


async def test_files_that_no_row_speaks_for_go_once_they_are_old(store: Store) -> None:
    await store.blobs.put(Digest.of(LAYER), LAYER)
    assert (await collect(store, RULES)).strays == 0
    assert (await collect(store, Rules(grace=0))).strays == 1
    assert files(store) == set()


async def test_a_file_that_a_push_claims_just_then_stays(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the rows and the lock."""
    await store.blobs.put(Digest.of(LAYER), LAYER)
    loop, looked = asyncio.get_running_loop(), sweeping.spoken_for

    def claimed_after(connection: Connection, low: Digest, high: Digest) -> dict[Digest, bool]:
        found = looked(connection, low, high)
        if low < Digest.of(LAYER) < high:
            asyncio.run_coroutine_threadsafe(push_blob(store, "a", LAYER), loop).result(10)
        return found

    monkeypatch.setattr(sweeping, "spoken_for", claimed_after)
    assert (await collect(store, Rules(grace=0))).strays == 0
    assert files(store) == {LAYER}


async def test_content_that_another_repository_holds_keeps_its_file(store: Store, hands: Hands) -> None:
    for repository in ("a", "b"):
        await push_blob(store, repository, LAYER)
    await push_manifest(store, "b", IMAGE, [edge(LAYER)], ["t"])
    report = await two_passes(store, hands)
    assert (report.blobs, report.files) == (1, 0)
    assert LAYER in files(store)


async def test_content_that_a_manifest_may_lack_is_remembered_as_missing(store: Store, hands: Hands) -> None:
    await push_blob(store, "a", LAYER)
    await push_manifest(store, "b", IMAGE, [edge(LAYER, required=False)], ["t"])
    await two_passes(store, hands)
    assert files(store) == {IMAGE}
    await push_blob(store, "b", LAYER)
    assert await store.names.links.find("b", Digest.of(LAYER)) == LinkRow(len(LAYER))


@pytest.mark.parametrize("size", [1, 2**20 - 1, 2**20, 3 * 2**20])
async def test_a_large_file_gives_its_room_back_after_the_lock_only(
    store: Store, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """It is open while its name goes."""
    raw = bytes(size)
    await store.blobs.put(Digest.of(raw), raw)
    unlink, held_open = store.blobs.unlink, []

    def noted(digest: Digest) -> None:
        unlink(digest)
        held_open.append(is_open(f"{digest.encoded} (deleted)"))

    monkeypatch.setattr(store.blobs, "unlink", noted)
    report = await collect(store, Rules(grace=0))
    assert (report.strays, report.freed) == (1, size)
    assert held_open == [size >= 2**20]
    assert not is_open(f"{Digest.of(raw).encoded} (deleted)")


def is_open(name: str) -> bool:
    """Whether this process has a descriptor of a file whose path ends so."""
    found = []
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # that of the listing itself
            found.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    return any(path.endswith(name) for path in found)


# -- what stops it -----------------------------------------------------------------------------------------


async def test_one_collector_at_a_time(store: Store) -> None:
    with held(store.layout.gc_lock, "a test"), pytest.raises(StoreBusy, match="another process collects"):
        await collect(store, RULES)
    await collect(store, RULES)


@pytest.mark.parametrize("index", ["sqlite_autoindex_blobs_1", "links_blob", "edges_child"])
async def test_a_damaged_index_lets_nothing_go(opener: Opener, hands: Hands, index: str) -> None:
    """A page of one of its b-trees is as it was long ago: nothing in it speaks for what came since."""
    store = opener(durable=False, machine=hands.machine)
    for repository in ("a", "b"):
        await push_image(store, IMAGE, "t", repository=repository)
    await push_blob(store, "a", OTHER)
    await collect(store, RULES)
    await store.database.checkpoint()
    empty_tree(store.layout.index, index)
    hands.wait(DAY)
    again = opener(durable=False, machine=hands.machine)
    await again.database.write(lambda connection: None)
    with pytest.raises(IndexFailed, match="missing from index"):
        await collect(again, Rules(grace=0))
    assert files(store) == {IMAGE, LAYER, OTHER}


def empty_tree(path: str, name: str) -> None:
    """Take all cells from a b-tree of one page, as a lost write does."""
    with closing(sqlite3.connect(path)) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    with open(path, "r+b") as file:
        file.seek((page - 1) * size)
        kind = file.read(1)
        assert kind == b"\x0a", "it is a leaf"
        # No free block, no cell, the content begins at the end of the page (SQLite's file format, 1.6).
        file.seek((page - 1) * size)
        file.write(kind + bytes(4) + (size % 65536).to_bytes(2, "big") + bytes(1))


async def test_a_degraded_store_lets_nothing_go(opener: Opener, hands: Hands) -> None:
    store = opener(machine=hands.machine)
    await push_blob(store, "a", LAYER)
    await collect(store, RULES)
    hands.wait(HOUR + 2)
    store.files.latch("a test")
    with pytest.raises(StoreDegraded):
        await collect(store, RULES)
    assert files(store) == {LAYER}


async def test_a_store_that_degrades_in_the_middle_keeps_its_files(store: Store) -> None:
    await store.blobs.put(Digest.of(LAYER), LAYER)

    async def latch() -> None:
        store.files.latch("a test")

    with pytest.raises(StoreDegraded):
        await collect(store, Rules(grace=0), first=latch)
    assert files(store) == {LAYER}


async def test_a_file_that_had_been_away_comes_back(store: Store, hands: Hands) -> None:
    """As where its disk was not mounted for a while, and somebody asked for it."""
    await push_image(store, IMAGE, "t")
    path = store.layout.blob(Digest.of(LAYER))
    os.rename(path, f"{path}.away")
    await store.names.links.lose(Digest.of(LAYER), lambda: True, lambda: None)
    os.rename(f"{path}.away", path)
    report = await collect(store, Rules(grace=0))
    assert (report.returned, report.strays) == (1, 0)
    assert await look(store, Digest.of(LAYER)) == LinkRow(len(LAYER))


async def test_a_bad_file_that_comes_back_is_left_alone(store: Store) -> None:
    await push_image(store, IMAGE, "t")
    path = store.layout.blob(Digest.of(LAYER))
    await store.names.links.lose(Digest.of(LAYER), lambda: True, lambda: None)
    os.unlink(path)
    with open(path, "wb") as file:
        file.write(b"other")
    report = await collect(store, Rules(grace=0))
    assert (report.returned, report.strays) == (0, 0)
    assert await look(store, Digest.of(LAYER)) is None


async def test_strangers_in_a_shard_stop_nothing(store: Store) -> None:
    await store.blobs.put(Digest.of(LAYER), LAYER)
    os.mkdir(store.layout.blob(Digest.of(OTHER)))
    assert (await collect(store, Rules(grace=0))).strays == 1


async def test_an_image_that_is_pulled_outlives_its_index(store: Store, hands: Hands) -> None:
    """Deployments name the image of a platform by its digest."""
    await untagged_index(store)
    for _ in range(40):
        hands.wait(DAY)
        await note_pull(store)
        await collect(store, RULES)
    assert files(store) == {IMAGE, LAYER}


async def test_a_long_chain_of_referrers_goes_in_one_pass(store: Store, hands: Hands) -> None:
    """Pushed from its end: each one waits for the one that comes after it."""
    await push_image(store, b"0", "t", layers=[])
    chain = [b"%d" % number for number in range(300)]
    for raw, subject in reversed(list(itertools.pairwise(chain))):
        await push_manifest(store, "a", subject, manifest=row(subject, subject=Digest.of(raw)))
    await untag("t")(store)
    hands.wait(MONTH + 1)
    report = await two_passes(store, hands)
    assert report.manifests == len(chain)


async def test_time_goes_on_over_a_boot_although_nobody_noted_it(opener: Opener, hands: Hands) -> None:
    store = opener(durable=False, machine=hands.machine)
    hands.wait(40 * DAY)
    await push_image(store, IMAGE, "t")
    pushed = store.database.clock.now()
    hands.boot_again("another boot")
    assert opener(durable=False, machine=hands.machine).database.clock.now() >= pushed


@pytest.mark.parametrize("wrong", [0, 365 * DAY, -10 * 365 * DAY], ids=["right", "ahead", "behind"])
async def test_an_older_root_begins_its_months_when_it_is_upgraded(
    root: str, hands: Hands, wrong: float
) -> None:
    """Its program noted no pulls, and went by the wall clock."""
    with closing(open_store(root, durable=False, machine=hands.machine)) as store:
        await push_image(store, IMAGE, "t")
        await push_image(store, SECOND, "t", layers=[OTHER])
        await store.database.write(downgrade)
    hands.wait(40 * DAY)
    hands.wall += wrong
    with closing(open_store(root, durable=False, machine=hands.machine)) as store:
        hands.wait(29 * DAY)
        await two_passes(store, hands)
        assert files(store) == {IMAGE, SECOND, LAYER, OTHER}
        hands.wait(2 * DAY)
        await two_passes(store, hands)
        assert files(store) == {SECOND, OTHER}


def downgrade(connection: Connection) -> None:
    """As the first version of the index was."""
    triggers = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for sql in (
        *(f"DROP TRIGGER {name}" for (name,) in triggers),
        "DROP TABLE figures",
        "DROP TABLE upstreams",
        "ALTER TABLE tags DROP COLUMN checked",
        "DROP INDEX uploads_repository",
        "ALTER TABLE uploads DROP COLUMN state",
        "ALTER TABLE uploads DROP COLUMN idle",
        "ALTER TABLE repositories DROP COLUMN held_bytes",
        "ALTER TABLE repositories DROP COLUMN held_tags",
        "DROP INDEX links_mark",
        "DROP INDEX manifests_mark",
        "DROP INDEX edges_children",
        "ALTER TABLE links DROP COLUMN mark",
        "ALTER TABLE manifests DROP COLUMN mark",
        "ALTER TABLE manifests DROP COLUMN pulled",
        "ALTER TABLE repositories DROP COLUMN active",
        "DROP TABLE clock",
        "DROP TABLE tag_history",
        "PRAGMA user_version = 1",
    ):
        connection.execute(sql)


@pytest.mark.parametrize("act", [collect, foresee])
async def test_a_pass_that_is_cancelled_leaves_nothing_behind(
    store: Store, act: Callable[[Store, Rules], Coroutine[object, object, object]]
) -> None:
    """At any moment, as when its server stops: no lock, no descriptor in use; and the next one works."""
    for number in range(50):
        await push_blob(store, f"r{number}", b"%d" % number)
    cancelled = 0
    for delay in range(20):
        task = asyncio.create_task(act(store, Rules(at_once=True)))
        await asyncio.sleep(delay / 1000)
        cancelled += task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        with held(store.layout.gc_lock, "a test"):
            pass
    assert cancelled
    await collect(store, Rules(at_once=True))
    assert files(store) == set()
    assert await store.names.listings.repositories(after="", limit=9) == []


async def test_the_index_shrinks(store: Store, hands: Hands) -> None:
    for number in range(20):
        raw = b"manifest %d" % number
        tags = [f"a-tag-with-a-long-name-{count:0100}" for count in range(300)]
        await push_manifest(store, f"r{number}", raw, tags=tags)
    await store.database.checkpoint()
    before = os.path.getsize(store.layout.index)
    for number in range(20):
        await store.names.manifests.remove(
            f"r{number}", Digest.of(b"manifest %d" % number), even_if_referenced=False, check=allow
        )
    await collect(store, RULES)
    await store.database.checkpoint()
    assert os.path.getsize(store.layout.index) < before / 2


# -- looking ahead -----------------------------------------------------------------------------------------


async def everything(store: Store) -> None:
    """All of the above at once, for several repositories."""
    await untagged_index(store)
    await push_image(store, REFERRER, "r", layers=[OTHER], repository="b")
    await push_blob(store, "b", b"old upload")
    await push_blob(store, "c", b"only here")
    await push_image(store, b"signature", f"sha256-{Digest.of(IMAGE).encoded}.sig", layers=[b"signed"])


def seen(store: Store) -> tuple[list[str], set[bytes]]:
    """Every row of the index, every file."""
    with closing(store.database.scan()) as connection:
        return list(connection.iterdump()), files(store)


Told = list[tuple[str, str, str, int, str]]


def told(items: Sequence[Item]) -> Told:
    return sorted((item.kind, item.repository, item.name, item.size, item.why) for item in items)


async def passed(store: Store) -> tuple[Told, Report]:
    heard: list[Item] = []
    report = await collect(store, RULES, walk=False, tell=heard.append)
    return told(heard), report


SUMS = ("manifests", "blobs", "tags", "repositories", "files", "freed")


@pytest.mark.parametrize("act", [everything, replaced, deleted, signed_by_tag_and_untagged, only_by_digest])
@pytest.mark.parametrize("marked", [False, True], ids=["nothing marked yet", "all marked a grace ago"])
async def test_what_is_foreseen_is_what_then_goes(store: Store, hands: Hands, act: Act, marked: bool) -> None:
    await act(store)
    hands.wait(MONTH + 1)
    if marked:
        await collect(store, RULES)
        hands.wait(HOUR + 2)
    before = seen(store)
    now, later, both = await foresee(store, RULES)
    assert seen(store) == before
    went, first = await passed(store)
    hands.wait(HOUR + 2)
    went_later, second = await passed(store)
    assert (told(now), told(later)) == (went, went_later)
    assert bool(now) is (marked and act is not only_by_digest)
    for name in SUMS:
        assert getattr(both, name) == getattr(first, name) + getattr(second, name), name
    hands.wait(HOUR + 2)
    went, third = await passed(store)
    assert (went, third.files, third.waiting) == ([], 0, 0)


async def test_what_uploads_hold_up_is_foreseen_as_later(store: Store, hands: Hands) -> None:
    digest = await push_blob(store, "a", LAYER)
    await collect(store, RULES)
    hands.wait(HOUR + 2)
    await store.names.sessions.begin(await begin(store, b"so far"), "a", "", "sha256")
    now, later, both = await foresee(store, RULES)
    assert now == []
    assert {item.name for item in later} == {"a", str(digest)}
    assert both.held_up == ["a"]


async def test_looking_ahead_needs_no_lock(store: Store) -> None:
    await push_blob(store, "a", LAYER)
    with held(store.layout.gc_lock, "a test"), held(store.layout.write_lock, "a test"):
        now, later, _ = await foresee(store, RULES)
    assert (len(now), len(later)) == (0, 2)
