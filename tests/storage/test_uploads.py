"""Upload sessions: what is kept of a body, who may write, what is installed, what expires."""

import asyncio
import errno
import fcntl
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from storage import uploads as module
from storage.digest import Digest
from storage.errors import (
    DigestMismatch,
    InvalidDigest,
    StoreDegraded,
    StoreFull,
    UploadBusy,
    UploadMissing,
    UploadSealed,
    WrongLength,
)
from storage.files import temporary_root
from storage.sources import Pieces, Source
from storage.store import Store
from storage.uploads import Idleness
from tests.builders import blob
from tests.storage.conftest import Opener
from tests.storage.probes import Recorder, failure
from tests.storage.pushing import begin, body, broken, install

MIB = 2**20
UNKNOWN = "0b4f1d0e-6b0a-4b5c-8d3e-2f1a0b9c8d7e"


def path_of(store: Store, upload: str) -> str:
    return store.layout.upload(upload)


def held(store: Store, upload: str) -> bytes:
    with open(path_of(store, upload), "rb") as file:
        return file.read()


@dataclass(slots=True)
class Clock:
    """The time by which sessions grow old."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "monotonic", clock)
    return clock


async def append(store: Store, upload: str, chunks: Source, length: int | None = None) -> int:
    """Returns the session's new size."""
    async with store.uploads.open(upload) as session:
        await session.append(chunks, algorithm="sha256", length=length)
        return session.size


# -- appending -----------------------------------------------------------------------------------------


async def test_a_new_session_is_an_empty_file_of_its_own(store: Store) -> None:
    ids = [await store.uploads.create() for _ in range(10)]
    assert len(set(ids)) == 10
    for upload in ids:
        assert store.uploads.size(upload) == 0
        assert stat.S_IMODE(os.stat(path_of(store, upload)).st_mode) == 0o600


async def test_chunks_follow_each_other(store: Store) -> None:
    upload = await store.uploads.create()
    for number, chunks in enumerate([(b"ab", b"", b"c"), (), (b"defg",)]):
        async with store.uploads.open(upload) as session:
            hashed = await session.append(body(*chunks), algorithm="sha256")
            assert (hashed is None) is (number > 0)
    assert held(store, upload) == b"abcdefg"
    assert store.uploads.size(upload) == 7


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_a_body_that_begins_the_session_is_hashed_on_its_way(store: Store, algorithm: str) -> None:
    data = blob(3 * MIB + 7)
    upload = await store.uploads.create()
    async with store.uploads.open(upload) as session:
        hashed = await session.append(
            body(*(data[at : at + 70_000] for at in range(0, len(data), 70_000))), algorithm=algorithm
        )
        assert hashed == Digest.of(data, algorithm)
        assert await session.digest(algorithm) == hashed
        assert await session.append(body(), algorithm=algorithm) is None
    assert held(store, upload) == data


async def test_unknown_algorithms_write_nothing(store: Store) -> None:
    upload = await store.uploads.create()
    async with store.uploads.open(upload) as session:
        with pytest.raises(InvalidDigest):
            await session.append(body(b"data"), algorithm="md5")
    assert held(store, upload) == b""


@pytest.mark.parametrize(
    ("chunk", "count", "hops"), [(16 * 1024, 200, 13), (1, 2100, 3), (MIB, 3, 3)], ids=str
)
async def test_small_chunks_share_a_hop(
    chunk: int, count: int, hops: int, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[None] = []
    upload = await store.uploads.create()
    monkeypatch.setattr(store.uploads, "require_room", lambda: seen.append(None))
    await append(store, upload, body(*[bytes(chunk)] * count))
    assert len(seen) == hops


async def test_large_chunks_are_written_in_small_steps(opener: Opener) -> None:
    probe = Recorder()
    store = opener(durable=False, probe=probe)
    upload = await store.uploads.create()
    probe.calls.clear()
    await append(store, upload, body(bytes(MIB + 1)))
    assert probe.names == ["write"] * 9


BREAKS = [ConnectionResetError(), asyncio.CancelledError(), ValueError()]


@pytest.mark.parametrize("error", BREAKS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("sizes", [(3,), (3, MIB, 5), (MIB, MIB), ()])
async def test_what_came_before_the_break_is_kept(
    store: Store, error: BaseException, sizes: tuple[int, ...]
) -> None:
    chunks = [blob(size, seed) for seed, size in enumerate(sizes)]
    upload = await begin(store, b"first ")
    with pytest.raises(type(error)):
        await append(store, upload, broken(error, *chunks), length=10**9)
    assert held(store, upload) == b"first " + b"".join(chunks)
    assert await append(store, upload, body(b" last")) == store.uploads.size(upload)


async def test_what_came_before_a_real_cancellation_is_kept(store: Store) -> None:
    waiting = asyncio.Event()

    async def stalled() -> AsyncIterator[bytes]:
        yield b"some bytes"
        waiting.set()
        await asyncio.Event().wait()

    upload = await store.uploads.create()
    task = asyncio.create_task(append(store, upload, Pieces(stalled())))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert held(store, upload) == b"some bytes"
    assert await append(store, upload, body(b"!")) == 11


async def test_a_cancelled_session_stays_locked_until_its_write_has_ended(opener: Opener) -> None:
    entered, go = threading.Event(), threading.Event()

    def slow(moment: str, name: str, target: str) -> None:
        if (moment, name) == ("before", "write"):
            entered.set()
            go.wait(10)

    store, other = opener(durable=False, probe=slow), opener(durable=False)
    upload = await store.uploads.create()
    task = asyncio.create_task(append(store, upload, body(b"data")))
    await asyncio.to_thread(entered.wait, 10)
    task.cancel()
    await asyncio.sleep(0.01)
    assert not task.done()
    with pytest.raises(UploadBusy):
        await append(other, upload, body(b"other"))
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await append(other, upload, body(b" more")) == 9
    assert held(store, upload) == b"data more"


@pytest.mark.parametrize(
    ("sizes", "length", "actual"),
    [((3,), 4, 3), ((), 1, 0), ((3,), 2, 3), ((1,), 0, 1), ((MIB, MIB, 5), 2 * MIB + 4, 2 * MIB + 5)],
)
async def test_of_a_body_of_another_length_nothing_is_kept(
    store: Store, sizes: tuple[int, ...], length: int, actual: int
) -> None:
    upload = await begin(store, b"first")
    async with store.uploads.open(upload) as session:
        with pytest.raises(WrongLength) as caught:
            await session.append(body(*map(bytes, sizes)), algorithm="sha256", length=length)
        assert session.size == 5
    assert (caught.value.expected, caught.value.actual) == (length, actual)
    assert held(store, upload) == b"first"


async def test_of_an_endless_body_little_is_read(store: Store) -> None:
    given = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal given
        while True:
            given += MIB
            yield bytes(MIB)

    upload = await store.uploads.create()
    with pytest.raises(WrongLength, match="or more"):
        await append(store, upload, Pieces(endless()), length=3 * MIB)
    assert given == 4 * MIB
    assert held(store, upload) == b""


@pytest.mark.parametrize("sizes", [(), (4,), (MIB, 1)])
async def test_a_body_of_the_announced_length(store: Store, sizes: tuple[int, ...]) -> None:
    upload = await begin(store, b"first")
    assert await append(store, upload, body(*map(bytes, sizes)), length=sum(sizes)) == 5 + sum(sizes)


async def test_a_full_disk_keeps_the_session_and_its_true_size(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, room = os.writev, [3]

    def filling(descriptor: int, vector: list[memoryview]) -> int:
        if not room:
            raise failure(errno.ENOSPC)
        return real(descriptor, [b"".join(vector)[: room.pop()]])

    upload = await begin(store, b"first ")
    with monkeypatch.context() as patch:
        patch.setattr(os, "writev", filling)
        async with store.uploads.open(upload) as session:
            with pytest.raises(StoreFull):
                await session.append(body(b"abcdef"), algorithm="sha256")
            assert session.size == 9
    assert await append(store, upload, body(b"def")) == 12
    assert held(store, upload) == b"first abcdef"


# -- one writer ----------------------------------------------------------------------------------------


async def test_one_writer_at_a_time_over_all_stores(opener: Opener) -> None:
    one, other = opener(durable=False), opener(durable=False)
    upload = await begin(one, b"data")
    async with one.uploads.open(upload):
        for store in (one, other):
            with pytest.raises(UploadBusy, match="by another request"):
                await append(store, upload, body(b"x"))
        assert other.uploads.size(upload) == 4
    assert await append(other, upload, body(b"x")) == 5


async def test_a_child_that_is_being_started_keeps_no_session_locked(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it execs, it has open what its parent has, as a duplicate has."""
    upload = await begin(store, b"data")
    real, inherited = fcntl.flock, list[int]()

    def locked(descriptor: int, operation: int) -> None:
        real(descriptor, operation)
        inherited.append(os.dup(descriptor))

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", locked)
        assert await append(store, upload, body(b" more")) == 9
    try:
        assert await append(store, upload, body(b"!")) == 10
    finally:
        for descriptor in inherited:
            os.close(descriptor)
    assert inherited


@pytest.mark.parametrize("upload", [UNKNOWN, "", "../index.db", "x" * 5000])
async def test_no_session(store: Store, upload: str) -> None:
    with pytest.raises(UploadMissing):
        store.uploads.size(upload)
    with pytest.raises(UploadMissing):
        await append(store, upload, body(b"x"))


async def test_a_link_is_no_session(store: Store) -> None:
    os.symlink(store.layout.format, path_of(store, UNKNOWN))
    with pytest.raises(OSError, match="symbolic links"):
        await append(store, UNKNOWN, body(b"x"))


def end(path: str) -> None:
    os.unlink(path)


def end_installed(path: str) -> None:
    """As after an install: the bytes have another name too."""
    os.link(path, f"{path}.blob")
    os.unlink(path)


def end_and_begin_another(path: str) -> None:
    os.rename(path, f"{path}.blob")
    with open(path, "wb"):
        pass


@pytest.mark.parametrize("between", [end, end_installed, end_and_begin_another])
async def test_a_session_that_ends_between_open_and_lock(
    store: Store, monkeypatch: pytest.MonkeyPatch, between: Callable[[str], None]
) -> None:
    upload = await begin(store, b"data")
    real = fcntl.flock

    def flock(descriptor: int, operation: int) -> None:
        between(path_of(store, upload))
        real(descriptor, operation)

    descriptors = len(os.listdir("/dev/fd"))
    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", flock)
        with pytest.raises(UploadMissing):
            await append(store, upload, body(b"x"))
    assert len(os.listdir("/dev/fd")) == descriptors


async def test_the_lock_goes_with_the_block_whatever_ends_it(store: Store) -> None:
    upload = await begin(store, b"data")
    descriptors = len(os.listdir("/dev/fd"))
    with pytest.raises(ConnectionResetError):
        await append(store, upload, broken(ConnectionResetError()))
    assert len(os.listdir("/dev/fd")) == descriptors
    assert await append(store, upload, body(b"x")) == 5


# -- installing ----------------------------------------------------------------------------------------


async def test_installed_bytes_are_a_blob_and_the_session_is_sealed(store: Store) -> None:
    upload = await begin(store, b"data")
    async with store.uploads.open(upload) as session:
        states = [session.sealed]
        digest = await install(session, b"data")
        states.append(session.sealed)
        with pytest.raises(UploadSealed, match="closing PUT"):
            await session.append(body(b"x"), algorithm="sha256")
    assert states == [False, True]
    assert await store.blobs.read(digest) == b"data"
    assert os.path.samefile(store.layout.blob(digest), path_of(store, upload))
    async with store.uploads.open(upload) as session:
        assert session.sealed
        with pytest.raises(UploadSealed):
            await session.append(body(b"x"), algorithm="sha256")
        await install(session, b"data")
        await session.remove()
    with pytest.raises(UploadMissing):
        store.uploads.size(upload)
    assert await store.blobs.read(digest) == b"data"
    assert os.listdir(store.layout.uploads) == []


@pytest.mark.parametrize(
    ("algorithm", "known", "reads"),
    [
        ("sha256", Digest.of(b"data"), 0),
        ("sha256", Digest.of(b"data", "sha512"), 1),
        ("sha256", None, 1),
        ("sha512", Digest.of(b"data"), 1),
        ("sha512", Digest.of(b"data", "sha512"), 0),
    ],
)
async def test_a_known_digest_spares_the_reading_if_it_is_of_that_algorithm(
    store: Store, monkeypatch: pytest.MonkeyPatch, algorithm: str, known: Digest | None, reads: int
) -> None:
    upload = await begin(store, b"data")
    seen: list[str] = []

    async def counted(session: module.UploadSession, wanted: str) -> Digest:
        seen.append(wanted)
        return Digest.of(held(store, upload), wanted)

    monkeypatch.setattr(module.UploadSession, "digest", counted)
    async with store.uploads.open(upload) as session:
        await session.install(Digest.of(b"data", algorithm), known)
    assert seen == [algorithm] * reads
    assert await store.blobs.read(Digest.of(b"data", algorithm)) == b"data"


@pytest.mark.parametrize("known", [None, Digest.of(b"data")])
async def test_bytes_of_another_digest_are_not_installed(store: Store, known: Digest | None) -> None:
    upload = await begin(store, b"data")
    asked = Digest.of(b"other")
    async with store.uploads.open(upload) as session:
        with pytest.raises(DigestMismatch) as caught:
            await session.install(asked, known)
        assert not session.sealed
    assert (caught.value.expected, caught.value.actual) == (str(asked), str(Digest.of(b"data")))
    assert store.blobs.size(asked) is None
    assert await append(store, upload, body(b" more")) == 9


async def test_truncating_takes_back_a_refused_chunk(store: Store) -> None:
    upload = await begin(store, b"data")
    async with store.uploads.open(upload) as session:
        await session.append(body(b" more"), algorithm="sha256")
        await session.truncate(4)
        assert session.size == 4
        assert await session.digest("sha256") == Digest.of(b"data")
        await session.append(body(b"!"), algorithm="sha256")
    assert held(store, upload) == b"data!"


async def test_an_install_that_fails_can_be_repeated(opener: Opener) -> None:
    for name, code, fact in [
        ("link", errno.ENOSPC, StoreFull),
        ("rename", errno.EDQUOT, StoreFull),
        ("rename", errno.EIO, OSError),
    ]:
        probe = Recorder({("before", name): failure(code)})
        store = opener(probe=probe)
        upload = await begin(store, b"data")
        async with store.uploads.open(upload) as session:
            with pytest.raises(fact):
                await install(session, b"data")
            assert store.blobs.size(Digest.of(b"data")) is None
            probe.failing.clear()
            digest = await install(session, b"data")
            await session.remove()
        assert store.blobs.verify(digest)
        store.blobs.quarantine(digest)


SEALED = """
import asyncio, os, sys
from storage.store import open_store
from storage.digest import Digest
from storage.errors import UploadSealed
from tests.storage.pushing import begin, body, install

store = open_store(sys.argv[1] + "/root")
if os.geteuid() == 0:  # whom no mode stops
    for folder, folders, files in os.walk(sys.argv[1]):
        for name in ["", *files]:
            os.chown(os.path.join(folder, name), 65534, 65534)
    os.setgid(65534)
    os.setuid(65534)

async def main():
    for expected in ([], [None]):
        upload = await begin(store, b"data")
        async with store.uploads.open(upload) as session:
            await install(session, b"data")
        async with store.uploads.open(upload) as session:
            assert session.sealed
            try:
                await session.append(body(b"x"), algorithm="sha256")
            except UploadSealed:
                pass
            digest = await install(session, b"data")
            if not expected:
                await session.remove()
        assert len(await store.uploads.expire(0)) == len(expected)
    assert await store.blobs.read(digest) == b"data"

asyncio.run(main())
store.close()
print("done")
"""


def test_a_sealed_session_opens_for_another_than_root_too() -> None:
    # Not below pytest's own folders, which are root's alone.
    with temporary_root() as folder:
        os.chmod(folder, 0o755)
        ended = subprocess.run(
            [sys.executable, "-c", SEALED, folder], capture_output=True, text=True, timeout=30, check=False
        )
    assert (ended.returncode, ended.stdout) == (0, "done\n"), ended.stderr


# -- expiry --------------------------------------------------------------------------------------------


async def test_idle_sessions_expire_by_their_last_byte(store: Store, clock: Clock) -> None:
    old, grown, locked, sealed = [await begin(store, b"data") for _ in range(4)]
    async with store.uploads.open(sealed) as session:
        digest = await install(session, b"data")
    assert await store.uploads.expire(3600) == []
    clock.now = 1800
    await append(store, grown, body(b"more"))
    assert await store.uploads.expire(3600) == []
    clock.now = 3599
    assert await store.uploads.expire(3600) == []
    clock.now = 3600
    async with store.uploads.open(locked):
        assert sorted(await store.uploads.expire(3600)) == sorted([old, sealed])
    assert sorted(os.listdir(store.layout.uploads)) == sorted([grown, locked])
    assert await store.uploads.expire(3600) == [locked]
    assert await store.uploads.expire(3600) == []
    clock.now = 5400
    assert await store.uploads.expire(3600) == [grown]
    assert await store.blobs.read(digest) == b"data"


@pytest.mark.parametrize("years", [-10, 10])
async def test_the_wall_clock_ends_no_session_and_keeps_none(store: Store, clock: Clock, years: int) -> None:
    """A file from the past or the future is what a clock that was set leaves behind."""
    upload = await begin(store, b"data")
    then = time.time() + years * 365 * 86400
    os.utime(path_of(store, upload), (then, then))
    assert await store.uploads.expire(3600) == []
    clock.now = 3600
    assert await store.uploads.expire(3600) == [upload]


async def test_each_opening_of_a_store_counts_for_itself(opener: Opener, clock: Clock) -> None:
    """As a server that was stopped meanwhile: what it slept through is no idleness of the client's."""
    first = opener()
    upload = await begin(first, b"data")
    assert await first.uploads.expire(3600) == []
    clock.now = 3600
    assert await opener().uploads.expire(3600) == []
    assert await first.uploads.expire(3600) == [upload]


async def test_what_a_server_watched_counts_for_the_next(opener: Opener, clock: Clock) -> None:
    """Restarted more often than sessions expire: what each of them saw adds up, and no time between."""
    first = opener()
    idle, touched = [await begin(first, b"data") for _ in range(2)]
    known: Idleness = {}
    for number in range(4):
        store = opener()
        assert await store.uploads.expire(3600, known) == []
        clock.now += 899
        if number == 2:
            await append(store, touched, body(b"more"))
        assert await store.uploads.expire(3600) == []
        known = store.uploads.idleness()
        clock.now += 100_000  # nobody watches
    assert {upload: seconds for upload, (_, seconds) in known.items()} == {idle: 3596, touched: 899}
    store = opener()
    assert await store.uploads.expire(3600, known) == []
    clock.now += 4
    assert await store.uploads.expire(3600, known) == [idle]


async def test_a_session_touched_just_before_its_lock_stays(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = await begin(store, b"data")
    path, real = path_of(store, upload), fcntl.flock
    assert await store.uploads.expire(3600) == []
    clock.now = 3600

    def flock(descriptor: int, operation: int) -> None:
        with open(path, "ab") as file:
            file.write(b"more")
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    assert await store.uploads.expire(3600) == []
    assert store.uploads.size(upload) == 8


async def test_leftovers_of_crashes_go_and_second_names_under_way_stay(store: Store, clock: Clock) -> None:
    upload = await begin(store, b"data")
    path = path_of(store, upload)
    assert await store.uploads.expire(3600) == []
    clock.now = 3600
    os.link(path, f"{path}.new")
    async with store.uploads.open(upload):
        assert await store.uploads.expire(3600) == []
        assert len(os.listdir(store.layout.uploads)) == 2
        clock.now = 7200
        assert await store.uploads.expire(3600) == []
        assert os.listdir(store.layout.uploads) == [upload]


async def test_a_second_name_made_anew_meanwhile_stays(store: Store, clock: Clock) -> None:
    """Another process installs the session again, under the name that a crash has left."""
    upload = await begin(store, b"data")
    second = f"{path_of(store, upload)}.new"
    os.link(path_of(store, upload), second)
    state = module._state_of(second)
    assert state is not None
    os.unlink(second)
    os.link(path_of(store, upload), second)
    assert store.uploads._remove(second, state) is False
    assert os.path.exists(second)


async def test_what_is_no_session_does_not_stop_the_others_expiry(store: Store) -> None:
    upload = await begin(store, b"data")
    os.mkdir(os.path.join(store.layout.uploads, "folder"))
    os.symlink("nowhere", os.path.join(store.layout.uploads, "link"))
    assert await store.uploads.expire(0) == [upload]
    assert sorted(os.listdir(store.layout.uploads)) == ["folder", "link"]


def test_a_file_that_vanishes_meanwhile_is_not_idle(store: Store) -> None:
    assert module._state_of(path_of(store, UNKNOWN)) is None


# -- room and soundness --------------------------------------------------------------------------------

GIB = 2**30


@pytest.mark.parametrize(
    ("free", "total", "room"),
    [
        (GIB, 1000 * GIB, True),
        (GIB - 1, 1000 * GIB, False),
        (GIB // 2, 10 * GIB, True),
        (GIB // 2 - 1, 10 * GIB, False),
        (0, GIB, False),
        (0, 0, True),
    ],
)
async def test_uploads_wait_while_the_disk_is_nearly_full(
    store: Store, monkeypatch: pytest.MonkeyPatch, free: int, total: int, room: bool
) -> None:
    found = SimpleNamespace(f_bavail=free, f_blocks=total, f_frsize=1)
    monkeypatch.setattr(os, "statvfs", lambda path: found)
    if room:
        await store.uploads.create()
        return
    with pytest.raises(StoreFull, match=f"only {free} bytes are free"):
        await store.uploads.create()
    assert os.listdir(store.layout.uploads) == []


async def test_a_session_that_fills_the_disk_stops_and_keeps_what_it_has(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = await begin(store, b"data")
    free = [10 * GIB, 0]
    found = [SimpleNamespace(f_bavail=each, f_blocks=100 * GIB, f_frsize=1) for each in free]
    monkeypatch.setattr(os, "statvfs", lambda path: found.pop(0))
    with pytest.raises(StoreFull, match="only 0 bytes are free"):
        await append(store, upload, body(bytes(MIB), bytes(MIB)))
    assert store.uploads.size(upload) == 4 + MIB


async def test_a_session_that_cannot_be_made_leaves_nothing(opener: Opener) -> None:
    store = opener(probe=Recorder({("before", "create"): failure(errno.ENOSPC)}))
    with pytest.raises(StoreFull):
        await store.uploads.create()
    assert os.listdir(store.layout.uploads) == []


async def test_a_degraded_store_begins_and_opens_no_session(store: Store) -> None:
    upload = await begin(store, b"data")
    store.files.latch("a test")
    with pytest.raises(StoreDegraded):
        await store.uploads.create()
    with pytest.raises(StoreDegraded):
        await append(store, upload, body(b"x"))
    assert store.uploads.size(upload) == 4


async def test_a_failed_sync_stops_everything_and_takes_the_session(opener: Opener) -> None:
    """Synced a second time, its bytes would seem to be on the disk; other sessions can go on one day."""
    probe = Recorder({("before", "fsync"): failure(errno.EIO)})
    store, other = opener(probe=probe), opener()
    upload, bystander = await begin(store, b"data"), await begin(store, b"data")
    async with store.uploads.open(upload) as session:
        for _ in range(2):
            with pytest.raises(StoreDegraded):
                await install(session, b"data")
    assert probe.begun.count("fsync") == 1
    assert store.blobs.size(Digest.of(b"data")) is None
    assert os.listdir(store.layout.uploads) == [bystander]
    with pytest.raises(StoreDegraded):
        await other.uploads.create()
    store.files.unlatch()
    probe.failing.clear()
    with pytest.raises(UploadMissing):
        await append(store, upload, body(b"x"))
    async with other.uploads.open(bystander) as session:
        assert await other.blobs.read(await install(session, b"data")) == b"data"
