"""`registry reindex`: what it prints, and with which exit code it ends."""

import json
import os
from contextlib import closing
from pathlib import Path

from click.testing import CliRunner, Result

from registry.__main__ import cli
from registry.cli.reindex import UNKNOWN, summary
from storage.digest import Digest
from storage.layout import Layout
from storage.recovery import Report
from storage.store import open_store
from tests.registry.test_main import IMAGE, INDEX, LAYER, _no_settings, root

__all__ = ["_no_settings", "root"]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, prog_name="registry")


def lose_the_index(root: str) -> None:
    os.unlink(Layout(root).index)


def test_a_lost_index(root: str) -> None:
    lose_the_index(root)
    assert "registry reindex" in run("ls", "--root", root).stderr
    result = run("reindex", "--root", root)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "the index is made anew: it is missing",
        "4 blobs, 2.2 kB; 2 of them are manifests",
        "2 manifests that no repository listed are in recovered now, by digest",
        "0 blobs, 0 B, belong to nothing: a collection removes them",
        f"not known: {'; '.join(UNKNOWN)}",
    ]
    assert run("fsck", "--root", root).exit_code == 0
    assert run("rm", f"recovered@{Digest.of(INDEX)}", "--root", root).exit_code == 0


def test_json_and_a_dry_run(root: str) -> None:
    lose_the_index(root)
    os.unlink(Layout(root).blob(Digest.of(LAYER)))
    told = json.loads(run("reindex", "--root", root, "--into", "a/b", "--dry-run", "--json").stdout)
    assert (told["manifests"], told["recovered"], told["aside"]) == (2, 2, "")
    assert told["incomplete"][str(Digest.of(IMAGE))] == [str(Digest.of(LAYER))]
    assert told["unknown"] == list(UNKNOWN)
    assert not os.path.exists(Layout(root).index)
    assert json.loads(run("reindex", "--root", root, "--into", "a/b", "--json").stdout) == told
    assert [each["name"] for each in json.loads(run("ls", "--root", root, "--json").stdout)] == ["a/b"]


def test_a_sound_root_beside_a_server(root: str) -> None:
    with closing(open_store(root)):
        result = run("reindex", "--root", root)
    assert result.exit_code == 0
    assert "0 manifests that no repository listed" in result.stdout
    assert "made anew" not in result.stdout


def test_a_server_in_the_way_ends_with_1(root: str) -> None:
    with closing(open_store(root)) as store:
        lose_the_index(store.layout.root)
        result = run("reindex", "--root", root)
    assert result.exit_code == 1
    assert "stop it first" in result.stderr


def test_mistakes_end_with_2(root: str, tmp_path: Path) -> None:
    for arguments, says in (
        (["--root", str(tmp_path / "absent")], "there is no registry in"),
        (["--root", root, "--into", "UPPER"], "'UPPER' is not a repository name"),
    ):
        result = run("reindex", *arguments)
        assert result.exit_code == 2
        assert says in result.stderr
    assert not (tmp_path / "absent").exists()


def test_the_summary_names_ten_of_a_kind() -> None:
    digests = [f"sha256:{number:064}" for number in range(12)]
    report = Report(
        replaced="it is empty",
        aside="/srv/index.db.bad-7",
        blobs=20,
        bytes=1500,
        manifests=13,
        recovered=12,
        incomplete={digest: ["sha256:a", "sha256:b"] for digest in digests},
        tags={"v1": digests[0]},
        rewritten=digests[:1],
        bad=digests[:1],
        nothing=1,
        nothing_bytes=10,
    )
    lines = summary(report, "found", dry_run=True).splitlines()
    assert lines[:5] == [
        "the index is made anew: it is empty",
        "20 blobs, 1.5 kB; 13 of them are manifests",
        "12 manifests that no repository listed are in found now, by digest",
        "the old index is /srv/index.db.bad-7",
        f"found:v1 is {digests[0]}",
    ]
    assert lines[5] == f"{digests[0]}: lacks sha256:a, sha256:b"
    assert lines[15:18] == [
        "and 2 more, which --json names",
        f"{digests[0]}: its references are written anew",
        f"{digests[0]}: its bytes are bad",
    ]
    assert lines[-1] == "nothing was changed: this was a dry run"
