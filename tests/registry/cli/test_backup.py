"""`registry backup` and `registry restore`: what they print, and with which exit code they end."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from registry.__main__ import cli
from registry.cli.backup import summary
from storage.digest import Digest
from storage.filling import Report
from storage.layout import Layout
from tests.crash.evidence import look
from tests.registry.test_main import LAYER, _no_settings, root

__all__ = ["_no_settings", "root"]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, prog_name="registry")


def test_there_and_back(root: str, tmp_path: Path) -> None:
    folder, again = str(tmp_path / "backup"), str(tmp_path / "again")
    result = run("backup", folder, "--root", root)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"backed up to {folder}: 4 blobs, 2.2 kB\n4 linked\n"
    result = run("restore", folder, "--root", again)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"restored to {again}: 4 blobs, 2.2 kB\n4 copied\n"
    assert look(again).names == look(root).names
    assert run("fsck", "--root", again).exit_code == 0


def test_json(root: str, tmp_path: Path) -> None:
    folder, again = str(tmp_path / "backup"), str(tmp_path / "again")
    expected = {
        "blobs": 4,
        "bytes": 2239,
        "kept": 0,
        "linked": 0,
        "copied": 4,
        "removed": 0,
        "lost": [],
        "saved": [],
    }
    told = json.loads(run("backup", folder, "--copy", "--verify", "--root", root, "--json").stdout)
    assert told == {**expected, "bytes": told["bytes"]}
    assert json.loads(run("restore", folder, "--root", again, "--json").stdout) == told


def test_what_is_lost_ends_with_1_and_the_rest_is_there(root: str, tmp_path: Path) -> None:
    folder, again = str(tmp_path / "backup"), str(tmp_path / "again")
    os.unlink(Layout(root).blob(Digest.of(LAYER)))
    for arguments in (("backup", folder, "--root", root), ("restore", folder, "--root", again)):
        result = run(*arguments)
        assert result.exit_code == 1
        assert f"{Digest.of(LAYER)}: a repository lists it, and its bytes are not here" in result.stdout
        assert " 3 blobs, " in result.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["backup"], "Missing argument 'DIR'"),
        (["restore"], "Missing argument 'DIR'"),
        (["backup", "{folder}/new", "--root", "{folder}/absent"], "there is no registry in"),
        (["backup", "{root}/inside", "--root", "{root}"], "one is inside the other"),
        (["restore", "{folder}/absent", "--root", "{folder}/new"], "is no backup"),
        (["restore", "{root}", "--root", "{root}"], "one folder"),
    ],
)
def test_mistakes_end_with_2_and_make_nothing(
    root: str, tmp_path: Path, arguments: list[str], says: str
) -> None:
    before = sorted(os.listdir(tmp_path))
    result = run(*(argument.format(root=root, folder=tmp_path) for argument in arguments))
    assert result.exit_code == 2
    assert says in result.stderr
    assert sorted(os.listdir(tmp_path)) == before


def test_the_summary_names_ten_of_a_kind() -> None:
    lost = [f"sha256:{number:064}" for number in range(12)]
    lines = summary(
        Report(blobs=3, bytes=1500, kept=1, copied=2, lost=lost, saved=lost[:1]), "did", "it"
    ).splitlines()
    assert lines[:2] == ["did it: 3 blobs, 1.5 kB", "1 there before, 2 copied"]
    assert lines[2] == f"{lost[0]}: the root has lost, and this folder still has it"
    assert lines[3].startswith(f"{lost[0]}: a repository lists it")
    assert lines[13:] == ["and 2 more, which --json names"]
    assert summary(Report(), "did", "it") == "did it: 0 blobs, 0 B"
