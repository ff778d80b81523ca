"""No link below a root is followed, whatever it stands for."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from storage.below import open_below, require_plain
from storage.digest import Digest
from storage.errors import StoreUnusable
from storage.store import Store, open_store

DATA = b"content"
DIGEST = Digest.of(DATA)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """ROOT/a/b/file, reached through a link: the root itself may be one."""
    (tmp_path / "real/a/b").mkdir(parents=True)
    (tmp_path / "real/a/b/file").write_bytes(DATA)
    (tmp_path / "real/top").write_bytes(DATA)
    (tmp_path / "root").symlink_to(tmp_path / "real")
    return tmp_path / "root"


def read(root: Path, name: str) -> bytes:
    descriptor = open_below(str(root), str(root / name), os.O_RDONLY)
    try:
        assert not os.get_inheritable(descriptor)
        return os.read(descriptor, 100)
    finally:
        os.close(descriptor)


def test_what_is_there_is_opened(tree: Path) -> None:
    assert read(tree, "a/b/file") == read(tree, "top") == DATA
    require_plain(str(tree), str(tree / "a/b/absent"))
    require_plain(str(tree), str(tree / "absent"))


def test_a_path_elsewhere_is_taken_as_it_is(tree: Path, tmp_path: Path) -> None:
    """A file that the settings name may lie behind any link."""
    (tmp_path / "elsewhere").write_bytes(DATA)
    (tmp_path / "way").symlink_to(tmp_path)
    os.close(open_below(str(tree), str(tmp_path / "way/elsewhere"), os.O_RDONLY))
    require_plain(str(tree), str(tmp_path / "way/absent"))


def swap(path: Path) -> None:
    """A link in its place, to what was there."""
    moved = path.with_name(f"{path.name}.moved")
    path.rename(moved)
    path.symlink_to(moved)


@pytest.mark.parametrize("folder", ["a", "a/b"])
def test_a_link_in_a_folders_place(tree: Path, folder: str) -> None:
    swap(tree / folder)
    assert (tree / "a/b/file").read_bytes() == DATA
    before = len(os.listdir("/dev/fd"))
    with pytest.raises(NotADirectoryError, match=f"is no folder.*/root/{folder}'"):
        read(tree, "a/b/file")
    with pytest.raises(NotADirectoryError):
        require_plain(str(tree), str(tree / "a/b/absent"))
    assert len(os.listdir("/dev/fd")) == before


def test_a_link_in_a_files_place(tree: Path) -> None:
    for name in ("a/b/file", "top"):
        swap(tree / name)
        with pytest.raises(OSError, match="symbolic links"):
            read(tree, name)


def test_what_is_absent_is_named(tree: Path) -> None:
    for name in ("absent", "a/absent", "absent/file", "a/absent/file"):
        with pytest.raises(FileNotFoundError) as raised:
            read(tree, name)
        assert str(raised.value.filename).endswith("/absent")


def write_again(store: Store) -> None:
    store.blobs._put(DIGEST, DATA)


CALLS: dict[str, Callable[[Store], object]] = {
    "read": lambda store: store.blobs._read(DIGEST),
    "write": write_again,
    "quarantine": lambda store: store.blobs.quarantine(DIGEST),
    "unlink": lambda store: store.blobs.unlink(DIGEST),
    "list": lambda store: store.blobs.list_shard(DIGEST, idle=0),
    "walk": lambda store: list(store.blobs.walk()),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("depth", [0, 1, 2], ids=["shard", "algorithm", "blobs"])
def test_nothing_is_read_or_changed_behind_a_link(
    store: Store, call: Callable[[Store], object], depth: int
) -> None:
    write_again(store)
    path = Path(store.layout.blob(DIGEST))
    folder = path.parents[depth]
    swap(folder)
    try:
        listed = sorted(os.listdir(path.parent))
        with pytest.raises(NotADirectoryError):
            call(store)
        assert sorted(os.listdir(path.parent)) == listed
    finally:
        folder.unlink()
        folder.with_name(f"{folder.name}.moved").rename(folder)


async def test_no_session_behind_a_link(store: Store) -> None:
    upload = await store.uploads.create()
    folder = Path(store.layout.uploads)
    swap(folder)
    try:
        with pytest.raises(NotADirectoryError):
            await store.uploads.create()
        with pytest.raises(NotADirectoryError):
            async with store.uploads.open(upload):
                pass
        assert os.listdir(folder) == [upload]
    finally:
        folder.unlink()
        folder.with_name("uploads.moved").rename(folder)


@pytest.mark.parametrize("name", ["blobs", "blobs/sha512", "blobs/sha256/00", "uploads", "quarantine"])
def test_no_start_with_a_link_below_the_root(root: str, name: str) -> None:
    open_store(root, durable=False).close()
    swap(Path(root, name))
    with pytest.raises(StoreUnusable, match=f"/root/{name} is a link"):
        open_store(root, durable=False)
