"""Changes of the file system: their order, and what is left when one of them fails."""

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.errors import StoreDegraded, StoreFull
from storage.files import Files, Probe, temporary_root
from tests.storage.probes import NO_ROOM, FailAt, Recorder, failure


@pytest.fixture
def folder() -> Iterator[str]:
    with temporary_root() as folder:
        yield folder


def files_of(folder: str, probe: Probe | None = None, *, durable: bool = True) -> Files:
    return Files(os.path.join(folder, "degraded"), durable=durable, probe=probe)


def scene(folder: str) -> int:
    """A file `old` of four bytes, also open for appending."""
    descriptor = files_of(folder).create(os.path.join(folder, "old"))
    os.write(descriptor, b"data")
    return descriptor


def listing(folder: str) -> set[str]:
    return set(os.listdir(folder))


Call = Callable[[Files, str, int], object]
CALLS: dict[str, tuple[str, Call]] = {
    "mkdir": ("mkdir", lambda files, at, old: files.mkdir(f"{at}/new")),
    "protect": ("chmod", lambda files, at, old: files.protect(at)),
    "create": ("create", lambda files, at, old: os.close(files.create(f"{at}/new"))),
    "append": ("write", lambda files, at, old: files.append(old, [b"more"])),
    "truncate": ("truncate", lambda files, at, old: files.truncate(old, 1)),
    "fsync": ("fsync", lambda files, at, old: files.fsync(old, f"{at}/old")),
    "fsync_folder": ("fsync", lambda files, at, old: files.fsync_folder(at)),
    "chmod": ("chmod", lambda files, at, old: files.chmod(old, 0o400)),
    "link": ("link", lambda files, at, old: files.link(f"{at}/old", f"{at}/new")),
    "rename": ("rename", lambda files, at, old: files.rename(f"{at}/old", f"{at}/new")),
    "unlink": ("unlink", lambda files, at, old: files.unlink(f"{at}/old")),
}
single_calls = pytest.mark.parametrize(("name", "act"), CALLS.values(), ids=CALLS)


@single_calls
def test_every_call_is_recorded(folder: str, name: str, act: Call) -> None:
    seen: list[tuple[str, str]] = []
    old = scene(folder)
    act(files_of(folder, lambda moment, name, target: seen.append((moment, name))), folder, old)
    assert seen == [("before", name), ("after", name)]
    os.close(old)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("code", [errno.EIO, *NO_ROOM], ids=errno.errorcode.get)
@single_calls
def test_every_call_can_be_made_to_fail(folder: str, name: str, act: Call, code: int, moment: str) -> None:
    old = scene(folder)
    files = files_of(folder, Recorder({(moment, name): failure(code)}))
    expected = StoreDegraded if name == "fsync" else StoreFull if code in NO_ROOM else OSError
    with pytest.raises(expected):
        act(files, folder, old)
    os.close(old)


@single_calls
def test_a_call_that_fails_before_it_acts_changes_nothing(folder: str, name: str, act: Call) -> None:
    old = scene(folder)
    before = (listing(folder), os.fstat(old).st_size, os.fstat(old).st_mode)
    with pytest.raises((OSError, StoreDegraded)):
        act(files_of(folder, Recorder({("before", name): failure(errno.EIO)})), folder, old)
    assert (listing(folder) - {"degraded"}, os.fstat(old).st_size, os.fstat(old).st_mode) == before
    os.close(old)


def test_what_is_missing_says_so(folder: str) -> None:
    files = files_of(folder)
    for act in (
        lambda: files.rename(f"{folder}/none", f"{folder}/new"),
        lambda: files.link(f"{folder}/none", f"{folder}/new"),
        lambda: files.open_append(f"{folder}/none"),
    ):
        with pytest.raises(FileNotFoundError):
            act()
    files.unlink(f"{folder}/none")


def test_nothing_is_created_over_something(folder: str) -> None:
    os.symlink(f"{folder}/elsewhere", f"{folder}/link")
    os.close(scene(folder))
    for name in ("link", "old"):
        with pytest.raises(FileExistsError):
            files_of(folder).create(f"{folder}/{name}")
    assert listing(folder) == {"link", "old"}


def test_links_are_not_opened(folder: str) -> None:
    os.close(scene(folder))
    os.symlink(f"{folder}/old", f"{folder}/link")
    with pytest.raises(OSError, match="symbolic links"):
        files_of(folder).open_append(f"{folder}/link")


def test_modes_leave_everything_to_the_owner(folder: str) -> None:
    files = files_of(folder)
    files.mkdir(f"{folder}/a/b")
    os.chmod(folder, 0o755)
    files.protect(folder)
    descriptor = files.create(f"{folder}/new")
    assert [stat.S_IMODE(os.stat(path).st_mode) for path in (folder, f"{folder}/a/b")] == [0o700] * 2
    assert stat.S_IMODE(os.fstat(descriptor).st_mode) == 0o600
    os.close(descriptor)


def test_the_folder_of_another_stays_as_it_is(folder: str) -> None:
    files_of(folder, Recorder({("before", "chmod"): failure(errno.EPERM)})).protect(folder)


def test_a_sealed_file_opens_for_reading(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    old = scene(folder)
    os.fchmod(old, 0o400)
    real = os.open

    def as_another_than_root(path: str, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_ACCMODE != os.O_RDONLY and not os.stat(path).st_mode & stat.S_IWUSR:
            raise failure(errno.EACCES)
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", as_another_than_root)
    with closing(os.fdopen(files_of(folder).open_append(f"{folder}/old"), "rb")) as file:
        assert file.read() == b"data"
    os.close(old)


# -- appending -----------------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=9), max_size=12), st.integers(1, 20))
@settings(max_examples=60)
def test_short_writes_are_taken_up_where_they_ended(chunks: list[bytes], most: int) -> None:
    real = os.writev

    def short(descriptor: int, vector: list[memoryview]) -> int:
        return real(descriptor, [b"".join(vector)[:most]])

    with temporary_root() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "writev", short)
        descriptor = scene(folder)
        files_of(folder).append(descriptor, chunks)
        assert os.pread(descriptor, 1000, 0) == b"data" + b"".join(chunks)
        os.close(descriptor)


def test_more_chunks_than_one_vector_takes(folder: str) -> None:
    descriptor = scene(folder)
    probe = Recorder()
    files_of(folder, probe).append(descriptor, [b"%d," % number for number in range(3000)])
    assert os.pread(descriptor, 2**20, 4) == b"".join(b"%d," % number for number in range(3000))
    assert probe.names == ["write"] * 3
    os.close(descriptor)


def test_a_full_disk_keeps_what_was_written(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real, room = os.writev, [3, 2]

    def filling(descriptor: int, vector: list[memoryview]) -> int:
        if not room:
            raise failure(errno.ENOSPC)
        return real(descriptor, [b"".join(vector)[: room.pop()]])

    monkeypatch.setattr(os, "writev", filling)
    descriptor = scene(folder)
    with pytest.raises(StoreFull, match="disk is full"):
        files_of(folder).append(descriptor, [b"abcd", b"efgh"])
    assert os.pread(descriptor, 100, 4) == b"abcde"
    os.close(descriptor)


# -- installing ----------------------------------------------------------------------------------------


def install(files: Files, folder: str) -> None:
    """`old` as `final`."""
    descriptor = os.open(f"{folder}/old", os.O_RDWR)
    try:
        files.install(descriptor, f"{folder}/old", f"{folder}/old.new", f"{folder}/final")
    finally:
        os.close(descriptor)


def write(files: Files, folder: str) -> None:
    files.write_file(f"{folder}/temporary", f"{folder}/final", b"data")


Install = Callable[[Files, str], None]
both = pytest.mark.parametrize("put", [install, write])


def content(path: str) -> tuple[bytes, int]:
    with open(path, "rb") as file:
        return file.read(), stat.S_IMODE(os.fstat(file.fileno()).st_mode)


def test_install_syncs_before_it_names_and_the_folder_before_it_returns(folder: str) -> None:
    os.close(scene(folder))
    probe = Recorder()
    install(files_of(folder, probe), folder)
    assert probe.names == ["chmod", "fsync", "link", "rename", "fsync"]
    assert [target for _, target in probe.calls[2:]] == ["old.new", "final", os.path.basename(folder)]
    assert probe.calls[1] == ("fsync", "old"), "the mode is synced too"
    assert listing(folder) == {"old", "final"}
    assert content(f"{folder}/final") == (b"data", 0o400)
    assert os.path.samefile(f"{folder}/old", f"{folder}/final")


def test_a_small_file_is_synced_before_it_is_named_and_its_folder_before_it_returns(folder: str) -> None:
    probe = Recorder()
    write(files_of(folder, probe), folder)
    assert probe.names == ["create", "write", "chmod", "fsync", "rename", "fsync"]
    assert probe.calls[3][1] == "temporary"
    assert probe.calls[-1][1] == os.path.basename(folder)
    assert listing(folder) == {"final"}
    assert content(f"{folder}/final") == (b"data", 0o400)


@both
def test_without_durability_nothing_is_synced(folder: str, put: Install) -> None:
    os.close(scene(folder))
    probe = Recorder()
    put(files_of(folder, probe, durable=False), folder)
    assert "fsync" not in probe.begun
    assert content(f"{folder}/final") == (b"data", 0o400)


@both
@pytest.mark.parametrize("code", [errno.EIO, *NO_ROOM], ids=errno.errorcode.get)
def test_whichever_call_fails_nothing_half_done_is_visible(folder: str, put: Install, code: int) -> None:
    """Also that a repetition without the failure then succeeds, but for what could not be synced."""
    for number in range(100):
        with temporary_root() as place:
            os.close(scene(place))
            probe = FailAt(number, failure(code))
            with suppress(OSError, StoreFull, StoreDegraded):
                put(files_of(place, probe), place)
            if len(probe.begun) <= number:
                break
            named = "rename" in probe.begun[:number]
            assert os.path.exists(f"{place}/final") is named
            assert os.path.exists(f"{place}/degraded") is (probe.begun[number] == "fsync")
            assert not os.path.exists(f"{place}/temporary")
            if os.path.exists(f"{place}/old"):
                put(files_of(place), place)
                assert content(f"{place}/final") == (b"data", 0o400)
            else:
                assert put is install
                assert probe.begun[number] == "fsync"
    assert 5 < number < 9


@both
def test_a_bad_file_is_replaced(folder: str, put: Install) -> None:
    os.close(scene(folder))
    with open(f"{folder}/final", "wb") as file:
        file.write(b"rotten bytes")
    with open(f"{folder}/old.new", "wb") as file:
        file.write(b"left by a crash")
    put(files_of(folder), folder)
    assert content(f"{folder}/final") == (b"data", 0o400)


@pytest.mark.parametrize("planted", ["link", "folder link"])
@both
def test_a_planted_link_is_replaced_not_followed(folder: str, put: Install, planted: str) -> None:
    os.close(scene(folder))
    outside = f"{folder}/outside"
    os.mkdir(outside)
    os.symlink(outside if planted == "folder link" else f"{outside}/file", f"{folder}/final")
    put(files_of(folder), folder)
    assert not os.path.islink(f"{folder}/final")
    assert content(f"{folder}/final") == (b"data", 0o400)
    assert listing(outside) == set()


def test_installing_again_only_syncs(folder: str) -> None:
    os.close(scene(folder))
    install(files_of(folder), folder)
    probe = Recorder()
    install(files_of(folder, probe), folder)
    assert probe.names == ["chmod", "fsync", "fsync"]
    assert content(f"{folder}/final") == (b"data", 0o400)


# -- the latch -----------------------------------------------------------------------------------------


def test_a_failed_sync_is_final(folder: str) -> None:
    os.close(scene(folder))
    probe = Recorder({("before", "fsync"): failure(errno.EIO)})
    files, other = files_of(folder, probe), files_of(folder)
    files.require_sound()
    other.require_sound()
    with pytest.raises(StoreDegraded, match=r"fsync of old failed .*Input/output error"):
        install(files, folder)
    assert probe.begun == ["chmod", "fsync", "unlink"]
    assert listing(folder) == {"degraded"}
    for each in (files, other, files_of(folder)):
        with pytest.raises(StoreDegraded, match="fsck"):
            each.require_sound()
    assert b"fsync of old failed" in content(f"{folder}/degraded")[0]


def test_a_failed_sync_of_a_small_file_leaves_none_of_it(folder: str) -> None:
    probe = Recorder({("before", "fsync"): failure(errno.EIO)})
    with pytest.raises(StoreDegraded):
        write(files_of(folder, probe), folder)
    assert probe.begun == ["create", "write", "chmod", "fsync", "unlink"]
    assert listing(folder) == {"degraded"}


def test_a_disk_that_takes_no_marker_still_stops_this_process(folder: str) -> None:
    os.close(scene(folder))
    os.symlink("nowhere", f"{folder}/degraded")
    files = files_of(folder, Recorder({("before", "fsync"): failure(errno.EROFS)}))
    with pytest.raises(StoreDegraded):
        install(files, folder)
    with pytest.raises(StoreDegraded):
        files.require_sound()
    files_of(folder).require_sound()
    files.unlatch()
    files.require_sound()


def test_a_marker_that_cannot_be_filled_is_one(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, data: bytes) -> int:
        raise failure(errno.ENOSPC)

    monkeypatch.setattr(os, "write", full)
    assert isinstance(files_of(folder).latch("why"), StoreDegraded)
    with pytest.raises(StoreDegraded):
        files_of(folder).require_sound()


def test_unlatching_counts_for_every_process(folder: str) -> None:
    files, other = files_of(folder), files_of(folder)
    assert isinstance(files.latch("why"), StoreDegraded)
    files.latch("why again")
    other.unlatch()
    files.require_sound()


def test_an_ephemeral_store_never_latches_for_a_sync(folder: str) -> None:
    files = files_of(folder, Recorder({("before", "fsync"): failure(errno.EIO)}), durable=False)
    files.fsync_folder(f"{folder}/not even there")
    write(files, folder)
    files.require_sound()


def test_the_same_calls_in_two_threads_do_not_meet(folder: str) -> None:
    files = files_of(folder)
    threads = [
        threading.Thread(target=files.write_file, args=(f"{folder}/{number}.new", f"{folder}/final", b"x"))
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert listing(folder) == {"final"}
