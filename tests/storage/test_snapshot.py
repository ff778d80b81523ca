"""An index as one file: the copy, the transaction that nobody shares, what is found wrong."""

import errno
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from storage.errors import IndexFailed, StoreBusy, StoreFull, StoreUnusable
from storage.files import Files
from storage.rows import find_repository
from storage.snapshot import alone, flaw, install, remove, snapshot
from storage.store import Store, open_store
from tests.storage.probes import Recorder, failure
from tests.storage.pushing import push_blob


@pytest.fixture
def files(folder: str) -> Files:
    return Files(f"{folder}/degraded")


def repositories(path: str) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM repositories ORDER BY name")]


def beside(path: str) -> list[str]:
    return sorted(name for name in os.listdir(os.path.dirname(path)) if name.startswith("copy.db"))


@pytest.fixture
def index(root: str) -> str:
    """The index of a store that is closed."""
    open_store(root, durable=False).close()
    return f"{root}/index.db"


# -- the copy ------------------------------------------------------------------------------------------


async def test_a_snapshot_is_what_was_committed(store: Store, folder: str, files: Files) -> None:
    path = f"{folder}/copy.db"
    await push_blob(store, "before", b"data")
    store.database._writer.execute("BEGIN IMMEDIATE")
    store.database._writer.execute("INSERT INTO repositories (name) VALUES ('under way')")
    snapshot(store.layout.index, path, files)
    store.database._writer.execute("ROLLBACK")
    await push_blob(store, "after", b"data")
    assert repositories(path) == ["before"]
    assert repositories(store.layout.index) == ["after", "before"]


async def test_a_snapshot_replaces_what_was_there(store: Store, folder: str, files: Files) -> None:
    path = f"{folder}/copy.db"
    for suffix in ("", "-wal", "-journal"):
        Path(path + suffix).write_bytes(b"half a copy")
    await push_blob(store, "a", b"data")
    snapshot(store.layout.index, path, files)
    with alone(path, files):
        pass
    assert repositories(path) == ["a"]
    assert beside(path) == ["copy.db"]


def test_an_index_keeps_its_vacuum(index: str, folder: str, files: Files) -> None:
    snapshot(index, f"{folder}/copy.db", files)
    with closing(sqlite3.connect(f"{folder}/copy.db")) as connection:
        assert connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)


def test_a_damaged_index_is_not_copied_as_if_it_were_sound(index: str, folder: str, files: Files) -> None:
    damage_a_page(index)
    with pytest.raises(IndexFailed, match=r"index\.db is damaged"):
        snapshot(index, f"{folder}/copy.db", files)


def test_a_full_disk_is_a_fact(index: str, folder: str) -> None:
    files = Files(f"{folder}/degraded", probe=Recorder({("before", "snapshot"): failure(errno.ENOSPC)}))
    with pytest.raises(StoreFull):
        snapshot(index, f"{folder}/copy.db", files)


# -- alone ---------------------------------------------------------------------------------------------


async def test_whoever_has_it_open_is_in_the_way(store: Store, files: Files) -> None:
    await push_blob(store, "a", b"data")
    with pytest.raises(StoreBusy, match="stop the server"), alone(store.layout.index, files):
        raise AssertionError("that was not alone")


def test_another_process_is_in_the_way(index: str, files: Files) -> None:
    code = (
        "import sys, time; from storage.store import open_store; open_store(sys.argv[1], durable=False);"
        " print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, os.path.dirname(index)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    ) as process:
        assert process.stdout
        process.stdout.readline()
        with pytest.raises(StoreBusy), alone(index, files):
            raise AssertionError("that was not alone")
        process.communicate()
    with alone(index, files):
        pass


async def test_what_a_killed_server_left_in_the_wal_is_kept(store: Store, folder: str, files: Files) -> None:
    await push_blob(store, "a", b"data")
    path = f"{folder}/copy.db"
    for suffix in ("", "-wal"):
        shutil.copy(store.layout.index + suffix, path + suffix)
    with alone(path, files) as connection:
        assert find_repository(connection, "a")
    assert beside(path) == ["copy.db"]


def test_what_fails_changes_nothing(index: str, files: Files) -> None:
    full = Files(f"{index}.degraded", probe=Recorder({("before", "commit"): failure(errno.ENOSPC)}))
    with pytest.raises(StoreFull), alone(index, full) as connection:
        connection.execute("INSERT INTO repositories (name) VALUES ('a')")
    assert repositories(index) == []
    with alone(index, files) as connection:
        connection.execute("INSERT INTO repositories (name) VALUES ('a')")
    assert repositories(index) == ["a"]


# -- what is wrong with it -----------------------------------------------------------------------------


def damage_a_page(index: str) -> None:
    with open(index, "r+b") as file:
        file.seek(2 * 4096)
        file.write(b"\xff" * 8192)


def miss_a_row(index: str) -> None:
    """The tree of an SQL index lacks what its table has: a lookup by it finds nothing."""
    with closing(sqlite3.connect(index, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute("PRAGMA writable_schema=ON")
        where = "WHERE name = 'tags_manifest'"
        row = connection.execute(f"SELECT * FROM sqlite_master {where}").fetchone()
        connection.execute(f"DELETE FROM sqlite_master {where}")
        connection.execute("PRAGMA schema_version=900")
    with closing(sqlite3.connect(index, isolation_level=None)) as connection:
        connection.execute("INSERT INTO tags (repository, name, manifest, moved) VALUES (1, 't', 1, 1)")
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", row)
        connection.execute("PRAGMA schema_version=901")


def set_version(number: int) -> Callable[[str], None]:
    def change(index: str) -> None:
        with closing(sqlite3.connect(index)) as connection:
            connection.execute(f"PRAGMA user_version={number}")

    return change


FLAWS: dict[str, tuple[Callable[[str], object], str]] = {
    "missing": (os.unlink, "it is missing"),
    "empty": (lambda index: os.truncate(index, 0), "it is empty"),
    "no database": (lambda index: Path(index).write_bytes(b"\xff" * 8192), "not a database"),
    "cut off": (lambda index: os.truncate(index, 5000), "malformed|disk image"),
    "a damaged page": (damage_a_page, "."),
    "a row that an index lacks": (miss_a_row, "missing from index tags_manifest"),
    "no tables": (set_version(0), "no tables of ours"),
}


@pytest.mark.parametrize(("damage", "why"), FLAWS.values(), ids=FLAWS)
def test_flaws(index: str, damage: Callable[[str], object], why: str) -> None:
    assert flaw(index) is None
    damage(index)
    found = flaw(index)
    assert found
    assert re.search(why, found)


def test_a_newer_index_is_no_flaw_but_another_programs(index: str) -> None:
    set_version(99)(index)
    with pytest.raises(StoreUnusable, match=r"version 99.*use the newer program"):
        flaw(index)


# -- its name ------------------------------------------------------------------------------------------


def test_the_name_comes_last_and_the_wal_is_gone_for_good(index: str, folder: str) -> None:
    recorder = Recorder()
    shutil.copy(index, f"{folder}/new.db")
    install(f"{folder}/new.db", index, Files(f"{folder}/degraded", probe=recorder))
    assert recorder.calls == [
        ("fsync", "new.db"),
        ("fsync", "root"),
        ("rename", "index.db"),
        ("fsync", "root"),
    ]


def test_remove_leaves_nothing(folder: str, files: Files) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        Path(f"{folder}/copy.db{suffix}").write_bytes(b"")
    remove(f"{folder}/copy.db", files)
    remove(f"{folder}/copy.db", files)
    assert beside(f"{folder}/copy.db") == []
