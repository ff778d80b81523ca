"""`registry tag`: what it says of moves, and what it moves back."""

import asyncio
import json
import os
import pwd
import re
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from registry.__main__ import cli
from registry.cli.content import by
from registry.names import RepositoryName, Tag
from registry.registry import Registry
from registry.repository import Repository
from storage.digest import Digest
from storage.repositories import remove_repository
from storage.store import Store, open_store
from tests.builders import index

NAME = RepositoryName("team/app")
RAWS = [index(annotations={"n": str(number)}) for number in range(3)]
ONE, TWO, THREE = map(Digest.of, RAWS)
LATEST, OTHER = Tag("latest"), Tag("other")


@pytest.fixture
def root(tmp_path: Path) -> str:
    """latest moved from ONE to TWO; other was deleted; THREE is there by its digest."""
    folder = str(tmp_path / "root")
    act(folder, _fill)
    return folder


def act(root: str, change: Callable[[Store], Coroutine[None, None, None]]) -> None:
    with closing(open_store(root, durable=False)) as store:
        asyncio.run(change(store))


def repository(store: Store, who: str = "") -> Repository:
    return Repository(Registry(store.names, store.blobs, store.uploads), NAME, who)


async def _fill(store: Store) -> None:
    await repository(store, "ann").put_manifest(LATEST, RAWS[0], None, tags=[OTHER])
    await repository(store, "bob").put_manifest(LATEST, RAWS[1], None)
    await repository(store).delete_tag(OTHER)
    await repository(store).put_manifest(THREE, RAWS[2], None)


def run(root: str, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["tag", *arguments, "--root", root], prog_name="registry")


def history(root: str, target: str = "team/app:latest") -> list[tuple[str | None, str | None, str]]:
    moves = json.loads(run(root, "history", target, "--json").stdout)
    return [(move["from"], move["to"], move["who"]) for move in moves]


def user() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


def test_history_for_people(root: str) -> None:
    lines = run(root, "history", "team/app:latest").stdout.splitlines()
    assert lines[0].split() == ["WHEN", "TAG", "FROM", "TO", "WHO"]
    when, *rest = lines[1].split()
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", when)
    assert rest == ["latest", str(ONE)[:19], str(TWO)[:19], "bob"]
    assert lines[2].split()[1:] == ["latest", "-", str(ONE)[:19], "ann"]
    assert len(lines) == 3
    both = run(root, "history", "team/app").stdout.splitlines()
    assert sorted(line.split()[1] for line in both[1:]) == ["latest", "latest", "other", "other"]
    assert len(run(root, "history", "team/app", "--limit", "3").stdout.splitlines()) == 1 + 3


def test_history_for_programs(root: str) -> None:
    (move, _) = json.loads(run(root, "history", "team/app:latest", "--json").stdout)
    assert set(move) == {"at", "tag", "from", "to", "who"}
    assert history(root) == [(str(ONE), str(TWO), "bob"), (None, str(ONE), "ann")]
    assert history(root, "team/app:other") == [(str(ONE), None, ""), (None, str(ONE), "ann")]


@pytest.mark.parametrize(
    ("target", "to", "stands"),
    [
        ("team/app:latest", None, ONE),
        ("team/app:other", None, ONE),  # it was deleted
        ("team/app:latest", str(THREE), THREE),
        ("team/app:latest", str(ONE)[:19], ONE),
        ("team/app:latest", str(ONE)[:40], ONE),
        ("team/app:new", str(TWO), TWO),
    ],
)
def test_restore(root: str, target: str, to: str | None, stands: Digest) -> None:
    result = run(root, "restore", target, *(["--to", to] if to else []))
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith(f"{target} names {stands} again")
    _, new, who = history(root, target)[0]
    assert (new, who) == (str(stands), f"registry tag restore by {user()}")


def test_a_restore_can_be_taken_back(root: str) -> None:
    for stands in (ONE, TWO, ONE):
        assert run(root, "restore", "team/app:latest").exit_code == 0
        assert history(root)[0][1] == str(stands)


def test_a_tag_that_is_there_already_does_not_move(root: str) -> None:
    result = run(root, "restore", "team/app:latest", "--to", str(TWO))
    assert (result.exit_code, result.stdout) == (0, f"team/app:latest names {TWO} already\n")
    assert len(history(root)) == 2


async def _delete_one(store: Store) -> None:
    await repository(store).delete_manifest(ONE)


async def _lose_one(store: Store) -> None:
    os.unlink(store.layout.blob(ONE))


async def _drop(store: Store) -> None:
    await remove_repository(store.database, NAME)


async def _push_new(store: Store) -> None:
    await repository(store).put_manifest(Tag("new"), RAWS[0], None)


async def _nothing(_: Store) -> None: ...


@pytest.mark.parametrize(
    ("before", "arguments", "code", "says"),
    [
        (_delete_one, ["restore", "team/app:latest"], 1, f"not have the manifest {ONE} any more: push it"),
        (_lose_one, ["restore", "team/app:latest"], 1, f"does not have the manifest {ONE} any more"),
        (_drop, ["restore", "team/app:latest"], 1, f"does not have the manifest {TWO} any more"),
        (_push_new, ["restore", "team/app:new"], 1, "was not there before its last move: give --to DIGEST"),
        (_nothing, ["restore", "team/app:absent"], 1, "no move of team/app:absent is recorded: say to which"),
        (_nothing, ["restore", "team/app:latest", "--to", "sha256:12"], 2, "'sha256:12' is not a digest"),
        (_nothing, ["restore", "team/app:latest", "--to", str(Digest.of(b"x"))], 1, "does not have the"),
        (_nothing, ["restore", "team/app"], 2, "name one tag, such as team/app:latest"),
        (_nothing, ["restore", f"team/app@{ONE}"], 2, "name one tag, such as team/app:latest"),
        (_nothing, ["restore", "team/app:"], 2, "is not a tag"),
        (_nothing, ["history", f"team/app@{ONE}"], 2, "name one tag, such as team/app:latest"),
        (_nothing, ["history", "team/app:absent"], 1, "no move of a tag is recorded for team/app:absent"),
        (_nothing, ["history", "absent"], 1, "no move of a tag is recorded for absent"),
        (_nothing, ["history", "team/app", "--limit", "0"], 2, "--limit"),
        (_nothing, ["history"], 2, "Missing argument"),
        (_nothing, [], 2, "[OPTIONS] COMMAND"),
    ],
)
def test_what_cannot_be(
    root: str,
    before: Callable[[Store], Coroutine[None, None, None]],
    arguments: list[str],
    code: int,
    says: str,
) -> None:
    act(root, before)
    found = history(root)
    result = CliRunner().invoke(cli, ["tag", *arguments, *(["--root", root] if arguments else [])])
    assert result.exit_code == code
    assert says in result.stderr
    assert history(root) == found


def test_a_removed_repository_has_its_history(root: str) -> None:
    CliRunner().invoke(cli, ["rm", "--yes", "team/app", "--root", root])
    assert history(root)[0] == (str(TWO), None, f"registry rm by {user()}")


@pytest.mark.parametrize("target", ["team/app:latest", f"team/app@{TWO}"])
def test_rm_says_who(root: str, target: str) -> None:
    assert CliRunner().invoke(cli, ["rm", target, "--root", root]).exit_code == 0
    assert history(root)[0] == (str(TWO), None, f"registry rm by {user()}")


def test_a_user_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000 - 7)
    assert by("rm") == "registry rm by user 3999999993"


def test_who_moves_it_meanwhile_keeps_it(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at the history and the move."""
    from storage.manifests import Manifests

    move_tag = Manifests.move_tag

    async def late(manifests: Manifests, *args: object, **how: object) -> object:
        with closing(open_store(root, durable=False)) as store:
            await repository(store, "eve").put_manifest(LATEST, RAWS[2], None)
        return await move_tag(manifests, *args, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(Manifests, "move_tag", late)
    result = run(root, "restore", "team/app:latest")
    assert result.exit_code == 1
    assert f"tag latest is {THREE}" in result.stderr
    assert history(root)[0] == (str(TWO), str(THREE), "eve")
