"""One blob brought into another root: linked or copied, right or not at all."""

import asyncio
import errno
import os
import stat
from collections.abc import Iterator

import pytest

from storage.blobs import BlobStore
from storage.digest import Digest
from storage.files import Files, Probe
from storage.layout import Layout
from storage.store import Store
from storage.transfer import Transfer
from tests.storage.probes import Recorder, failure

DATA = b"data" * 600_000
DIGEST = Digest.of(DATA)


@pytest.fixture
def target(folder: str) -> Layout:
    layout = Layout(f"{folder}/target")
    for path in layout.folders():
        os.makedirs(path)
    return layout


@pytest.fixture
def path(store: Store) -> str:
    """Of the source's file."""
    asyncio.run(store.blobs.put(DIGEST, DATA))
    return store.layout.blob(DIGEST)


class Told(list[int]):
    def __call__(self, count: int) -> None:
        self.append(count)


@pytest.fixture
def told() -> Told:
    return Told()


def transfer(store: Store, target: Layout, told: Told, probe: Probe | None = None) -> Transfer:
    return Transfer(store.layout, target, Files(target.degraded, probe=probe), told)


def same_file(one: str, other: str) -> bool:
    return os.path.samefile(one, other)


def test_link(store: Store, path: str, target: Layout, told: Told) -> None:
    ours = transfer(store, target, told)
    assert ours.link(DIGEST, len(DATA))
    assert same_file(path, target.blob(DIGEST))
    assert (ours.linked, ours.copied, sum(told)) == (1, 0, len(DATA))


def test_copy(store: Store, path: str, target: Layout, told: Told) -> None:
    recorder = Recorder()
    ours = transfer(store, target, told, recorder)
    assert ours.copy(DIGEST, len(DATA))
    found = target.blob(DIGEST)
    with open(found, "rb") as file:
        assert file.read() == DATA
    assert not same_file(path, found)
    assert stat.S_IMODE(os.stat(found).st_mode) == 0o400
    assert (ours.linked, ours.copied, sum(told)) == (0, 1, len(DATA))
    assert recorder.names[-3:] == ["fsync", "chmod", "rename"]
    assert os.listdir(target.uploads) == []


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP])
def test_where_no_link_can_be_made_it_is_copied(
    store: Store, path: str, target: Layout, told: Told, code: int
) -> None:
    ours = transfer(store, target, told, Recorder({("before", "link"): failure(code)}))
    assert ours.link(DIGEST, len(DATA))
    assert (ours.linked, ours.copied) == (0, 1)
    assert not same_file(path, target.blob(DIGEST))


def test_another_failure_of_a_link_is_one(store: Store, path: str, target: Layout, told: Told) -> None:
    with pytest.raises(OSError, match="Input/output"):
        transfer(store, target, told, Recorder({("before", "link"): failure(errno.EIO)})).link(
            DIGEST, len(DATA)
        )


@pytest.mark.parametrize("way", ["link", "copy"])
def test_what_is_not_there_or_of_another_size_is_not_brought(
    store: Store, path: str, target: Layout, told: Told, way: str
) -> None:
    bring = getattr(transfer(store, target, told), way)
    assert not bring(Digest.of(b"absent"), 6)
    assert not bring(DIGEST, len(DATA) - 1)
    assert not os.path.lexists(target.blob(DIGEST))
    assert os.listdir(target.uploads) == []


def spoil(path: str) -> None:
    os.chmod(path, 0o600)
    with open(path, "r+b") as file:
        file.seek(2**20)
        file.write(b"X")


def test_bad_bytes_are_not_copied(store: Store, path: str, target: Layout, told: Told) -> None:
    spoil(path)
    assert not transfer(store, target, told).copy(DIGEST, len(DATA))
    assert not os.path.lexists(target.blob(DIGEST))
    assert os.listdir(target.uploads) == []


@pytest.mark.parametrize(("code", "bad"), [(errno.EIO, True), (errno.EMFILE, False)])
def test_a_disk_that_does_not_read(
    store: Store,
    path: str,
    target: Layout,
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    bad: bool,
) -> None:
    def pieces(_: BlobStore, __: Digest) -> Iterator[bytes]:
        yield DATA[:100]
        raise failure(code)

    monkeypatch.setattr(BlobStore, "pieces", pieces)
    ours = transfer(store, target, told)
    if bad:
        assert not ours.copy(DIGEST, len(DATA))
    else:
        with pytest.raises(OSError, match="Too many open files"):
            ours.copy(DIGEST, len(DATA))


@pytest.mark.parametrize("verify", [False, True])
def test_has(store: Store, path: str, target: Layout, told: Told, verify: bool) -> None:
    ours = transfer(store, target, told)
    assert not ours.has(DIGEST, len(DATA), verify=verify)
    ours.copy(DIGEST, len(DATA))
    assert ours.has(DIGEST, len(DATA), verify=verify)
    spoil(target.blob(DIGEST))
    assert ours.has(DIGEST, len(DATA), verify=verify) is not verify
    assert os.path.exists(target.blob(DIGEST)) is not verify


def test_a_symbolic_link_is_taken_away(store: Store, path: str, target: Layout, told: Told) -> None:
    ours = transfer(store, target, told)
    for source in ("/dev/null", path):
        os.symlink(source, target.blob(DIGEST))
        assert not ours.has(DIGEST, len(DATA), verify=False)
        assert ours.link(DIGEST, len(DATA))
        assert same_file(path, target.blob(DIGEST))
        assert not os.path.islink(target.blob(DIGEST))
        os.unlink(target.blob(DIGEST))


def test_a_copy_that_is_stopped_has_no_name(store: Store, path: str, target: Layout, told: Told) -> None:
    ours = transfer(store, target, told)
    ours.stop()
    assert not ours.copy(DIGEST, len(DATA))
    assert not os.path.lexists(target.blob(DIGEST))


def test_names_are_durable_once_settled(store: Store, path: str, target: Layout, told: Told) -> None:
    recorder = Recorder()
    ours = transfer(store, target, told, recorder)
    ours.link(DIGEST, len(DATA))
    ours.settle()
    ours.settle()
    assert recorder.calls == [("link", DIGEST.encoded), ("fsync", DIGEST.encoded[:2])]


def test_names_that_a_killed_run_left_are_durable_too(
    store: Store, path: str, target: Layout, told: Told
) -> None:
    transfer(store, target, told).link(DIGEST, len(DATA))
    recorder = Recorder()
    ours = transfer(store, target, told, recorder)
    assert ours.has(DIGEST, len(DATA), verify=False)
    ours.settle()
    assert recorder.calls == [("fsync", DIGEST.encoded[:2])]


def test_prune(store: Store, path: str, target: Layout, told: Told) -> None:
    ours = transfer(store, target, told)
    ours.link(DIGEST, len(DATA))
    stranger = f"{target.root}/blobs/sha256/00/stranger"
    open(stranger, "w").close()
    assert ours.prune(lambda digest: digest == DIGEST) == 0
    assert ours.prune(lambda _: False) == 1
    assert os.path.exists(path)
    assert os.path.exists(stranger)
    assert not os.path.exists(target.blob(DIGEST))


def test_a_file_of_another_size_is_taken_away(store: Store, path: str, target: Layout, told: Told) -> None:
    with open(target.blob(DIGEST), "wb") as file:
        file.write(DATA[:-1])
    ours = transfer(store, target, told)
    assert not ours.has(DIGEST, len(DATA), verify=False)
    assert ours.copy(DIGEST, len(DATA))
    assert ours.has(DIGEST, len(DATA), verify=True)
