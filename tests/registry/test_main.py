"""The command line: what each command prints, and with which exit code it ends."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from registry import __version__
from registry.__main__ import cli
from registry.cli.options import default_text
from registry.names import RepositoryName, Tag
from registry.registry import Registry
from registry.repository import Repository
from registry.settings import SCHEMA, Settings
from storage.digest import Digest
from storage.layout import Layout
from storage.store import Store, open_store
from tests import builders

LAYER = b"x" * 1500
IMAGE = builders.image(layers=[builders.descriptor(LAYER)])
INDEX = builders.index([builders.descriptor(IMAGE, builders.OCI_IMAGE)])


def run(*arguments: str, given: str = "") -> Result:
    return CliRunner().invoke(cli, arguments, input=given, prog_name="registry")


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for key in SCHEMA.values():
        monkeypatch.delenv(key.variable, raising=False)
    monkeypatch.delenv("REGISTRY_CONFIG", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


@pytest.fixture
def root(tmp_path: Path) -> str:
    """team/app with an image tagged v1 and v2, and an index of it tagged all."""
    folder = str(tmp_path / "root")
    store = open_store(folder, durable=False)
    asyncio.run(_fill(store))
    store.close()
    return folder


async def _fill(store: Store) -> None:
    repository = Repository(Registry(store.names, store.blobs, store.uploads), RepositoryName("team/app"))
    for data in (LAYER, b"{}"):
        await store.blobs.put(Digest.of(data), data)
        await store.names.links.claim("team/app", Digest.of(data), store.blobs.size)
    await repository.put_manifest(Tag("v1"), IMAGE, builders.OCI_IMAGE, tags=[Tag("v2")])
    await repository.put_manifest(Tag("all"), INDEX, builders.OCI_INDEX)


def tags_of(root: str) -> list[str]:
    listed = json.loads(run("ls", "team/app", "--root", root, "--json").stdout)
    return [tag["name"] for tag in listed["tags"]]


def test_version() -> None:
    assert run("--version").stdout == f"registry {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "loaded"),
    [
        (["--version"], set()),
        (["health", "--help"], {"registry.cli.commands.health"}),
        (["serve", "--help"], {"registry.cli.commands.serve"}),
        (["restore", "--help"], {"registry.cli.commands.backup"}),
    ],
    ids=lambda value: " ".join(value),
)
def test_a_command_loads_its_own_module_only(arguments: list[str], loaded: set[str]) -> None:
    script = (
        "import atexit, sys, registry.__main__ as m; atexit.register(lambda: print(*sys.modules)); m.main()"
    )
    words = [sys.executable, "-c", script, *arguments]
    ended = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    modules = set(ended.stdout.splitlines()[-1].split())
    assert "registry.__main__" in modules
    assert {name for name in modules if name.startswith("registry.cli.commands.")} == loaded
    assert "uvicorn" not in modules


def test_the_table_names_each_command_as_it_names_itself() -> None:
    assert {name: command.name for name, command in cli.commands.items()} == {
        name: name for name in cli.commands
    }


def commands(group: click.Group, *path: str) -> Iterator[tuple[str, ...]]:
    """The words of every command and group."""
    yield path
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)
        else:
            yield (*path, name)


@pytest.mark.parametrize("command", list(commands(cli)), ids=" ".join)
def test_every_help_has_examples(command: tuple[str, ...]) -> None:
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert "  Examples:\n    registry " in result.stdout


def test_every_key_is_a_flag_of_serve() -> None:
    flags = {flag for parameter in cli.commands["serve"].params for flag in parameter.opts}
    assert flags == {"file", "--config", *(key.flag for key in SCHEMA.values())}
    assert run("config", "--no-access-log", "--sparse").exit_code == 0


@pytest.mark.parametrize("name", SCHEMA)
def test_help_shows_the_true_default(name: str) -> None:
    if name == "root" and sys.platform == "darwin":
        pytest.skip("the help shows the default of Linux")
    shown = default_text(name)
    value = getattr(Settings(root="/"), name)
    assert shown == (
        "~/.local/share/oci-registry"
        if name == "root"
        else "empty"
        if value in ("", ())
        else str(value).lower()
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["serve", "--port", "http"], "port = 'http' (flag --port): expected a whole number from 0 to 65535"),
        (["serve", "--host", "0.0.0.0"], "--anonymous pull"),
        (["serve", "--audit-log", "/nowhere/audit.log"], "audit_log = /nowhere/audit.log cannot be written"),
        (["serve", "--config", "/nowhere.toml"], "/nowhere.toml cannot be read"),
        (["serve", "/nowhere.toml"], "/nowhere.toml cannot be read"),
        (["serve", "/nowhere/config.yml"], "YAML"),
        (["serve", "a.toml", "--config", "b.toml"], "once"),
        (["serve", "--nonsense"], "No such option"),
        (["config", "--workers", "0"], "workers = 0"),
        (["nonsense"], "No such command"),
        (["ls"], "there is no registry in"),
        (["ls", "UPPER", "--root", "{root}"], "'UPPER' is not a repository name"),
        (["rm"], "Missing argument"),
        (["rm", "team/app:", "--root", "{root}"], "is not a tag"),
        (["rm", "team/app@sha256:12", "--root", "{root}"], "sha256:12"),
        (["rm", "host.example:5000/team/app", "--root", "{root}"], "is not a tag"),
    ],
)
def test_mistakes_end_with_2_and_say_what_to_do(root: str, arguments: list[str], says: str) -> None:
    result = run(*(argument.format(root=root) for argument in arguments))
    assert result.exit_code == 2
    assert says in result.stderr
    assert result.stdout == ""


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = run("serve", "--root", str(tmp_path / "new"), "--port", port)
    assert result.exit_code == 2
    assert f"cannot listen on 127.0.0.1 port {port}: Address already in use" in result.stderr
    assert "--port" in result.stderr


def test_the_file_that_recipes_name_need_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.cli.commands.serve._BUILT_IN", (str(tmp_path / "config.yml"),))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = run("serve", str(tmp_path / "config.yml"), "--root", str(tmp_path / "new"), "--port", port)
    assert "config.yml does not exist, going on without it" in result.stderr
    assert "cannot listen" in result.stderr  # it got past the settings


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["ls", "absent"], "absent"),
        (["rm", "--yes", "absent"], "absent"),
        (["rm", "team/app:absent"], "absent"),
        (["rm", f"team/app@{Digest.of(b'absent')}"], str(Digest.of(b"absent"))),
        (["rm", f"team/app@{Digest.of(IMAGE)}"], str(Digest.of(INDEX))),
    ],
)
def test_what_is_not_there_or_still_needed_ends_with_1(root: str, arguments: list[str], says: str) -> None:
    result = run(*arguments, "--root", root)
    assert result.exit_code == 1
    assert says in result.stderr
    assert tags_of(root) == ["all", "v1", "v2"]


def test_ls_repositories(root: str) -> None:
    assert run("ls", "--root", root).stdout.split() == [
        *("REPOSITORY", "TAGS", "MANIFESTS", "SIZE"),
        *("team/app", "3", "2", "2.2", "kB"),
    ]
    assert json.loads(run("ls", "--root", root, "--json").stdout) == [
        {"name": "team/app", "tags": 3, "manifests": 2, "size": len(LAYER + b"{}" + IMAGE + INDEX)}
    ]


def test_ls_one_repository(root: str) -> None:
    lines = run("ls", "team/app", "--root", root).stdout.splitlines()
    assert lines[0].split() == ["TAG", "DIGEST", "SIZE", "MEDIA", "TYPE"]
    assert [line.split()[0] for line in lines[1:]] == ["all", "v1", "v2"]
    listed = json.loads(run("ls", "team/app", "--root", root, "--json").stdout)
    assert listed["name"] == "team/app"
    assert listed["tags"][1] == {
        "name": "v1",
        "digest": str(Digest.of(IMAGE)),
        "media_type": builders.OCI_IMAGE,
        "size": len(LAYER + b"{}" + IMAGE),
    }


def test_ls_reads_the_root_of_the_environment(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_ROOT", root)
    monkeypatch.setenv("REGISTRY_HOST", "0.0.0.0")  # what would stop a server does not stop a listing
    assert "team/app" in run("ls").stdout


def test_ls_makes_no_root(tmp_path: Path) -> None:
    assert run("ls", "--root", str(tmp_path / "absent")).exit_code == 2
    assert not (tmp_path / "absent").exists()


def test_rm_a_tag(root: str) -> None:
    result = run("rm", "team/app:v1", "--root", root)
    assert result.stdout == f"removed the tag team/app:v1; its manifest {Digest.of(IMAGE)} stays\n"
    assert tags_of(root) == ["all", "v2"]


def test_rm_a_manifest(root: str) -> None:
    result = run("rm", f"team/app@{Digest.of(INDEX)}", "--root", root)
    assert result.stdout == f"removed team/app@{Digest.of(INDEX)} and its tags all\n"
    result = run("rm", f"team/app@{Digest.of(IMAGE)}", "--root", root)
    assert result.stdout == f"removed team/app@{Digest.of(IMAGE)} and its tags v1, v2\n"
    assert tags_of(root) == []


def test_rm_sparse_removes_what_another_manifest_names(root: str) -> None:
    assert run("rm", "--sparse", f"team/app@{Digest.of(IMAGE)}", "--root", root).exit_code == 0
    assert tags_of(root) == ["all"]


@pytest.mark.parametrize(
    ("flags", "answer", "code", "left"),
    [
        ([], "n\n", 1, 1),
        ([], "", 1, 1),
        ([], "y\n", 0, 0),
        (["--yes"], "", 0, 0),
    ],
)
def test_rm_a_repository_asks(root: str, flags: list[str], answer: str, code: int, left: int) -> None:
    result = run("rm", *flags, "team/app", "--root", root, given=answer)
    assert result.exit_code == code
    assert ("removed team/app: 3 tags, 2 manifests, 2 blobs" in result.stdout) == (code == 0)
    assert len(json.loads(run("ls", "--root", root, "--json").stdout)) == left


def test_fsck_of_a_sound_root(root: str) -> None:
    result = run("fsck", "--root", root)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "4 blobs" in result.stdout
    assert "1 repositories, 2 manifests, 3 tags" in result.stdout
    assert result.stdout.endswith("\nsound\n")
    report = json.loads(run("fsck", "--root", root, "--json").stdout)
    assert (report["sound"], report["findings"], report["blobs"]) == (True, [], 4)


def test_fsck_finds_and_repairs_bad_bytes(root: str) -> None:
    path = Layout(root).blob(Digest.of(LAYER))
    os.chmod(path, 0o600)
    with open(path, "wb") as file:
        file.write(b"y" * len(LAYER))
    os.chmod(path, 0o400)

    found = run("fsck", "--root", root)
    assert found.exit_code == 1
    assert f"corrupt: {Digest.of(LAYER)}: " in found.stdout
    assert os.path.exists(path)

    repaired = json.loads(run("fsck", "--root", root, "--repair", "--json").stdout)
    assert not repaired["sound"]
    assert any(finding["kind"] == "corrupt" and finding["repaired"] for finding in repaired["findings"])
    assert not os.path.exists(path)

    asyncio.run(_push_again(root))
    assert run("fsck", "--root", root).exit_code == 0


async def _push_again(root: str) -> None:
    store = open_store(root, durable=False)
    await _fill(store)
    store.close()


def test_fsck_clears_the_mark_of_a_failed_sync(root: str) -> None:
    with open(Layout(root).degraded, "w") as file:
        file.write("fsync failed")
    found = run("fsck", "--root", root)
    assert found.exit_code == 1
    assert "degraded" in found.stdout
    assert run("fsck", "--root", root, "--repair").exit_code == 1
    assert run("fsck", "--root", root).exit_code == 0


def test_a_broken_index_is_a_message(root: str) -> None:
    for suffix in ("", "-wal", "-shm"):
        with open(Layout(root).index + suffix, "wb") as file:
            file.write(b"no database" * 1000)
    result = run("ls", "--root", root)
    assert result.exit_code == 1
    assert "cannot be opened" in result.stderr


def test_config_shows_values_and_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "registry.toml"
    file.write_text("drain = 5\nsparse = true\n")
    monkeypatch.setenv("REGISTRY_PORT", "5001")
    arguments = ["config", "--config", str(file), "--workers", "2"]
    listed = json.loads(run(*arguments, "--json").stdout)
    assert set(listed) == set(SCHEMA)
    assert [listed[key] for key in ("drain", "port", "workers", "host")] == [
        {"value": 5, "source": f"file {file}"},
        {"value": 5001, "source": "environment REGISTRY_PORT"},
        {"value": 2, "source": "flag --workers"},
        {"value": "127.0.0.1", "source": "default"},
    ]
    lines = {line.split()[0]: line for line in run(*arguments).stdout.splitlines()}
    assert set(lines) == {"KEY", *SCHEMA}
    assert lines["port"].split() == ["port", "5001", "environment", "REGISTRY_PORT"]


def test_warnings_go_to_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_ROT", "/srv")
    result = run("config", "--json")
    assert "warning: REGISTRY_ROT is not a setting" in result.stderr
    assert set(json.loads(result.stdout)) == set(SCHEMA)


def test_health_without_a_server() -> None:
    result = run("health", "--port", "1")
    assert result.exit_code == 1
    assert "127.0.0.1:1/readyz does not answer" in result.stderr
