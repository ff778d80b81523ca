"""A check that is interrupted, gone on with, or not alone."""

import asyncio
import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from registry.__main__ import cli
from registry.fsck import encode
from storage.bookmark import bookmark
from storage.digest import Digest
from storage.files import Files
from storage.findings import Position, Report
from storage.layout import Layout
from storage.store import Store, open_store
from tests.builders import blob
from tests.storage.pushing import push_blob

BLOBS = [blob(200_000, seed) for seed in range(60)]  # 12 seconds at 1 MB/s
COMMAND = [sys.executable, "-m", "registry", "fsck", "--rate", "1", "--root"]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(str(tmp_path / "root"))
    store = open_store(layout.root, durable=False)
    asyncio.run(_fill(store))
    store.close()
    return layout


async def _fill(store: Store) -> None:
    for data in BLOBS:
        await push_blob(store, "a", data)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["fsck", *arguments], prog_name="registry")


def interrupted(layout: Layout, number: signal.Signals, *flags: str) -> subprocess.CompletedProcess[str]:
    """A check that gets the signal while it reads."""
    with subprocess.Popen(
        [*COMMAND, layout.root, *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        deadline = time.monotonic() + 20
        while not os.path.exists(layout.fsck) and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(2)
        process.send_signal(number)
        try:
            out, err = process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_and_resume_goes_on_there(layout: Layout, number: signal.Signals, code: int) -> None:
    today = time.strftime("%Y-%m-%d")
    first = interrupted(layout, number, "--json")
    days = {today, time.strftime("%Y-%m-%d")}
    assert (first.returncode, first.stdout) == (code, "")
    assert first.stderr == "registry: interrupted: repeat the command with --resume to go on there\n"
    with open(layout.fsck, encoding="utf-8") as file:
        read = json.load(file)["report"]["blobs"]
    assert 0 < read < len(BLOBS)
    second = run("--root", layout.root, "--resume", "--json")
    assert second.exit_code == 0
    assert f"registry: resumed after {read} blobs, " in second.stderr
    assert any(f", checked since {day} " in second.stderr for day in days)
    assert json.loads(second.stdout)["blobs"] == len(BLOBS)
    assert json.loads(second.stdout)["bytes"] == sum(map(len, BLOBS))
    assert not os.path.exists(layout.fsck)


def test_nothing_to_resume_is_said_and_no_hindrance(layout: Layout) -> None:
    result = run("--root", layout.root, "--resume")
    assert result.exit_code == 0
    assert result.stderr == (
        "registry: there is no interrupted check to resume: this one begins at the beginning\n"
    )
    assert "60 blobs" in result.stdout


def test_without_resume_it_begins_at_the_beginning(layout: Layout) -> None:
    with open(layout.fsck, "w", encoding="utf-8") as file:
        file.write(encode(Position("blobs/sha512/ff/f", Report(blobs=7))))
    result = run("--root", layout.root)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "60 blobs" in result.stdout
    assert not os.path.exists(layout.fsck)


def test_a_resumed_check_still_tells_what_was_found_before(layout: Layout) -> None:
    """And is no more sound for it."""
    os.unlink(layout.blob(Digest.of(BLOBS[0])))
    with open(layout.fsck, "w", encoding="utf-8") as file:
        file.write(encode(Position("blobs/sha512/ff/f", Report(blobs=7))))
    result = run("--root", layout.root, "--resume")
    assert result.exit_code == 1
    assert "7 blobs" in result.stdout
    assert "lost: " in result.stdout


def test_two_at_once(layout: Layout) -> None:
    with bookmark(Files(layout.degraded), layout.fsck) as place:
        assert place
        place.keep("another's")
        result = run("--root", layout.root)
        assert result.exit_code == 0
        assert "no position is kept: another check" in result.stderr
        assert "60 blobs" in result.stdout
        result = run("--root", layout.root, "--resume")
        assert (result.exit_code, result.stdout) == (1, "")
        assert "another check is running here" in result.stderr
    with open(layout.fsck, encoding="utf-8") as file:
        assert file.read() == "another's"


def test_who_keeps_no_position_promises_none(layout: Layout) -> None:
    with bookmark(Files(layout.degraded), layout.fsck) as place:
        assert place
        place.keep(encode(Position("blobs/sha256/00/0")))
        ended = interrupted(layout, signal.SIGINT)
    assert ended.returncode == 130
    assert ended.stderr.endswith("registry: interrupted\n")


def test_a_full_disk_keeps_no_position_and_is_checked_all_the_same(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Files, path: str) -> int:
        raise OSError(errno.ENOSPC, "no room", path)

    monkeypatch.setattr(Files, "create", full)
    result = run("--root", layout.root)
    assert result.exit_code == 0
    assert "the disk takes no file" in result.stderr


@pytest.mark.parametrize("rate", ["0", "-1", "fast"])
def test_a_rate_is_a_positive_number(layout: Layout, rate: str) -> None:
    result = run("--root", layout.root, "--rate", rate)
    assert result.exit_code == 2
    assert "--rate" in result.stderr


def test_a_rate_is_kept(layout: Layout) -> None:
    started = time.monotonic()
    assert run("--root", layout.root, "--rate", "10").exit_code == 0
    assert 1.1 < time.monotonic() - started < 10


def test_the_signals_are_as_before_afterwards(layout: Layout) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert run("--root", layout.root).exit_code == 0
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_an_index_that_cannot_be_read_is_a_message(layout: Layout) -> None:
    with open(layout.index, "r+b") as file, contextlib.closing(file):
        file.seek(8192)
        file.write(b"\xff" * (os.path.getsize(layout.index) - 8192))
    result = run("--root", layout.root)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "put it back from a backup" in result.stderr
