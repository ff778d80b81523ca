"""A root copied into a folder, once and again, and back; and the folders that are refused."""

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from importlib import resources
from pathlib import Path

import pytest

from registry.names import Tag
from storage import backup as module
from storage.backup import backup, restore
from storage.clock import Machine, read_boot
from storage.database import MIGRATIONS, Connection
from storage.digest import Digest
from storage.errors import BlobMissing, IndexFailed, StoreBusy, StoreDegraded, StoreUnusable
from storage.files import Files
from storage.filling import Report
from storage.layout import Layout
from storage.locks import held, still
from storage.secrets import Secrets
from storage.snapshot import snapshot
from storage.store import Store, open_store
from storage.transfer import Transfer
from tests.builders import OCI_IMAGE
from tests.crash.evidence import files_below, look
from tests.crash.operations import BASE, CONFIG, FRESH, LONE, NEW, ONE, SPARE, TOP, World, chunk, prepare
from tests.storage.probes import Recorder
from tests.storage.pushing import begin, push_blob
from tests.storage.test_snapshot import damage_a_page

BLOBS = 14  # that `prepare` pushes


@pytest.fixture
def stocked(store: Store) -> Store:
    """Images, an index, a referrer, tags, and an upload session."""
    asyncio.run(prepare(World(store)))
    return store


@pytest.fixture
def target(folder: str) -> Layout:
    return Layout(f"{folder}/backup")


def back_up(store: Store, target: Layout, *, copy: bool = False, verify: bool = False) -> Report:
    files = Files(target.degraded, durable=False)
    return backup(store.layout, target, files, copy=copy, verify=verify)


def bring_back(source: Layout, root: str) -> Report:
    return restore(source, Layout(root), Files(f"{root}/degraded", durable=False))


def sound(root: str) -> bool:
    problems = look(root).problems
    assert not problems, problems
    return True


def same_names(one: str, other: str) -> bool:
    return look(one).names == look(other).names


def file_of(layout: Layout, data: bytes) -> str:
    return layout.blob(Digest.of(data))


def spoil(path: str) -> None:
    os.chmod(path, 0o600)
    with open(path, "r+b") as file:
        file.write(b"bad bytes")
    os.chmod(path, 0o400)


# -- a backup ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("copy", [False, True], ids=["linked", "copied"])
def test_a_backup_is_a_whole_root(stocked: Store, target: Layout, copy: bool) -> None:
    report = back_up(stocked, target, copy=copy)
    size = sum(os.path.getsize(path) for path in files_below(target.root) if "/blobs/" in path)
    linked, copied = (0, BLOBS) if copy else (BLOBS, 0)
    assert report == Report(blobs=BLOBS, bytes=size, linked=linked, copied=copied)
    assert sound(target.root)
    assert same_names(target.root, stocked.layout.root)
    assert os.path.samefile(file_of(stocked.layout, BASE), file_of(target, BASE)) is not copy
    assert stat.S_IMODE(os.stat(target.root).st_mode) == 0o700


async def serves(root: str) -> bool:
    with closing(open_store(root, durable=False)) as store:
        world = World(store)
        row = await world.app.manifest_row(Tag("one"))
        await world.app.manifest_bytes(row)
        await world.uploads().push(Digest.of(FRESH), chunk(FRESH))
        return await world.app.blob_size(Digest.of(FRESH)) == len(FRESH)


async def test_a_backup_can_be_served(stocked: Store, target: Layout) -> None:
    await asyncio.to_thread(back_up, stocked, target)
    assert await serves(target.root)


def test_sessions_stay_behind(stocked: Store, target: Layout) -> None:
    assert look(stocked.layout.root).sessions
    back_up(stocked, target)
    assert not look(target.root).sessions
    assert os.listdir(target.uploads) == []
    with closing(sqlite3.connect(target.index)) as index:
        assert index.execute("SELECT count(*) FROM uploads").fetchone() == (0,)


def test_the_index_is_one_file(stocked: Store, target: Layout) -> None:
    back_up(stocked, target)
    assert sorted(os.listdir(target.root)) == [
        *(
            "blobs",
            "evict.lock",
            "fetches",
            "format",
            "gc.lock",
            "index.db",
            "origin",
            "quarantine",
            "serving.lock",
            "uploads",
        ),
        "write.lock",
    ]


def test_progress_is_told_to_the_byte(stocked: Store, target: Layout) -> None:
    total: list[int] = []
    done: list[int] = []
    files = Files(target.degraded, durable=False)
    for _ in range(2):
        report = backup(stocked.layout, target, files, begin=total.append, progress=done.append)
    assert total == [report.bytes] * 2
    assert sum(done) == 2 * report.bytes


def test_everything_is_durable_before_the_index_has_its_name(stocked: Store, target: Layout) -> None:
    recorder = Recorder()
    backup(stocked.layout, target, Files(target.degraded, probe=recorder), copy=True)
    calls = recorder.calls
    installed = calls.index(("rename", "index.db"))
    shards = {
        os.path.basename(os.path.dirname(path)) for path in files_below(target.root) if "/blobs/" in path
    }
    synced = {name for call, name in calls[:installed] if call == "fsync"}
    assert shards <= synced
    assert calls[installed - 2 :][:4] == [
        ("fsync", "index.db.new"),
        ("fsync", "backup"),
        ("rename", "index.db"),
        ("fsync", "backup"),
    ]
    assert calls[-2:] == [("rename", "format"), ("fsync", "backup")]


# -- the next one --------------------------------------------------------------------------------------


def change(store: Store) -> None:
    """Push an image, move a tag, delete a manifest and a blob, as a collector would in the end."""

    async def run() -> None:
        world = World(store)
        await world.app.put_manifest(Tag("stable"), NEW, OCI_IMAGE)
        await world.uploads().push(Digest.of(FRESH), chunk(FRESH))
        await world.app.delete_manifest(Digest.of(LONE))

        def forget(connection: Connection) -> None:
            connection.execute("DELETE FROM blobs WHERE digest = ?", (Digest.of(LONE).binary,))

        await store.database.write(forget)

    asyncio.run(run())


@pytest.mark.parametrize("copy", [False, True], ids=["linked", "copied"])
def test_a_second_backup_brings_only_what_is_new(stocked: Store, target: Layout, copy: bool) -> None:
    back_up(stocked, target, copy=copy)
    before = os.stat(file_of(target, BASE)).st_ino
    change(stocked)
    report = back_up(stocked, target, copy=copy)
    assert (report.kept, report.linked + report.copied, report.removed) == (BLOBS - 1, 2, 1)
    assert sound(target.root)
    assert same_names(target.root, stocked.layout.root)
    assert os.stat(file_of(target, BASE)).st_ino == before
    assert not os.path.exists(file_of(target, LONE))
    assert os.path.exists(file_of(stocked.layout, LONE))


def test_a_backup_that_was_served_and_looked_at_stays_one(stocked: Store, target: Layout) -> None:
    back_up(stocked, target)
    open_store(target.root).close()
    change(stocked)
    back_up(stocked, target)
    assert same_names(target.root, stocked.layout.root)


def test_what_a_killed_server_left_there_does_no_harm(stocked: Store, target: Layout) -> None:
    back_up(stocked, target)
    code = (
        "import os, sys; from storage.store import open_store; store = open_store(sys.argv[1]);"
        "store.database._writer.execute(\"INSERT INTO repositories (name) VALUES ('killed')\"); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, target.root], check=True, cwd=Path(__file__).parents[2])
    assert os.path.getsize(f"{target.index}-wal")
    change(stocked)
    back_up(stocked, target)
    assert sound(target.root)
    assert same_names(target.root, stocked.layout.root)


@pytest.mark.parametrize(
    ("copy", "verify", "kept"),
    [(True, False, BLOBS), (True, True, BLOBS - 1)],
    ids=["left", "verified"],
)
def test_bad_bytes_are_found_by_verifying(
    stocked: Store, target: Layout, copy: bool, verify: bool, kept: int
) -> None:
    back_up(stocked, target, copy=copy)
    spoil(file_of(target, BASE))
    report = back_up(stocked, target, copy=copy, verify=verify)
    assert (report.kept, report.lost) == (kept, [])
    assert any("hash to something else" in problem for problem in look(target.root).problems) is not verify


def test_what_is_bad_here_and_there_is_lost(stocked: Store, target: Layout) -> None:
    back_up(stocked, target)
    spoil(file_of(stocked.layout, BASE))  # the same file as the backup's
    report = back_up(stocked, target, verify=True)
    assert report.lost == [str(Digest.of(BASE))]
    assert not os.path.exists(file_of(target, BASE))
    assert os.path.exists(file_of(stocked.layout, BASE))


# -- what the root lacks -------------------------------------------------------------------------------


def test_a_file_that_is_gone_is_reported_and_marked(stocked: Store, target: Layout) -> None:
    os.unlink(file_of(stocked.layout, TOP))
    spoil(file_of(stocked.layout, BASE))
    report = back_up(stocked, target, copy=True)
    assert sorted(report.lost) == sorted([str(Digest.of(TOP)), str(Digest.of(BASE))])
    assert (report.blobs, report.copied) == (BLOBS - 2, BLOBS - 2)
    assert not [problem for problem in look(target.root).problems if "has no file" in problem]
    with closing(open_store(target.root)) as store, pytest.raises(BlobMissing):
        asyncio.run(store.names.links.find("app", Digest.of(TOP)))


def test_what_the_root_has_lost_the_backup_keeps(stocked: Store, target: Layout, folder: str) -> None:
    back_up(stocked, target, copy=True)
    digest = Digest.of(BASE)
    os.unlink(file_of(stocked.layout, BASE))
    asyncio.run(stocked.names.links.lose(digest, lambda: True))
    report = back_up(stocked, target, copy=True)
    assert (report.saved, report.lost, report.removed) == ([str(digest)], [], 0)
    assert sound(target.root)
    bring_back(target, f"{folder}/again")
    assert os.path.exists(file_of(Layout(f"{folder}/again"), BASE))


def test_a_bad_one_is_not_kept_for_that(stocked: Store, target: Layout) -> None:
    back_up(stocked, target)
    digest = Digest.of(BASE)
    spoil(file_of(stocked.layout, BASE))
    stocked.blobs.quarantine(digest)
    asyncio.run(stocked.names.links.lose(digest, lambda: True))
    report = back_up(stocked, target)
    assert (report.saved, report.lost) == ([], [str(digest)])
    assert not os.path.exists(file_of(target, BASE))


def test_deleted_content_goes_and_is_not_lost(stocked: Store, target: Layout) -> None:
    """Nobody has it any more, and the collector has taken its file already."""
    back_up(stocked, target)
    asyncio.run(World(stocked).app.delete_blob(Digest.of(SPARE)))
    os.unlink(file_of(stocked.layout, SPARE))
    os.unlink(file_of(target, SPARE))
    report = back_up(stocked, target)
    assert report.lost == []
    assert sound(target.root)


def test_a_damaged_index_takes_no_sound_ones_place(stocked: Store, target: Layout, root: str) -> None:
    back_up(stocked, target)
    bring_back(target, root)
    copy = Layout(f"{target.root}2")
    files = Files(copy.degraded, durable=False)
    backup(Layout(root), copy, files)
    before = look(copy.root).names
    damage_a_page(Layout(root).index)
    with pytest.raises(IndexFailed, match="damaged"):
        backup(Layout(root), copy, files)
    assert look(copy.root).names == before
    assert sound(copy.root)


# -- who is in the way ---------------------------------------------------------------------------------


def test_pushes_go_on_meanwhile(stocked: Store, target: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes after the snapshot is in the next one."""
    real = snapshot

    def snapshot_and_push(source: str, path: str, files: Files) -> None:
        real(source, path, files)
        asyncio.run(push_blob(stocked, "late", FRESH))

    monkeypatch.setattr(module, "snapshot", snapshot_and_push)
    back_up(stocked, target)
    assert sound(target.root)
    assert not os.path.exists(file_of(target, FRESH))


def test_collector_and_evictor_wait_while_blobs_are_taken(
    stocked: Store, target: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []
    real = snapshot

    def snapshot_and_collect(source: str, path: str, files: Files) -> None:
        real(source, path, files)
        for lock in (stocked.layout.gc_lock, stocked.layout.evict_lock):
            with pytest.raises(StoreBusy):
                held(lock, "").__enter__()
        with still(stocked.layout, "", shared=True):  # another backup does not
            tried.append(path)

    monkeypatch.setattr(module, "snapshot", snapshot_and_collect)
    back_up(stocked, target)
    assert tried
    with still(stocked.layout, ""):
        pass


@pytest.mark.parametrize("whose", ["root", "folder"])
@pytest.mark.parametrize("lock", ["gc_lock", "evict_lock"])
def test_it_waits_for_a_collection_but_not_for_ever(
    stocked: Store, target: Layout, monkeypatch: pytest.MonkeyPatch, whose: str, lock: str
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    back_up(stocked, target)
    busy = stocked.layout if whose == "root" else target
    with held(getattr(busy, lock), ""), pytest.raises(StoreBusy, match="a collection or an eviction"):
        back_up(stocked, target)


def test_a_folder_that_is_served_is_refused(stocked: Store, target: Layout) -> None:
    back_up(stocked, target)
    names = look(target.root).names
    change(stocked)
    with closing(open_store(target.root)) as served:
        session = asyncio.run(begin(served, b"half"))
    with closing(open_store(target.root)), pytest.raises(StoreBusy, match="has the folder open: stop it"):
        back_up(stocked, target)
    assert look(target.root).names == names
    assert os.listdir(target.uploads) == [session]
    back_up(stocked, target)
    assert os.listdir(target.uploads) == []


def test_a_folder_that_is_served_in_the_meantime_is_left_alone(
    stocked: Store, target: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_up(stocked, target)
    names = look(target.root).names
    change(stocked)
    real = snapshot
    opened: list[Store] = []

    def snapshot_and_serve(source: str, path: str, files: Files) -> None:
        real(source, path, files)
        opened.append(open_store(target.root))

    monkeypatch.setattr(module, "snapshot", snapshot_and_serve)
    with pytest.raises(StoreBusy):
        back_up(stocked, target)
    assert look(target.root).names == names
    assert sound(target.root)
    opened[0].close()


# -- which folders are refused -------------------------------------------------------------------------


def a_file_of_someone(target: Layout, _: Store) -> None:
    os.mkdir(target.root)
    Path(f"{target.root}/letter.txt").write_text("dear all")


def a_registry(target: Layout, _: Store) -> None:
    open_store(target.root, durable=False).close()


def anothers_backup(target: Layout, store: Store) -> None:
    other = Layout(f"{target.root}-root")
    open_store(other.root, durable=False).close()
    backup(other, target, Files(target.degraded, durable=False))


def a_newer_format(target: Layout, store: Store) -> None:
    back_up(store, target)
    os.unlink(target.format)
    Path(target.format).write_text("oci-registry 2\n")


def served_with(
    push: Callable[[Store], Awaitable[object]], machine: Machine | None = None
) -> Callable[[Layout, Store], None]:
    """A backup that has taken a push, also in the second in which it was made."""

    def make(target: Layout, store: Store) -> None:
        back_up(store, target)
        with closing(open_store(target.root, durable=False, machine=machine)) as opened:
            asyncio.run(push(opened))  # type: ignore[arg-type]

    return make


async def _push(store: Store) -> None:
    await push_blob(store, "a", b"new")


async def _mount(store: Store) -> None:
    await store.names.links.claim("elsewhere", Digest.of(BASE), store.blobs.size)


async def _retag(store: Store) -> None:
    await World(store).app.put_manifest(Tag("more"), ONE, OCI_IMAGE)


BEHIND = Machine("another boot", wall=lambda: time.time() - 40 * 86400)


STRANGE: dict[str, tuple[Callable[[Layout, Store], object], str]] = {
    "someone's files": (a_file_of_someone, r"is not empty \(letter.txt\): choose an empty folder"),
    "a registry": (a_registry, "is a registry of its own: choose an empty folder"),
    "another's backup": (anothers_backup, "is the backup of .*-root, not the backup of"),
    "a newer format": (a_newer_format, "says 'oci-registry 2': use the program that wrote it"),
    "a push": (served_with(_push), "has taken pushes since its last backup, which would go"),
    "a mount": (served_with(_mount), "has taken pushes"),
    "a tag": (served_with(_retag), "has taken pushes"),
    "a push by a clock that is off": (served_with(_push, BEHIND), "has taken pushes"),
}


@pytest.mark.parametrize(("make", "why"), STRANGE.values(), ids=STRANGE)
def test_folders_that_are_refused(
    stocked: Store, target: Layout, make: Callable[[Layout, Store], object], why: str
) -> None:
    make(target, stocked)
    before = {path: os.stat(path).st_mtime_ns for path in _all_below(target.root)}
    with pytest.raises(StoreUnusable, match=why):
        back_up(stocked, target)
    after = {path: os.stat(path).st_mtime_ns for path in _all_below(target.root)}
    assert {path for path in after if before.get(path) != after[path]} <= {target.root, target.index}


@pytest.mark.parametrize("off", [-60 * 365, 0, 50 * 365], ids=["1966", "now", "2076"])
def test_a_push_is_told_whatever_the_stores_time_is(root: str, target: Layout, off: int) -> None:
    """The root's clock stays behind after a month without power, and the index has 32 bits for a time."""
    machine = Machine(read_boot(), wall=lambda: max(0.0, time.time() + off * 86400))
    with closing(open_store(root, durable=False, machine=machine)) as store:
        asyncio.run(push_blob(store, "a", b"one"))
        for _ in range(2):
            back_up(store, target)
        served_with(_push)(target, store)
        with pytest.raises(StoreUnusable, match="has taken pushes"):
            back_up(store, target)


def _all_below(root: str) -> Iterator[str]:
    for folder, _, names in os.walk(root):
        yield from (os.path.join(folder, name) for name in names)


@pytest.mark.parametrize("inside", ["", "/blobs", "/new/folder", "/..", "/../root/x"])
def test_one_inside_the_other_is_refused(stocked: Store, inside: str) -> None:
    target = Layout(os.path.abspath(stocked.layout.root + inside))
    with pytest.raises(StoreUnusable, match="one folder, or one is inside the other"):
        back_up(stocked, target)


def test_a_link_into_the_root_is_seen_through(stocked: Store, folder: str) -> None:
    os.symlink(stocked.layout.uploads, f"{folder}/innocent")
    with pytest.raises(StoreUnusable, match="one is inside the other"):
        back_up(stocked, Layout(f"{folder}/innocent/backup"))


def test_a_folder_on_a_failing_disk_is_refused(stocked: Store, target: Layout) -> None:
    back_up(stocked, target)
    Path(target.degraded).write_text("fsync failed")
    with pytest.raises(StoreDegraded):
        back_up(stocked, target)


def test_the_file_systems_own_folder_is_nobodys(stocked: Store, target: Layout) -> None:
    os.makedirs(f"{target.root}/lost+found")
    back_up(stocked, target)
    assert os.path.exists(target.format)


# -- and back ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("there", [False, True], ids=["absent", "empty"])
def test_a_restored_root_is_one_of_its_own(stocked: Store, target: Layout, root: str, there: bool) -> None:
    back_up(stocked, target)
    if there:
        os.mkdir(root)
    report = bring_back(target, root)
    assert (report.blobs, report.copied, report.lost) == (BLOBS, BLOBS, [])
    assert sound(root)
    assert same_names(root, stocked.layout.root)
    assert not os.path.samefile(file_of(Layout(root), BASE), file_of(target, BASE))
    assert not os.path.exists(Layout(root).origin)
    back_up_of_it = Layout(f"{root}-backup")
    backup(Layout(root), back_up_of_it, Files(back_up_of_it.degraded, durable=False))


def test_any_root_can_be_restored_from_even_one_that_is_served(stocked: Store, root: str) -> None:
    bring_back(stocked.layout, root)
    assert sound(root)
    assert same_names(root, stocked.layout.root)


@pytest.mark.parametrize("command", [backup, restore])
def test_an_older_programs_index_is_brought_up_to_date(
    root: str, target: Layout, command: Callable[[Layout, Layout, Files], Report]
) -> None:
    open_store(root, durable=False).close()
    os.unlink(f"{root}/index.db")
    with closing(sqlite3.connect(f"{root}/index.db")) as index:
        index.executescript((resources.files("storage") / MIGRATIONS[0]).read_text())
        index.execute("PRAGMA user_version=1")
    command(Layout(root), target, Files(target.degraded, durable=False))
    assert sound(target.root)
    for path, version in ((f"{root}/index.db", 1), (target.index, len(MIGRATIONS))):
        with closing(sqlite3.connect(path)) as index:
            assert index.execute("PRAGMA user_version").fetchone() == (version,)


def test_every_byte_is_verified(stocked: Store, target: Layout, root: str) -> None:
    back_up(stocked, target, copy=True)
    spoil(file_of(target, CONFIG))
    os.unlink(file_of(target, TOP))
    report = bring_back(target, root)
    assert sorted(report.lost) == sorted([str(Digest.of(CONFIG)), str(Digest.of(TOP))])
    assert report.copied == BLOBS - 2
    assert not os.path.exists(file_of(Layout(root), CONFIG))
    assert not [problem for problem in look(root).problems if "no file" in problem or "hash" in problem]


def test_a_root_that_is_there_is_left_alone(stocked: Store, target: Layout, root: str) -> None:
    back_up(stocked, target)
    open_store(root, durable=False).close()
    with pytest.raises(StoreUnusable, match=r"a registry of its own: .*move what is there aside"):
        bring_back(target, root)
    bring_back(target, f"{root}2")
    with pytest.raises(StoreUnusable, match="a registry of its own"):
        bring_back(target, f"{root}2")


def test_an_unfinished_backup_is_not_restored(stocked: Store, target: Layout, root: str) -> None:
    back_up(stocked, target)
    os.unlink(target.format)
    with pytest.raises(StoreUnusable, match="no backup, or an unfinished one"):
        bring_back(target, root)
    assert not os.path.exists(root)


@pytest.mark.parametrize("command", ["backup", "restore"])
def test_an_interrupted_one_is_not_served_and_goes_on(
    stocked: Store, target: Layout, root: str, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr("storage.filling._THREADS", 1)
    act = (lambda: back_up(stocked, target, copy=True)) if command == "backup" else None
    made = target
    if act is None:
        back_up(stocked, target)
        made = Layout(root)
        act = lambda: bring_back(target, root)  # noqa: E731
    real = Transfer.copy
    left = iter(range(4))

    def copy(self: Transfer, digest: Digest, size: int) -> bool:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return real(self, digest, size)

    monkeypatch.setattr(Transfer, "copy", copy)
    with pytest.raises(KeyboardInterrupt):
        act()
    with pytest.raises(StoreUnusable, match=f"is an unfinished copy .{command} of .*repeat the command"):
        open_store(made.root)
    monkeypatch.setattr(Transfer, "copy", real)
    report = act()
    assert (report.kept, report.copied) == (4, BLOBS - 4)
    assert sound(made.root)


# -- users and robots ----------------------------------------------------------------------------------


def put(layout: Layout, path: str, data: bytes) -> None:
    Secrets(Files(layout.degraded, durable=False), layout).replace(path, data)


def of(layout: Layout) -> dict[str, bytes]:
    """What there is of accounts, and nothing that others may read."""
    paths = [layout.htpasswd, *(os.path.join(layout.secrets, name) for name in secret_names(layout))]
    there = [path for path in paths if os.path.exists(path)]
    assert {stat.S_IMODE(os.stat(path).st_mode) for path in there} <= {0o600}
    return {os.path.basename(path): Path(path).read_bytes() for path in there}


def secret_names(layout: Layout) -> list[str]:
    return os.listdir(layout.secrets) if os.path.exists(layout.secrets) else []


def test_users_and_robots_are_taken_along_and_keys_are_not(stocked: Store, target: Layout, root: str) -> None:
    put(stocked.layout, stocked.layout.htpasswd, b"users")
    put(stocked.layout, stocked.layout.robots, b"robots")
    Secrets(Files(stocked.layout.degraded, durable=False), stocked.layout).key("tokens")
    back_up(stocked, target)
    assert of(target) == {"htpasswd": b"users", "robots.json": b"robots"}
    bring_back(target, root)
    assert of(Layout(root)) == of(target)
    put(stocked.layout, stocked.layout.htpasswd, b"")
    os.unlink(stocked.layout.robots)
    back_up(stocked, target)
    assert of(target) == {"htpasswd": b""}
    open_store(root, durable=False).close()
    open_store(target.root, durable=False).close()


def test_no_copy_can_be_served_before_it_has_its_users(stocked: Store, target: Layout, root: str) -> None:
    put(stocked.layout, stocked.layout.htpasswd, b"users")
    for act, layout in ((backup, target), (restore, Layout(root))):
        probe = Recorder()
        act(stocked.layout, layout, Files(layout.degraded, probe=probe))
        order = [name for call, name in probe.calls if call == "rename"]
        assert order.index("htpasswd") < order.index("index.db") < order.index("format")
