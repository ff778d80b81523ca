"""Opening a root: what becomes a store, what is refused and why, and what everyone may read of it."""

import errno
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from types import SimpleNamespace

import pytest

from storage import mounts
from storage.clock import Machine
from storage.collect import collect
from storage.digest import Digest
from storage.errors import StoreDegraded, StoreFull, StoreUnusable
from storage.garbage import Rules
from storage.layout import FORMAT, Layout
from storage.links import LinkRow
from storage.store import Store, open_store
from tests.storage.probes import FailAt, Recorder, failure
from tests.storage.pushing import begin, install, push_blob, push_manifest, row


def write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


@contextmanager
def opened(root: str, *, durable: bool = False) -> Iterator[Store]:
    with closing(open_store(root, durable=durable)) as store:
        yield store


async def works(store: Store) -> bool:
    digest = await push_blob(store, "a", b"data")
    return await store.blobs.read(digest) == b"data"


# -- what becomes a store ------------------------------------------------------------------------------


async def test_a_new_root_is_made_with_all_its_folders(root: str) -> None:
    with opened(f"{root}/and/below") as store:
        assert read(store.layout.format) == FORMAT
        assert [folder for folder in store.layout.folders() if not os.path.isdir(folder)] == []
        assert store.warnings == ()
        assert await works(store)


async def test_a_lean_root_makes_a_shard_when_a_blob_needs_it(root: str) -> None:
    with closing(open_store(root, durable=False, lean=True)) as store:
        layout, missing = store.layout, Digest.of(b"missing")
        shards = set(layout.folders()) - set(layout.trunk())
        assert [folder for folder in layout.trunk() if not os.path.isdir(folder)] == []
        assert [folder for folder in shards if os.path.lexists(folder)] == []
        store.blobs.unlink(missing)
        store.blobs.quarantine(missing)
        assert store.blobs.size(missing) is None
        pushed = await push_blob(store, "a", b"data")
        await store.blobs.put(Digest.of(b"put"), b"put")
        assert [digest for digest, _ in store.blobs.walk()] == sorted([pushed, Digest.of(b"put")], key=str)
        listed = [store.blobs.list_shard(low, idle=0) for low, _ in store.blobs.shards()]
        assert {digest: size for found in listed for digest, size in found.items()} == {
            pushed: 4,
            Digest.of(b"put"): 3,
        }
        assert (await collect(store, Rules(at_once=True))).strays == 1  # that which nobody claimed
        assert store.blobs.size(Digest.of(b"put")) is None
        assert len([folder for folder in shards if os.path.isdir(folder)]) == 2
    with opened(root) as store:  # by a command that checks it
        assert [folder for folder in layout.folders() if not os.path.isdir(folder)] == []


async def test_what_was_stored_is_there_when_opened_again(root: str) -> None:
    with opened(root) as store:
        blob = await push_blob(store, "a", b"data")
        await push_manifest(store, "a", b"one", tags=["t"])
        upload = await begin(store, b"half")
        await store.names.sessions.begin(upload, "a", "ann", "sha256")
        await store.names.sessions.note(upload, Digest.of(b"half"), 4)
    for durable in (True, False):
        with opened(root, durable=durable) as store:
            assert await store.names.links.find("a", blob) == LinkRow(4)
            assert await store.blobs.read(blob) == b"data"
            assert await store.names.manifests.resolve("a", "t") == row(b"one")
            assert store.uploads.size(upload) == 4
            session = await store.names.sessions.find(upload, "a", "ann")
            assert (session.hashed, session.hashed_size) == (Digest.of(b"half"), 4)


async def test_a_relative_root_stays_where_it_was(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with opened("root") as store:
        os.mkdir("elsewhere")
        monkeypatch.chdir("elsewhere")
        assert store.layout.root == os.path.join(os.path.realpath(folder), "root")
        assert await works(store)


@pytest.mark.parametrize("boot", ["0b4f1d0e", ""])
async def test_hashes_are_trusted_where_the_boot_is_known(root: str, boot: str) -> None:
    machine = Machine(boot)
    with closing(open_store(root, durable=False, machine=machine)) as store:
        await store.names.sessions.begin("u", "a", "ann", "sha256")
        await store.names.sessions.note("u", Digest.of(b""), 0)
    with closing(open_store(root, durable=False, machine=machine)) as store:
        found = await store.names.sessions.find("u", "a", "ann")
    assert (found.hashed is not None) is bool(boot)


def begin_only(root: str) -> None:
    """What a start leaves that was ended before its end."""
    for folder in ("blobs/sha256/00", "uploads"):
        os.makedirs(f"{root}/{folder}")
    write(f"{root}/write.lock", "")
    write(f"{root}/format.new", "oci-")


def all_but_the_format(root: str) -> None:
    open_store(root, durable=False).close()
    os.unlink(f"{root}/format")


ACCEPTED: dict[str, Callable[[str], object]] = {
    "empty": lambda root: None,
    "the file system's own folder": lambda root: os.mkdir(f"{root}/lost+found"),
    "an unfinished start": begin_only,
    "one that did all but the last": all_but_the_format,
}


@pytest.mark.parametrize("fill", ACCEPTED.values(), ids=ACCEPTED)
async def test_roots_that_are_completed(root: str, fill: Callable[[str], object]) -> None:
    os.mkdir(root)
    fill(root)
    with opened(root) as store:
        assert await works(store)
        assert not os.path.exists(f"{root}/format.new")


async def test_whatever_call_fails_the_next_start_completes_the_root(folder: str) -> None:
    """The calls at the beginning, in the middle and at the end of more than 500."""
    recorder = Recorder()
    open_store(f"{folder}/all", probe=recorder).close()
    calls = len(recorder.begun)
    assert calls > 512
    for number in (0, 1, 2, calls // 2, *range(calls - 12, calls)):
        root = f"{folder}/{number}"
        with pytest.raises((OSError, StoreUnusable, StoreDegraded)):
            open_store(root, probe=FailAt(number, failure(errno.EIO)))
        with opened(root) as store:
            store.files.unlatch()
            assert await works(store)
            assert [folder for folder in store.layout.folders() if not os.path.isdir(folder)] == []


# -- what is refused -----------------------------------------------------------------------------------


def plant_noise(root: str) -> None:
    with open(f"{root}/format", "wb") as file:
        file.write(b"\xff\0")


def plant_strangers(root: str) -> None:
    for name in "dcba":
        os.mkdir(f"{root}/{name}")


def empty_the_index(root: str) -> None:
    write(f"{root}/format", FORMAT)
    write(f"{root}/index.db", "")


REFUSED: dict[str, tuple[Callable[[str], object], str]] = {
    "another version": (
        lambda root: write(f"{root}/format", "oci-registry 2\n"),
        r"says 'oci-registry 2', this program knows 'oci-registry 1': use the program that wrote it",
    ),
    "an empty format": (lambda root: write(f"{root}/format", ""), "says ''"),
    "a long format": (
        lambda root: write(f"{root}/format", FORMAT + "x" * 10_000),
        r"says 'oci-registry 1\\nxxx",
    ),
    "no text": (plant_noise, "this program knows"),
    "someone's files": (
        plant_strangers,
        r"is not empty \(a, b, c\) and not a registry's: choose an empty folder",
    ),
    "ours without its index": (
        lambda root: write(f"{root}/format", FORMAT),
        r"index.db is missing.*put it back from a backup",
    ),
    "ours with an empty index": (
        empty_the_index,
        r"index.db is missing or empty.*`registry reindex`",
    ),
    "a copy that was interrupted": (
        lambda root: write(f"{root}/origin", "restore of /backup\n"),
        r"is an unfinished copy \(restore of /backup\): repeat the command",
    ),
    "distribution's data": (
        lambda root: os.makedirs(f"{root}/docker/registry/v2"),
        "holds the data of a distribution registry, which has another layout: choose an empty folder",
    ),
}


@pytest.mark.parametrize(("fill", "why"), REFUSED.values(), ids=REFUSED)
def test_roots_that_are_refused(root: str, fill: Callable[[str], object], why: str) -> None:
    os.mkdir(root)
    fill(root)
    before = sorted(os.listdir(root))
    with pytest.raises(StoreUnusable, match=why) as caught:
        open_store(root)
    assert root in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert sorted(set(os.listdir(root)) - {"write.lock"}) == before


def plant_lock(root: str) -> None:
    os.mkdir(root)
    os.symlink("/dev/null", f"{root}/write.lock")


UNWRITABLE: dict[str, tuple[Callable[[str], object], str]] = {
    "a file in its place": (lambda root: write(root, ""), "File exists"),
    "a link to nothing": (lambda root: os.symlink("nowhere", root), "File exists"),
    "a planted lock": (plant_lock, "symbolic links"),
}


@pytest.mark.parametrize(("plant", "why"), UNWRITABLE.values(), ids=UNWRITABLE)
def test_roots_that_cannot_be_written(root: str, plant: Callable[[str], object], why: str) -> None:
    plant(root)
    with pytest.raises(StoreUnusable, match=f"cannot be used: .*{why}.*; mend that or choose another --root"):
        open_store(root)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.EPERM], ids=errno.errorcode.get)
def test_roots_that_may_not_be_written(root: str, code: int) -> None:
    with pytest.raises(StoreUnusable, match="cannot be used"):
        open_store(root, probe=Recorder({("before", "mkdir"): failure(code)}))


def test_a_full_disk_says_so(root: str) -> None:
    with pytest.raises(StoreFull):
        open_store(root, probe=Recorder({("before", "create"): failure(errno.ENOSPC)}))


def test_a_network_file_system_needs_a_word(root: str, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write(f"{folder}/mounts", f"30 22 0:31 / {os.path.realpath(folder)} rw - nfs4 host:/x rw\n")
    monkeypatch.setattr(mounts, "_MOUNTS", f"{folder}/mounts")
    with pytest.raises(StoreUnusable, match="nfs4"):
        open_store(root)
    with closing(open_store(root, durable=False, allow_network=True)) as store:
        assert len(store.warnings) == 1
        assert "nfs4" in store.warnings[0]


def test_a_newer_index_is_refused_and_nothing_stays_open(root: str) -> None:
    with opened(root) as store:
        store.database._writer.execute("PRAGMA user_version=99")
    descriptors = len(os.listdir("/dev/fd"))
    with pytest.raises(StoreUnusable, match="index version 99"):
        open_store(root)
    assert len(os.listdir("/dev/fd")) == descriptors


# -- durability and rights -----------------------------------------------------------------------------


def test_every_name_is_durable_before_the_format_says_so(root: str) -> None:
    calls: list[tuple[str, str]] = []

    def probe(moment: str, name: str, target: str) -> None:
        if moment == "after":
            calls.append((name, target))

    open_store(f"{root}/below", probe=probe).close()
    layout = Layout(f"{root}/below")
    named = calls.index(("rename", layout.format))
    synced = {target for name, target in calls[:named] if name == "fsync"}
    above = {root, os.path.dirname(root)}
    assert synced == {*map(os.path.dirname, layout.folders()), *above, f"{layout.format}.new"}
    assert [call for call in calls[named:] if call[0] == "fsync"] == [("fsync", layout.root)]


def test_a_root_that_is_ours_costs_no_sync_to_open(root: str) -> None:
    open_store(root).close()
    probe = Recorder()
    open_store(root, probe=probe).close()
    assert probe.names == ["mkdir"]


def test_an_ephemeral_root_is_never_synced(root: str) -> None:
    probe = Recorder()
    open_store(root, durable=False, probe=probe).close()
    assert "fsync" not in probe.begun


def test_a_parent_that_cannot_be_opened_is_anothers_to_sync(
    root: str, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def as_another_than_root(path: str, flags: int, mode: int = 0o777) -> int:
        if path == folder:
            raise failure(errno.EACCES)
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", as_another_than_root)
    open_store(root).close()
    assert read(f"{root}/format") == FORMAT


async def test_everything_is_the_owners_alone(root: str) -> None:
    os.mkdir(root, 0o755)
    os.chmod(root, 0o755)
    with opened(root) as store:
        digest = await push_blob(store, "a", b"data")
        upload = await begin(store, b"data")
        sealed = await begin(store, b"more")
        async with store.uploads.open(sealed) as session:
            installed = await install(session, b"more")
        layout = store.layout
        modes = {
            path: stat.S_IMODE(os.stat(path).st_mode)
            for path in (layout.root, layout.blob(digest), layout.blob(installed), layout.upload(upload))
        }
        assert list(modes.values()) == [0o700, 0o400, 0o400, 0o600]
        assert {stat.S_IMODE(os.stat(folder).st_mode) for folder in layout.folders()} == {0o700}
        assert stat.S_IMODE(os.stat(layout.write_lock).st_mode) == 0o600
        assert stat.S_IMODE(os.stat(layout.format).st_mode) == 0o400


def test_a_start_that_fails_at_its_end_leaves_nothing_open(root: str) -> None:
    recorder = Recorder()
    open_store(f"{root}/all", durable=False, probe=recorder).close()
    descriptors = len(os.listdir("/dev/fd"))
    with pytest.raises(StoreUnusable):
        open_store(f"{root}/new", durable=False, probe=FailAt(len(recorder.begun) - 1, failure(errno.EIO)))
    assert len(os.listdir("/dev/fd")) == descriptors


async def test_ready_means_that_uploads_are_taken(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(root) as store:
        store.require_ready()
        with monkeypatch.context() as patch:
            patch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_bavail=0, f_blocks=9, f_frsize=1))
            with pytest.raises(StoreFull):
                store.require_ready()
        store.files.latch("a test")
        with pytest.raises(StoreDegraded):
            store.require_ready()


# -- many at once --------------------------------------------------------------------------------------

OPEN = """
import asyncio, sys
from storage.store import open_store
from tests.storage.pushing import push_blob

sys.stdin.readline()
store = open_store(sys.argv[1], durable=False)
asyncio.run(push_blob(store, "r" + sys.argv[2], b"data"))
store.close()
"""


async def test_processes_may_open_a_new_root_at_once(root: str) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN, root, str(number)],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    for process in processes:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    results = [(process.communicate(timeout=30)[1], process.returncode) for process in processes]
    assert results == [("", 0)] * 3
    with opened(root) as store:
        assert await store.names.listings.repositories(after="", limit=9) == ["r0", "r1", "r2"]


def test_threads_may_open_a_new_root_at_once(root: str) -> None:
    errors: list[BaseException] = []

    def start() -> None:
        try:
            open_store(root, durable=False).close()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert read(f"{root}/format") == FORMAT


async def test_closing_leaves_nothing_open(root: str) -> None:
    open_store(root, durable=False).close()
    descriptors, threads = len(os.listdir("/dev/fd")), threading.active_count()
    with opened(root) as store:
        assert await works(store)
    assert len(os.listdir("/dev/fd")) == descriptors
    assert threading.active_count() == threads


def test_a_refused_folder_is_left_as_it_was(folder: str) -> None:
    with open(os.path.join(folder, "mine"), "w") as file:
        file.write("not a registry's")
    with pytest.raises(StoreUnusable):
        open_store(folder)
    assert os.listdir(folder) == ["mine"]


def test_a_shard_that_a_restore_left_out_is_made_again(root: str) -> None:
    open_store(root).close()
    shard = os.path.join(root, "blobs", "sha256", "ab")
    os.rmdir(shard)
    open_store(root).close()
    assert os.path.isdir(shard)
