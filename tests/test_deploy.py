"""What `deploy/` and the Dockerfile say is what the program knows and does."""

import os
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from registry.__main__ import cli
from registry.config import default_root, load
from registry.settings import SCHEMA, Settings
from tests.e2e.serving import serve
from tests.missing import absent

PROJECT = Path(__file__).parents[1]
DEPLOY = PROJECT / "deploy"
KEY_LINE = re.compile(r"#(\w+ = .*)")
HOME = {"HOME": "/home/ann"}


def entries() -> Iterator[tuple[str, str]]:
    """(comment, key line without its #) of deploy/registry.toml."""
    comment: list[str] = []
    for line in (DEPLOY / "registry.toml").read_text().splitlines():
        if found := KEY_LINE.fullmatch(line):
            yield " ".join(comment), found[1]
        comment = [*comment, line.removeprefix("# ")] if line.startswith("# ") else []


def uncommented() -> str:
    return "\n".join(line for _, line in entries())


def test_the_file_has_every_key_and_explains_it_as_the_schema_does() -> None:
    comments = {line.split(" = ")[0]: comment for comment, line in entries()}
    assert list(comments) == list(SCHEMA)
    assert {name for name, comment in comments.items() if not comment.startswith(SCHEMA[name].help)} == set()


def test_as_it_is_the_file_changes_nothing() -> None:
    assert tomllib.loads((DEPLOY / "registry.toml").read_text()) == {}


def test_uncommented_the_file_is_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("HOME", HOME["HOME"])
    file = tmp_path / "registry.toml"
    file.write_text(uncommented())
    assert set(tomllib.loads(uncommented())) == set(SCHEMA)
    assert load({}, HOME, str(file)).settings == Settings(root=default_root(HOME))


def test_a_server_starts_from_the_file(tmp_path: Path) -> None:
    file = tmp_path / "registry.toml"
    file.write_text(uncommented())
    with serve(tmp_path, "--config", str(file)) as server:
        port = server.host.partition(":")[2]
        healthy = CliRunner().invoke(cli, ["health", "--config", str(file), "--port", port])
        assert (healthy.exit_code, healthy.output) == (0, "ready\n")


def dockerfile() -> dict[str, list[str]]:
    """Instruction → its arguments, in order; continuation lines joined."""
    text = (PROJECT / "Dockerfile").read_text().replace("\\\n", " ")
    instructions: dict[str, list[str]] = {}
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if word.isalpha():
            instructions.setdefault(word, []).append(rest.strip())
    return instructions


def image_environment() -> dict[str, str]:
    return dict(part.split("=", 1) for line in dockerfile()["ENV"] for part in shlex.split(line))


def image_config() -> str:
    """The configuration file that the image is built with."""
    return "\n".join(
        re.findall(r"'([^']*)'", next(run for run in dockerfile()["RUN"] if "printf" in run))[1:]
    )


def test_the_image_serves_its_volume_on_its_port_to_anyone(tmp_path: Path) -> None:
    file = tmp_path / "registry.toml"
    file.write_text(image_config())
    loaded = load({}, {**image_environment(), "REGISTRY_CONFIG": str(file)})
    assert loaded.settings == Settings(root="/var/lib/registry", host="0.0.0.0", anonymous="unclaimed")
    assert loaded.warnings == ()
    assert dockerfile()["VOLUME"] == [loaded.settings.root]
    assert dockerfile()["EXPOSE"] == [str(loaded.settings.port)]


def test_a_mounted_file_decides_who_may_push(tmp_path: Path) -> None:
    file = tmp_path / "registry.toml"
    file.write_text('anonymous = "pull"')
    loaded = load({}, {**image_environment(), "REGISTRY_CONFIG": str(file)})
    assert loaded.settings.anonymous == "pull"


@pytest.mark.parametrize(
    "variable", ["REGISTRY_ROOT=/data", "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY=/data"]
)
def test_both_names_of_a_variable_override_the_image(variable: str) -> None:
    name, _, value = variable.partition("=")
    environ = image_environment() | {"REGISTRY_CONFIG": "", "REGISTRY_ANONYMOUS": "push", name: value}
    assert load({}, environ).settings.root == "/data"


def test_the_image_runs_real_commands_as_nobody_in_particular() -> None:
    assert dockerfile()["ENTRYPOINT"] == ['["registry"]']
    commands = [*dockerfile()["CMD"], *(line.split("CMD ")[1] for line in dockerfile()["HEALTHCHECK"])]
    words = [re.findall(r'"([^"]+)"', command) for command in commands]
    assert words == [["serve"], ["registry", "health"]]
    assert {"serve", "health"} <= set(cli.commands)
    user, _, group = dockerfile()["USER"][0].partition(":")
    assert int(user) > 0
    assert int(group) > 0


def test_the_build_context_has_what_the_dockerfile_copies() -> None:
    let_through = {
        line[1:] for line in (PROJECT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    }
    sources = {
        source.replace("[s]", "s")
        for line in dockerfile()["COPY"]
        if not line.startswith("--from")
        for source in line.split()[:-1]
    }
    assert sources == let_through
    assert [source for source in sources - {"wheels"} if not (PROJECT / source).exists()] == []


def unit() -> dict[str, str]:
    lines = (DEPLOY / "registry.service").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def test_the_unit_runs_a_real_command_and_lets_it_drain() -> None:
    program, command, *arguments = shlex.split(unit()["ExecStart"])
    assert os.path.basename(program) == "registry"
    assert cli.commands[command].make_context(command, arguments).params["config_file"]
    assert int(unit()["TimeoutStopSec"]) > Settings(root="/").drain
    name, root = unit()["Environment"].split("=")
    assert load({}, {name: root}).settings.root == f"/var/lib/{unit()['StateDirectory']}"


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        absent("systemd-analyze")
    copy = tmp_path / "registry.service"
    copy.write_text(
        (DEPLOY / "registry.service").read_text().replace("/opt/registry/bin/registry", "/bin/true")
    )
    result = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


def test_compose_gives_time_to_drain_and_keeps_the_volume() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    grace = re.search(r"stop_grace_period: (\d+)s", text)
    assert grace
    assert int(grace[1]) > Settings(root="/").drain
    assert f"images:{dockerfile()['VOLUME'][0]}" in text
    assert f'"127.0.0.1:5000:{dockerfile()["EXPOSE"][0]}"' in text
