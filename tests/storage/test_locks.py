"""Locks between processes: who waits, who is refused, and who has a file open."""

import fcntl
import math
import mmap
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from storage.errors import StoreBusy
from storage.files import make_lock
from storage.layout import Layout
from storage.locks import held, opened_elsewhere, rested, still, unserved
from storage.store import open_store

OPENER = "import sys; file = open(sys.argv[1]); print(flush=True); sys.stdin.read()"
# For as long as its input is open: two processes on one core may not meet within the first.
BUSY_OPENER = """
import select, sys
count = 0
while count < 20_000 or not select.select([sys.stdin], [], [], 0)[0]:
    open(sys.argv[1]).close()
    count += 1
"""


@pytest.fixture
def path(folder: str) -> str:
    return f"{folder}/lock"


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [(False, False, False), (True, False, False), (False, True, False), (True, True, True)],
    ids=["exclusive twice", "shared, exclusive", "exclusive, shared", "shared twice"],
)
def test_who_may_hold_it_together(path: str, first: bool, second: bool, both: bool) -> None:
    with held(path, "a collection is going on", shared=first):
        if both:
            with held(path, "", shared=second):
                return
        with pytest.raises(StoreBusy, match=f"^{path}: a collection is going on$"):
            held(path, "a collection is going on", shared=second).__enter__()
    with held(path, ""):
        pass


def _release_after(event: threading.Event, lock: int) -> None:
    event.wait(10)
    fcntl.flock(lock, fcntl.LOCK_UN)


def test_a_waiter_gets_it_when_it_is_free(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = threading.Event()
    monkeypatch.setattr(time, "sleep", lambda _: waiting.set())
    with held(path, "") as first:
        release = threading.Thread(target=_release_after, args=(waiting, first))
        release.start()
        with held(path, "", wait=20):
            assert waiting.is_set()
        release.join()


def test_a_waiter_is_refused_in_the_end(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 0.0, 59.9, 60.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(times))
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with held(path, "") as lock:
        assert lock > 0
        times = iter([0.0, 0.0, 59.9, 60.0])
        with pytest.raises(StoreBusy):
            held(path, "", wait=60).__enter__()
    assert next(times, None) is None


def test_only_what_was_done_counts_as_done(path: str) -> None:
    assert rested(path) == math.inf
    with held(path, "") as lock:
        assert rested(path) > 10**9
        os.utime(lock)
        assert 0 <= rested(path) < 10
    os.utime(path, (time.time() + 100,) * 2)
    assert rested(path) == math.inf, "the clock was set back"


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a folder to another user")
def test_a_lock_that_root_makes_is_the_server_s(path: str, folder: str) -> None:
    os.chown(folder, 65534, 65533)
    with held(path, ""):
        found = os.stat(path)
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (65534, 65533, 0o600)


def test_who_makes_it_first(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def make_late(path: str) -> int:
        made.append(make_lock(path))
        return make_lock(path)

    monkeypatch.setattr("storage.locks.make_lock", make_late)
    with held(path, "") as lock:
        assert os.fstat(lock).st_ino == os.fstat(made[0]).st_ino
    os.close(*made)


def test_both_locks_are_waited_for_together(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds
        if now[0] > 6:
            for lock in collecting:
                fcntl.flock(lock, fcntl.LOCK_UN)

    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", sleep)
    layout = Layout(folder)
    collecting = [os.open(layout.gc_lock, os.O_RDONLY | os.O_CREAT, 0o600)]
    fcntl.flock(collecting[0], fcntl.LOCK_EX)
    with held(layout.evict_lock, ""), pytest.raises(StoreBusy, match=r"evict\.lock"):
        still(layout, "", wait=10).__enter__()
    assert now[0] == pytest.approx(10, abs=0.2)


def test_no_link_is_followed(path: str, folder: str) -> None:
    os.symlink(f"{folder}/elsewhere", path)
    with pytest.raises(OSError, match="symbolic"):
        held(path, "").__enter__()


@pytest.fixture
def other(path: str) -> Iterator["subprocess.Popen[str]"]:
    """A process that has the file open."""
    open(path, "w").close()
    with subprocess.Popen(
        [sys.executable, "-c", OPENER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        process.stdout.readline()
        yield process


def test_another_process_that_has_it_open_is_seen(path: str, other: "subprocess.Popen[str]") -> None:
    with held(path, "") as lock:
        assert opened_elsewhere(lock)
        other.communicate()
        assert not opened_elsewhere(lock)


def test_a_mapping_counts_as_open(path: str) -> None:
    with open(path, "wb+") as file:
        file.write(b"12345678")
        file.flush()
        mapped = mmap.mmap(file.fileno(), 8, mmap.MAP_SHARED, mmap.PROT_READ)
    with held(path, "") as lock:
        assert opened_elsewhere(lock)
        mapped.close()
        assert not opened_elsewhere(lock)


def test_an_open_store_is_seen(root: str) -> None:
    with closing(open_store(root, durable=False)) as store, held(store.layout.write_lock, "") as lock:
        assert opened_elsewhere(lock)
    with held(store.layout.write_lock, "") as lock:
        assert not opened_elsewhere(lock)


@pytest.mark.parametrize("leases", [True, False])
@pytest.mark.parametrize("serving", [True, False])
def test_a_root_that_is_served_is_told_also_without_leases(
    root: str, monkeypatch: pytest.MonkeyPatch, serving: bool, leases: bool
) -> None:
    if not leases:
        monkeypatch.delattr(fcntl, "F_SETLEASE")
    layout = Layout(root)
    with closing(open_store(root, durable=False, serving=serving)):
        if serving or leases:
            with (
                pytest.raises(StoreBusy, match=f"^{root}.*: stop it first$"),
                unserved(layout, "stop it first"),
            ):
                raise AssertionError("somebody has it open")
    with unserved(layout, ""):
        for lock in (layout.serving_lock, layout.write_lock):
            with pytest.raises(StoreBusy):
                held(lock, "", shared=True).__enter__()


def test_without_leases_nothing_is_known(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with held(path, "") as lock, held(f"{path}2", ""), open(path):
        monkeypatch.delattr(fcntl, "F_SETLEASE")
        assert not opened_elsewhere(lock)


def test_who_opens_it_in_the_middle_does_no_harm(path: str) -> None:
    """The kernel tells the holder of a lease by a signal, which by default ends the process."""
    seen, end = set(), time.monotonic() + 10
    command = [sys.executable, "-c", BUSY_OPENER, path]
    with held(path, "") as lock, subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.stdin
        while process.poll() is None:
            seen.add(opened_elsewhere(lock))
            if seen == {True, False} or time.monotonic() > end:
                process.stdin.close()
    assert seen == {True, False}
