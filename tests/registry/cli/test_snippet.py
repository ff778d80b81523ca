"""`registry snippet`: each text is read as what it is, and says what its client needs.

Real clients read the same texts in tests/e2e/test_cache.py.
"""

import json
import os
import subprocess
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from registry.__main__ import cli
from registry.cli.snippets import SNIPPETS

URL, HOST = "http://registry.lan:5000", "registry.lan:5000"
SAFE, SAFE_HOST = "https://registry.example", "registry.example"
TWO = ("docker.io", "quay.example:8443")
CERTS = "/etc/containerd/certs.d"
PULLS, PUSHES = ["pull", "resolve"], ["pull", "resolve", "push"]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["snippet", *arguments], prog_name="registry")


def files(client: str, url: str = URL, names: tuple[str, ...] = TWO) -> dict[str, Any]:
    """Path → what is read there."""
    named = [word for name in names for word in ("--upstream", name)]
    result = run(client, "--url", url, *named, "--json")
    assert result.exit_code == 0, result.stderr
    return {each["path"]: READ[each["form"]](each["text"]) for each in json.loads(result.stdout)}


READ: Mapping[str, Callable[[str], Any]] = {
    "json": json.loads,
    "toml": tomllib.loads,
    "yaml": yaml.safe_load,
    "sh": str,
}


def buildkitd(text: str) -> Any:
    return tomllib.loads(text)["registry"]


PLAIN_BUILDKIT = {**{name: {"mirrors": [HOST]} for name in TWO}, HOST: {"http": True}}


def test_docker() -> None:
    path = "/etc/docker/daemon.json"
    assert files("docker-mirror")[path] == {"registry-mirrors": [URL], "insecure-registries": [HOST]}
    assert files("docker-mirror", SAFE)[path] == {"registry-mirrors": [SAFE]}
    # Docker takes these for insecure by itself.
    near = "http://127.0.0.1:5000"
    assert files("docker-mirror", near)[path] == {"registry-mirrors": [near]}


def test_containerd() -> None:
    assert files("containerd") == {
        f"{CERTS}/docker.io/hosts.toml": {"host": {URL: {"capabilities": PULLS}}},
        f"{CERTS}/quay.example:8443/hosts.toml": {"host": {URL: {"capabilities": PULLS}}},
        f"{CERTS}/{HOST}/hosts.toml": {"host": {URL: {"capabilities": PUSHES}}},
    }
    assert set(files("containerd", SAFE, ("ghcr.io",))) == {f"{CERTS}/ghcr.io/hosts.toml"}


def test_podman() -> None:
    (read,) = files("podman").values()
    mirrored = [
        {"location": name, "mirror": [{"location": f"{HOST}/{name}", "insecure": True}]} for name in TWO
    ]
    assert read["registry"] == [*mirrored, {"location": HOST, "insecure": True}]
    (read,) = files("podman", SAFE, ("ghcr.io",)).values()
    mirror = {"location": f"{SAFE_HOST}/ghcr.io", "insecure": False}
    assert read["registry"] == [{"location": "ghcr.io", "mirror": [mirror]}]


def test_buildkit() -> None:
    assert files("buildkit") == {"/etc/buildkit/buildkitd.toml": {"registry": PLAIN_BUILDKIT}}
    (read,) = files("buildkit", SAFE, ("ghcr.io",)).values()
    assert read["registry"] == {"ghcr.io": {"mirrors": [SAFE_HOST]}}


def test_kind(tmp_path: Path) -> None:
    """Run, with commands in the place of kind and docker that write into folders."""
    (script,) = files("kind").values()
    for name, text in {
        "kind": '[ "$*" = "get nodes --name mine" ] && echo one two',
        "docker": 'shift; [ "$1" = -i ] && shift; node=$1 word=$2; shift 2; last=""\n'
        'for each in "$@"; do last=$each; done\n'
        f'case $word in mkdir) mkdir -p "{tmp_path}/$node$last";; cp) cat > "{tmp_path}/$node$last";; esac',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o700)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", "-s", "mine"], input=script, env=environment, text=True, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    for node in ("one", "two"):
        for path, value in files("containerd").items():
            assert tomllib.loads(Path(f"{tmp_path}/{node}{path}").read_text()) == value


def test_k3d() -> None:
    assert files("k3d") == {
        "registries.yaml": {"mirrors": {name: {"endpoint": [URL]} for name in (*TWO, HOST)}}
    }
    assert files("k3d", SAFE, ("ghcr.io",)) == {
        "registries.yaml": {"mirrors": {"ghcr.io": {"endpoint": [SAFE]}}}
    }


def test_github_actions() -> None:
    (read,) = files("github-actions").values()
    _, builder, build = read["jobs"]["image"]["steps"]
    assert buildkitd(builder["with"]["buildkitd-config-inline"]) == PLAIN_BUILDKIT
    ref = f"{HOST}/${{{{ github.repository }}}}"
    assert build["with"]["tags"] == f"{ref}:${{{{ github.sha }}}}"
    assert build["with"]["cache-from"] == f"type=registry,ref={ref}/cache:main"
    assert build["with"]["cache-to"] == f"type=registry,ref={ref}/cache:main,mode=max"


def test_gitlab(tmp_path: Path) -> None:
    (read,) = files("gitlab").values()
    (job,) = read.values()
    written, made, built = job["script"]
    subprocess.run(["sh", "-ceu", written], cwd=tmp_path, check=True)
    assert buildkitd((tmp_path / "buildkitd.toml").read_text()) == PLAIN_BUILDKIT
    assert made.endswith("--buildkitd-config buildkitd.toml")
    ref = f"{HOST}/$CI_PROJECT_PATH"
    assert f'--tag "{ref}:$CI_COMMIT_SHA"' in built
    assert f'--cache-to "type=registry,ref={ref}/cache:main,mode=max"' in built
    assert built.endswith(" .")


@pytest.mark.parametrize("client", SNIPPETS)
def test_the_path_is_on_top_and_nothing_else_is_printed(client: str) -> None:
    asked = (client, "--url", URL, "--upstream", "docker.io")
    result = run(*asked)
    listed = json.loads(run(*asked, "--json").stdout)
    parts = [
        each["text"] if each["form"] == "json" else f"# {each['path']}\n{each['text']}" for each in listed
    ]
    assert result.stdout == "\n".join(parts)
    assert result.stderr == f"registry: {SNIPPETS[client].after}\n"


@pytest.mark.parametrize("client", SNIPPETS)
def test_who_has_a_network_of_its_own_is_not_led_to_itself(client: str) -> None:
    result = run(client)
    assert "127.0.0.1:5000" in result.stdout
    assert ("warning: http://127.0.0.1:5000 is this machine" in result.stderr) is SNIPPETS[client].inside


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        ([], "http://127.0.0.1:5000"),
        (["--host", "0.0.0.0", "--port", "5001"], "http://127.0.0.1:5001"),
        (["--host", "::1"], "http://[::1]:5000"),
        (["--host", "registry.lan", "--tls-cert", "a.pem"], "https://registry.lan:5000"),
        (["--external-url", "https://registry.example"], "https://registry.example"),
        (["--external-url", "https://registry.example", "--url", "http://other:1/"], "http://other:1"),
    ],
)
def test_the_address_is_the_one_that_is_set(flags: list[str], found: str) -> None:
    result = run("docker-mirror", *flags)
    assert json.loads(result.stdout)["registry-mirrors"] == [found], result.stderr


HUB = 'upstream = [{name = "docker.io", default = true}]\n'


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ("", ["docker.io"]),
        ('mirror = ["ghcr.io", "docker.io"]\n', ["ghcr.io", "docker.io"]),
        (f'{HUB}mirror = ["ghcr.io"]\n', ["docker.io", "ghcr.io"]),
    ],
)
def test_the_upstreams_are_those_that_are_set(settings: str, names: list[str], tmp_path: Path) -> None:
    (tmp_path / "registry.toml").write_text(settings)
    result = run("buildkit", "--url", SAFE, "--config", str(tmp_path / "registry.toml"))
    assert tomllib.loads(result.stdout) == {"registry": {name: {"mirrors": [SAFE_HOST]} for name in names}}


@pytest.mark.parametrize(
    ("settings", "fits"),
    [
        (HUB, True),
        ('mirror = ["docker.io"]\n', True),
        ('mirror = ["docker.io"]\nupstream = [{name = "ghcr.io", default = true}]\n', False),
        ('upstream = [{name = "docker.io"}]\n', False),
        ("", False),
    ],
)
def test_docker_asks_the_default_upstream_alone(settings: str, fits: bool, tmp_path: Path) -> None:
    (tmp_path / "registry.toml").write_text(settings)
    result = run("docker-mirror", "--config", str(tmp_path / "registry.toml"))
    assert ("docker.io is not the default upstream by these settings" in result.stderr) is not fits


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["docker"], "'docker-mirror'"),
        (["podman", "--url", "registry.lan:5000"], "expected a URL such as https://registry.example"),
        (["podman", "--url", ""], "expected a URL"),
        (["podman", "--config", "{twice}"], "expected each upstream once"),
        (["podman", "--upstream", "https://ghcr.io"], "expected a registry such as docker.io or ghcr.io"),
        (["docker-mirror", "--upstream", "ghcr.io"], "docker-mirror is for docker.io alone"),
    ],
)
def test_mistakes_end_with_2_and_say_what_to_do(arguments: list[str], says: str, tmp_path: Path) -> None:
    twice = tmp_path / "registry.toml"
    twice.write_text('upstream = [{name = "ghcr.io"}]\nmirror = ["ghcr.io"]\n')
    result = run(*(argument.format(twice=twice) for argument in arguments))
    assert result.exit_code == 2
    assert says in result.stderr
    assert result.stdout == ""
