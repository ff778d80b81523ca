"""The audit trail's file: appended to, made anew, and no reason to fail."""

import json
import os
import resource
import signal
from pathlib import Path

import pytest

from registry.access import Action
from registry.changes import BlobAdded, BlobRemoved, Change, ManifestAdded, ManifestRemoved, TagMoved
from registry.names import RepositoryName, Tag
from registry.trail import Trail, describe, render
from storage.digest import Digest

NAME, LATEST = RepositoryName("team/app"), Tag("latest")
ONE, TWO = Digest.of(b"1"), Digest.of(b"2")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.log"


@pytest.fixture
def trail(path: Path) -> Trail:
    return Trail(str(path))


def test_lines_are_appended_to_a_file_of_its_owner(path: Path, trail: Trail) -> None:
    path.write_text("before\n")
    for line in ("one", "two"):
        trail(line)
    Trail(str(path))("three")
    assert path.read_text() == "before\none\ntwo\nthree\n"
    path.unlink()
    mask = os.umask(0)
    try:
        trail("four")
    finally:
        os.umask(mask)
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("four\n", 0o600)


def test_a_file_that_is_rotated_away_keeps_what_it_has(path: Path, trail: Trail) -> None:
    trail("one")
    path.rename(path.with_suffix(".1"))
    trail("two")
    assert (path.with_suffix(".1").read_text(), path.read_text()) == ("one\n", "two\n")


def test_a_folder_that_is_gone_is_said_once(
    trail: Trail, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trail("one")
    path.unlink()
    path.parent.rmdir()
    for line in ("two", "three"):
        trail(line)
    path.parent.mkdir()
    for line in ("four", "five"):
        trail(line)
    assert path.read_text() == "four\nfive\n"
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        f"the audit log {path} cannot be written: No such file or directory",
        f"the audit log {path} is written again; 2 lines are lost",
    ]


def test_a_line_that_is_cut_off_spoils_no_other(path: Path, trail: Trail) -> None:
    """As on a full disk: the kernel takes what there is room for, then nothing."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6, limits[1]))
    try:
        for line in ("one", "two", "three"):
            trail(line)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    trail("four")
    assert path.read_text() == "one\ntw\nfour\n"


def test_a_line_that_is_cut_off_leaves_nothing_in_the_next_file(path: Path, trail: Trail) -> None:
    trail._torn = True
    trail("one")
    assert path.read_text() == "one\n"


@pytest.mark.parametrize("hostile", ['"', "\n", "\r", "\x1b[31m", "\x7f", "\x00", "\x85", "\u2028", "\ud800"])
def test_a_line_is_printable_ascii_whatever_is_in_it(hostile: str) -> None:
    line = render("login", "refused", f"a{hostile}", {"agent": hostile, "bytes": 0, "rule": ""}, 1.5)
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line) == {
        "time": "1970-01-01T00:00:01.500+00:00",
        "audit": "login",
        "outcome": "refused",
        "who": f"a{hostile}",
        "agent": hostile,
        "bytes": 0,
    }


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (BlobAdded(NAME, ONE, 3), ("push", Action.PUSH, {"what": "blob", "digest": str(ONE), "bytes": 3})),
        (
            BlobAdded(NAME, ONE, 3, mounted=True),
            ("mount", Action.PUSH, {"what": "blob", "digest": str(ONE), "bytes": 3}),
        ),
        (
            ManifestAdded(NAME, ONE, "a/b", 3),
            ("push", Action.PUSH, {"what": "manifest", "digest": str(ONE), "bytes": 3, "type": "a/b"}),
        ),
        (BlobRemoved(NAME, ONE), ("delete", Action.DELETE, {"what": "blob", "digest": str(ONE)})),
        (ManifestRemoved(NAME, ONE), ("delete", Action.DELETE, {"what": "manifest", "digest": str(ONE)})),
        (TagMoved(NAME, LATEST, None, ONE), ("tag", Action.PUSH, {"digest": str(ONE), "old": ""})),
        (TagMoved(NAME, LATEST, ONE, TWO), ("tag", Action.MOVE, {"digest": str(TWO), "old": str(ONE)})),
        (TagMoved(NAME, LATEST, ONE, None), ("tag", Action.DELETE, {"digest": "", "old": str(ONE)})),
        (TagMoved(NAME, LATEST, ONE, ONE), None),
    ],
)
def test_every_change_has_a_name(change: Change, found: tuple[str, Action, dict[str, object]] | None) -> None:
    told = describe(change)
    if found is None:
        assert told is None
        return
    tagged = {"reference": "latest"} if found[0] == "tag" else {}
    assert told == (found[0], found[1], {"repository": "team/app", **tagged, **found[2]})
