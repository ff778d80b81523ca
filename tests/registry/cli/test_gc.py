"""`registry gc`: what it prints and what it leaves, alone and beside a server."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from registry.__main__ import cli
from registry.app import open_settings
from registry.settings import SCHEMA, Settings
from storage.database import Connection
from storage.digest import Digest
from storage.errors import StoreBusy
from storage.layout import Layout
from storage.locks import held
from storage.store import Store, open_store
from tests.crash.arena import Contents, read_files, write_files
from tests.storage.pushing import allow, edge, push_blob, push_manifest

OLD, LAYER, KEPT = b"an old upload", b"layer of what lost its tag", b"layer that stays"
UNTAGGED, TAGGED = b"manifest that lost its tag", b"manifest with a tag"
GARBAGE = {OLD, LAYER, UNTAGGED}
DAY = 86400


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["gc", *arguments], prog_name="registry")


def report(*arguments: str) -> dict[str, Any]:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for key in SCHEMA.values():
        monkeypatch.delenv(key.variable, raising=False)
    monkeypatch.delenv("REGISTRY_CONFIG", raising=False)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Contents]:
    """A root, and the files that it begins each test with: making its folders anew takes longer than most."""
    folder = str(tmp_path_factory.mktemp("gc") / "root")
    with closing(open_store(folder, durable=False)) as store:
        asyncio.run(_fill(store))
    age(folder, 60 * DAY)
    return folder, read_files(folder)


@pytest.fixture
def root(filled: tuple[str, Contents]) -> str:
    """An old upload and a manifest that lost its tag two months ago in "old", one with a tag in "app"."""
    folder, contents = filled
    write_files(folder, contents)
    return folder


async def _fill(store: Store) -> None:
    await push_blob(store, "app", KEPT)
    await push_manifest(store, "app", TAGGED, [edge(KEPT)], ["t"])
    for raw in (OLD, LAYER):
        await push_blob(store, "old", raw)
    await push_manifest(store, "old", UNTAGGED, [edge(LAYER)], ["t"])
    await store.names.manifests.remove_tag("old", "t", check=allow)


def age(root: str, seconds: int) -> None:
    """As if that much time had passed."""

    def change(connection: Connection) -> None:
        for table, column in (
            ("links", "mark"),
            ("manifests", "mark"),
            ("manifests", "pushed"),
            ("manifests", "untagged"),
            ("repositories", "active"),
        ):
            connection.execute(f"UPDATE {table} SET {column} = {column} - ?", (seconds,))

    with closing(open_store(root, durable=False)) as store:
        asyncio.run(store.database.write(change))


def contents(root: str) -> set[bytes]:
    return {data for path, (data, _) in read_files(root).items() if "/blobs/" in path}


# -- what it does ------------------------------------------------------------------------------------------


RULE = "content without a tag is kept 30d 0h (untagged)"


def test_one_run_marks_and_another_a_grace_later_deletes(root: str) -> None:
    first = run("--root", root)
    assert (first.exit_code, first.stderr) == (0, "")
    assert first.stdout.splitlines() == [
        "0 manifests, 0 blobs and 0 tags went; 0 files, 0 B freed",
        f"3 more, {sum(map(len, GARBAGE))} B, wait for their grace to end",
        RULE,
    ]
    assert contents(root) == {KEPT, TAGGED} | GARBAGE
    age(root, 3602)
    second = run("--root", root)
    assert second.stdout.splitlines() == [
        f"1 manifests, 2 blobs and 0 tags went; 3 files, {sum(map(len, GARBAGE))} B freed",
        "1 repositories went, as they hold nothing any more",
        RULE,
    ]
    assert contents(root) == {KEPT, TAGGED}
    third = run("--root", root, "--untagged", "never").stdout.splitlines()
    assert third[0] == "0 manifests, 0 blobs and 0 tags went; 0 files, 0 B freed"
    assert third[1:] == ["content without a tag is kept for ever (untagged)"]


@pytest.mark.parametrize(
    ("flags", "seconds", "goes"),
    [
        ([], 3590, False),
        ([], 3602, True),
        (["--grace", "2h"], 3602, False),
        (["--grace", "2h"], 7202, True),
        (["--grace", "600"], 590, False),
        (["--grace", "600"], 602, True),
    ],
)
def test_the_grace_is_that_of_the_settings_or_the_flag(
    root: str, flags: list[str], seconds: int, goes: bool
) -> None:
    run("--root", root)
    age(root, seconds)
    assert report("--root", root, *flags)["blobs"] == (2 if goes else 0)


def test_the_grace_may_come_from_the_settings(root: str, tmp_path: Path) -> None:
    (tmp_path / "registry.toml").write_text(f'root = "{root}"\ngc_grace = "10m"\n')
    run("--root", root)
    age(root, 602)
    assert report("--config", str(tmp_path / "registry.toml"))["blobs"] == 2


def test_as_json_it_says_what_and_why(root: str) -> None:
    run("--root", root)
    age(root, 3602)
    found = report("--root", root)
    assert {name: found[name] for name in ("manifests", "blobs", "repositories", "files", "freed")} == {
        "manifests": 1,
        "blobs": 2,
        "repositories": 1,
        "files": 3,
        "freed": sum(map(len, GARBAGE)),
    }
    assert {(item["kind"], item["name"], item["why"]) for item in found["items"]} == {
        ("manifest", str(Digest.of(UNTAGGED)), "no tag names it any more"),
        ("blob", str(Digest.of(LAYER)), "no manifest names it"),
        ("blob", str(Digest.of(OLD)), "no manifest names it"),
        ("repository", "old", "it holds nothing any more"),
    }


def test_verbose_says_the_same_in_lines(root: str) -> None:
    lines = run("--root", root, "--now", "--verbose").stdout.splitlines()
    assert f"manifest old {Digest.of(UNTAGGED)}: no tag names it any more" in lines
    assert len([line for line in lines if line.startswith("blob old sha256:")]) == 2


def test_what_a_crash_left_is_told_apart(root: str) -> None:
    with closing(open_store(root, durable=False)) as store:
        asyncio.run(store.blobs.put(Digest.of(b"stray"), b"stray"))
    result = run("--root", root, "--now")
    assert "1 of the files were left by crashes" in result.stdout.splitlines()
    assert contents(root) == {KEPT, TAGGED}


def test_uploads_hold_their_repository_up(root: str) -> None:
    run("--root", root)
    age(root, 3602)
    with closing(open_store(root, durable=False)) as store:
        asyncio.run(_begin(store))
    result = run("--root", root)
    assert result.stdout.splitlines()[-2] == "uploads hold up: old"
    assert contents(root) == {KEPT, TAGGED} | GARBAGE


async def _begin(store: Store) -> None:
    await store.names.sessions.begin(await store.uploads.create(), "old", "", "sha256")


# -- looking ahead -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flags", [[], ["--json"], ["--verbose"], ["--now"], ["--grace", "1"]], ids=lambda flags: "".join(flags)
)
@pytest.mark.parametrize("marked", [False, True])
def test_a_dry_run_changes_no_byte(root: str, flags: list[str], marked: bool) -> None:
    if marked:
        run("--root", root)
        age(root, 3602)
    before = read_files(root)
    assert run("--root", root, "--dry-run", *flags).exit_code == 0
    assert read_files(root) == before


def test_a_dry_run_says_what_would_go_now_and_later(root: str) -> None:
    lines = run("--root", root, "--dry-run").stdout.splitlines()
    assert lines[0].split() == ["REPOSITORY", "GOES", "MANIFESTS", "BLOBS", "SIZE"]
    assert lines[1].split()[:6] == ["old", "after", "its", "grace", "1", "2"]
    assert lines[2].startswith("1 manifests, 2 blobs and 0 tags would go; 3 files, ")
    found = report("--root", root, "--dry-run")
    assert found["now"] == []
    assert {item["kind"] for item in found["later"]} == {"manifest", "blob", "repository"}
    run("--root", root)
    age(root, 3602)
    found = report("--root", root, "--dry-run")
    assert found["later"] == []
    assert sorted(found["now"], key=str) == sorted(report("--root", root)["items"], key=str)


def test_verbose_lists_all_that_would_go(root: str) -> None:
    lines = run("--root", root, "--dry-run", "--verbose").stdout.splitlines()
    assert f"blob old {Digest.of(OLD)}: no manifest names it" in lines


# -- beside others -----------------------------------------------------------------------------------------


@pytest.fixture
def server(root: str) -> Iterator[Store]:
    """The store as a server opens it."""
    with closing(open_settings(Settings(root=root))) as store:
        yield store


def test_it_works_beside_a_server(root: str, server: Store) -> None:
    assert report("--root", root)["waiting"] == 3
    age(root, 3602)
    assert report("--root", root)["blobs"] == 2


def test_now_takes_all_at_once(root: str) -> None:
    assert report("--root", root, "--now")["blobs"] == 2
    assert contents(root) == {KEPT, TAGGED}


def test_now_refuses_beside_a_server(root: str, server: Store) -> None:
    before = read_files(root)
    result = run("--root", root, "--now")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "serving.lock: a server runs on this root: stop it before `registry gc --now`" in result.stderr
    assert read_files(root) == before


def test_now_works_when_the_server_has_ended(root: str) -> None:
    open_settings(Settings(root=root)).close()
    assert report("--root", root, "--now")["blobs"] == 2


def test_a_server_waits_for_what_needs_the_root_for_itself(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.store._SERVING_WAIT", 0.1)
    with held(Layout(root).serving_lock, "a test"):
        with pytest.raises(StoreBusy, match="needs this root for itself"):
            open_settings(Settings(root=root))
        result = CliRunner().invoke(cli, ["serve", "--root", root, "--port", "0"], prog_name="registry")
        assert result.exit_code == 1
        assert "`registry gc --now`" in result.stderr
        assert "start later" in result.stderr
    open_settings(Settings(root=root)).close()


def test_commands_that_only_look_need_not_wait(root: str) -> None:
    with held(Layout(root).serving_lock, "a test"):
        assert CliRunner().invoke(cli, ["ls", "--root", root]).exit_code == 0


def test_one_at_a_time(root: str) -> None:
    with held(Layout(root).gc_lock, "a test"):
        result = run("--root", root)
    assert result.exit_code == 1
    assert "another process collects garbage, or makes a backup, here" in result.stderr


# -- mistakes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "code", "says"),
    [
        (["--root", "{root}", "--grace", "0"], 2, "gc_grace"),
        (["--root", "{root}", "--grace", "soon"], 2, "gc_grace"),
        (["--root", "{root}/absent"], 2, "there is no registry in"),
        (["--root", "{root}", "--nonsense"], 2, "No such option"),
    ],
)
def test_mistakes_say_what_to_do(root: str, flags: list[str], code: int, says: str) -> None:
    result = run(*(flag.format(root=root) for flag in flags))
    assert (result.exit_code, result.stdout) == (code, "")
    assert says in result.stderr
    assert contents(root) == {KEPT, TAGGED} | GARBAGE


def test_a_degraded_store_lets_nothing_go(root: str) -> None:
    run("--root", root)
    age(root, 3602)
    Path(Layout(root).degraded).write_text("an fsync failed\n")
    result = run("--root", root)
    assert result.exit_code == 1
    assert "an earlier fsync failed" in result.stderr
    assert contents(root) == {KEPT, TAGGED} | GARBAGE
