"""Keys made once, and small files changed whole, by any number of processes."""

import errno
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from storage.errors import StoreDegraded, StoreFull, StoreUnusable
from storage.files import Files, Probe
from storage.layout import Layout
from storage.secrets import Secrets
from storage.store import open_store
from tests.storage.probes import FailAt, Recorder, failure


def secrets_of(root: str, probe: Probe | None = None) -> Secrets:
    layout = Layout(root)
    return Secrets(Files(layout.degraded, probe=probe), layout)


def mode(path: str) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def test_a_key_is_made_once(root: str) -> None:
    key = secrets_of(root).key("tokens")
    assert len(key) == 32
    assert secrets_of(root).key("tokens") == key != secrets_of(root).key("names")
    path = Layout(root).key("tokens")
    assert [mode(each) for each in (root, os.path.dirname(path), path)] == [0o700, 0o700, 0o400]
    assert sorted(os.listdir(Layout(root).secrets)) == ["names.key", "tokens.key"]


def test_a_root_that_has_secrets_first_is_opened(root: str) -> None:
    secrets = secrets_of(root)
    key = secrets.key("tokens")
    secrets.replace(Layout(root).htpasswd, b"")
    with open(Layout(root).htpasswd + ".new", "w"):  # of one that was killed
        pass
    open_store(root, durable=False).close()
    assert secrets.key("tokens") == key


def test_nothing_is_made_before_it_is_needed(root: str) -> None:
    secrets_of(root)
    assert not os.path.exists(root)
    open_store(root, durable=False).close()
    assert not os.path.exists(Layout(root).secrets)


def test_threads_at_once_have_one_key(root: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: secrets_of(root).key("tokens"), range(32)))
    assert len(keys) == 1


_PROCESS = """
import sys
from storage.files import Files
from storage.layout import Layout
from storage.secrets import Secrets
layout = Layout(sys.argv[1])
secrets = Secrets(Files(layout.degraded), layout)
sys.stdin.read(1)
print(secrets.key("tokens").hex())
"""


def test_processes_at_once_have_one_key(root: str) -> None:
    command = [sys.executable, "-c", _PROCESS, root]
    pipe = subprocess.PIPE
    running = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(3)]
    keys = {process.communicate("x", timeout=30)[0] for process in running}
    assert len(keys) == 1
    assert keys == {secrets_of(root).key("tokens").hex() + "\n"}


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", "a.key", "A", "x" * 33, "a\n"])
def test_names_that_are_none(root: str, name: str) -> None:
    with pytest.raises(ValueError, match="no name of a key"):
        secrets_of(root).key(name)


def test_a_file_that_is_no_key_says_so(root: str) -> None:
    secrets_of(root).replace(path := Layout(root).key("tokens"), b"short")
    with pytest.raises(StoreUnusable, match="is no key of this program: it has 5 bytes, not 32; remove it"):
        secrets_of(root).key("tokens")
    assert content(path) == b"short"


def count(root: str, probe: Recorder) -> int:
    secrets_of(root, probe).replace(Layout(root).robots, b"new")
    return len(probe.begun)


def test_a_replacement_is_whole_or_not_at_all(folder: str) -> None:
    """Each call of it fails once; the next one works, whatever that left."""
    calls = count(f"{folder}/count", Recorder())
    assert calls > 8
    for number in range(calls):
        root = f"{folder}/{number}"
        path = Layout(root).robots
        with pytest.raises((OSError, StoreDegraded)):
            secrets_of(root, FailAt(number, failure(errno.EIO))).replace(path, b"new")
        assert not os.path.exists(path) or content(path) == b"new"
        with suppress(FileNotFoundError):
            os.unlink(Layout(root).degraded)
        secrets_of(root).replace(path, b"other")
        assert content(path) == b"other"
        assert set(os.listdir(Layout(root).secrets)) == {"robots.json"}


@pytest.mark.parametrize("what", ["replace", "key"])
def test_one_that_is_killed_leaves_all_or_nothing(folder: str, what: str) -> None:
    """In a process of its own, which ends without a word at one call after the other."""
    for number in range(40):
        root = f"{folder}/{number}"
        ended = subprocess.run(
            [sys.executable, "-c", _KILLED, root, what, str(number)], check=False, timeout=30
        ).returncode
        path = Layout(root).robots if what == "replace" else Layout(root).key("tokens")
        assert not os.path.exists(path) or len(content(path)) == 32
        key = secrets_of(root).key("tokens")
        assert secrets_of(root).key("tokens") == key
        secrets_of(root).replace(Layout(root).robots, b"other")
        assert set(os.listdir(Layout(root).secrets)) == {"robots.json", "tokens.key"}
        if not ended:
            break
    else:
        pytest.fail("it has more calls than are tried")
    assert number > 8


_KILLED = """
import os, signal, sys
from storage.files import Files
from storage.layout import Layout
from storage.secrets import Secrets
left = [int(sys.argv[3])]
def probe(moment, name, target):
    if moment == "before":
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
layout = Layout(sys.argv[1])
secrets = Secrets(Files(layout.degraded, probe=probe), layout)
if sys.argv[2] == "key":
    secrets.key("tokens")
else:
    secrets.replace(layout.robots, b"x" * 32)
"""


def test_no_room(root: str) -> None:
    secrets_of(root).replace(path := Layout(root).htpasswd, b"old")
    with pytest.raises(StoreFull):
        secrets_of(root, Recorder({("before", "write"): failure(errno.ENOSPC)})).replace(path, b"new")
    assert (content(path), os.listdir(root)) == (b"old", ["htpasswd"])


def test_modes(root: str, tmp_path: Path) -> None:
    secrets_of(root).replace(path := Layout(root).htpasswd, b"old")
    assert mode(path) == 0o600
    os.chmod(path, 0o664)  # its group is meant to read it
    secrets_of(root).replace(path, b"new")
    assert mode(path) == 0o640
    assert os.stat(path).st_uid == os.getuid()


def test_the_owner_stays(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where root changes the file of the user who serves."""
    secrets_of(root).replace(path := Layout(root).htpasswd, b"old")
    given: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    monkeypatch.setattr(os, "fchown", lambda _, uid, gid: given.append((uid, gid)))
    secrets_of(root).replace(path, b"new")
    assert given == [(os.stat(path).st_uid, os.stat(path).st_gid)]
    assert content(path) == b"new"


def test_a_link_stays(root: str, tmp_path: Path) -> None:
    secrets = secrets_of(root)
    secrets.replace(Layout(root).htpasswd, b"")
    os.unlink(Layout(root).htpasswd)
    os.symlink(tmp_path / "users", Layout(root).htpasswd)
    secrets.replace(Layout(root).htpasswd, b"new")
    assert os.path.islink(Layout(root).htpasswd)
    assert (tmp_path / "users").read_bytes() == b"new"


def test_edits_at_once_all_count(root: str) -> None:
    path = Layout(root).htpasswd

    def add(number: int) -> None:
        secrets_of(root).edit(path, lambda data: (data or b"") + b"%d\n" % number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(40)))
    assert sorted(map(int, content(path).split())) == list(range(40))


def test_an_edit_that_changes_nothing_writes_nothing(root: str) -> None:
    secrets_of(root).edit(path := Layout(root).htpasswd, lambda data: b"one" if data is None else data)
    before = os.stat(path)
    probe = Recorder()
    secrets_of(root, probe).edit(path, lambda data: data or b"")
    assert (os.stat(path).st_ino, probe.calls) == (before.st_ino, [])


def test_other_folders_are_not_made(root: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        secrets_of(root).replace(str(tmp_path / "none" / "htpasswd"), b"")
    assert os.listdir(tmp_path) == []
