"""What the model of a disk says a power cut may leave: no more and no less than POSIX promises."""

import re
from collections.abc import Set
from itertools import chain, combinations
from pathlib import Path

import pytest

from tests.crash.arena import Contents
from tests.crash.recorder import Recorder
from tests.crash.syscalls import read_calls

OLD = {"/d/x/old": (b"old", 0o600)}
FOLDERS = ["/d", "/d/x", "/d/y"]
CREATE = 'openat(AT_FDCWD, "/d/x/new", O_RDWR|O_CREAT, 0600) = 3'
WRITE = 'write(3, "new", 3) = 3'
FOLDER = 'openat(AT_FDCWD, "/d/x", O_RDONLY|O_DIRECTORY) = 4'
OPEN = 'openat(AT_FDCWD, "/d/x/old", O_RDWR) = 3'
OVERLAPPING = [
    '8 pwrite64(3, "n", 1, 0 <unfinished ...>',
    "fsync(3 <unfinished ...>",
    "8 <... pwrite64 resumed>) = 1",
    "7 <... fsync resumed>) = 0",
]
OTHER_FOLDER = 'openat(AT_FDCWD, "/d/y", O_RDONLY|O_DIRECTORY) = 4'


def outcomes(folder: Path, calls: list[str]) -> Set[str]:
    """Every state that may be found at the end, as text; zeros are dots."""
    log = folder / "log"
    text = "\n".join(call if call[1] == " " else f"7 {call}" for call in calls) + "\n"
    log.write_text(re.sub(r'"([^"]*)"', lambda match: f'"{_hexadecimal(match[1])}"', text))
    recorder = Recorder("/d", OLD, FOLDERS)
    recorder.add(read_calls(str(log)))
    history = recorder.history
    stake = history.at_stake(history.now)
    subsets = chain.from_iterable(combinations(stake, count) for count in range(len(stake) + 1))
    return {_text(history.after(history.now, lost)) for lost in subsets}


def _hexadecimal(text: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in text.encode())


def _text(contents: Contents) -> str:
    files = {path[3:]: data for path, (data, _) in contents.items() if not path.endswith("/")}
    return " ".join(f"{path}={data.decode().replace(chr(0), '.')}" for path, data in sorted(files.items()))


@pytest.mark.parametrize(
    ("calls", "found"),
    [
        ([CREATE, WRITE], {"x/old=old", "x/new= x/old=old", "x/new=... x/old=old", "x/new=new x/old=old"}),
        ([CREATE, WRITE, "fsync(3) = 0"], {"x/old=old", "x/new=new x/old=old"}),
        (
            [CREATE, WRITE, FOLDER, "fsync(4) = 0"],
            {"x/new= x/old=old", "x/new=... x/old=old", "x/new=new x/old=old"},
        ),
        ([CREATE, WRITE, "fdatasync(3) = 0", FOLDER, "fsync(4) = 0"], {"x/new=new x/old=old"}),
        (
            [CREATE, WRITE, "fsync(3) = -1 EIO (Input/output error)", FOLDER, "fsync(4) = 0"],
            {"x/new= x/old=old", "x/new=... x/old=old", "x/new=new x/old=old"},
        ),
        ([OPEN, "ftruncate(3, 1) = 0"], {"x/old=old", "x/old=o"}),
        ([OPEN, "ftruncate(3, 1) = 0", "ftruncate(3, 3) = 0"], {"x/old=old", "x/old=o", "x/old=o.."}),
        ([OPEN, 'pwrite64(3, "abc", 3, 2) = 3'], {"x/old=old", "x/old=ola", "x/old=old..", "x/old=olabc"}),
        (['unlink("/d/x/old") = 0'], {"", "x/old=old"}),
        (['unlink("/d/x/old") = 0', FOLDER, "fsync(4) = 0"], {""}),
        (['rename("/d/x/old", "/d/x/new") = 0'], {"x/old=old", "x/new=old"}),
        (['rename("/d/x/old", "/d/y/new") = 0'], {"x/old=old", "x/old=old y/new=old", "y/new=old"}),
        (
            ['rename("/d/x/old", "/d/y/new") = 0', OTHER_FOLDER, "fsync(4) = 0"],
            {"x/old=old y/new=old", "y/new=old"},
        ),
        (['rename("/d/x/old", "/d/y/new") = 0', FOLDER, "fsync(4) = 0"], {"y/new=old"}),
        (
            ['mkdir("/d/z", 0700) = 0', 'link("/d/x/old", "/d/z/new") = 0'],
            {"x/old=old", "x/old=old z/new=old"},
        ),
        (
            [OPEN, *OVERLAPPING],
            {"x/old=old", "x/old=nld"},
        ),
    ],
)
def test_a_power_cut_leaves(tmp_path: Path, calls: list[str], found: set[str]) -> None:
    assert outcomes(tmp_path, calls) == found


def test_a_call_that_the_model_does_not_know_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="knows nothing of fallocate"):
        outcomes(tmp_path, [OPEN, "fallocate(3, 0, 0, 100) = 0"])
