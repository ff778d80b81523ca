"""`registry pull` as it is called: what it prints, and with which exit code it ends."""

import json
import signal
import socket
import subprocess
import sys

import pytest
from click.testing import CliRunner, Result

from registry.__main__ import cli
from storage.digest import Digest
from tests.registry.cli.pull.stand import Fault, Stand, standing


def run(*arguments: str, given: str = "") -> Result:
    return CliRunner().invoke(cli, ["pull", *arguments], input=given, prog_name="registry")


def test_a_line_for_each_image() -> None:
    with standing(Stand()) as stand:
        raw = stand.add("library/a:v1", bytes(2_000_000))
        result = run("a:v1", "docker.io/library/a:v1", "--server", stand.url)
    (line,) = result.stdout.splitlines()
    assert line.startswith(f"docker.io/library/a:v1  {Digest.of(raw)}  2.0 MB, 2.0 MB of it was there, ")
    assert (result.exit_code, result.stderr) == (0, "")


def test_one_that_fails_is_told_and_the_others_come() -> None:
    with standing(Stand(status="", faults=[Fault("/bad/", status=502)])) as stand:
        stand.add("library/good:latest", b"layer")
        result = run("bad", "good", "--server", stand.url)
    assert result.exit_code == 1
    assert result.stdout.startswith("docker.io/library/good:latest  sha256:")
    assert "was there" not in result.stdout
    assert result.stderr.splitlines() == [
        "registry: docker.io/library/bad:latest: scripted 502",
        "registry: 1 of 2 images could not be pulled",
    ]


def test_for_programs() -> None:
    with standing(Stand(status="oci-registry; fwd=miss")) as stand:
        raw = stand.add("library/a:latest", b"layer")
        result = run("a", "absent", "--json", "--server", stand.url)
    assert result.exit_code == 1
    found = {each.pop("image"): each for each in json.loads(result.stdout)}
    assert found["docker.io/library/a:latest"].pop("seconds") >= 0
    assert found["docker.io/library/a:latest"] == {
        "digest": str(Digest.of(raw)),
        "bytes": len(raw) + len(b'{"seed": "library/a:latest"}layer'),
        "bytes_there": 0,
        "error": None,
    }
    assert found["docker.io/library/absent:latest"]["error"] == "scripted 404"


def test_ctrl_c() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        command = [sys.executable, "-m", "registry", "pull", "a", "--server", url]
        with (
            subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process,
            server.accept()[0] as silent,
        ):
            silent.recv(1)
            process.send_signal(signal.SIGINT)
            try:
                _, said = process.communicate(timeout=20)
            finally:
                process.kill()
    assert (process.returncode, said) == (130, "registry: interrupted\n")


def test_a_password() -> None:
    with standing(Stand(login=("ci", "secret"))) as stand:
        stand.add("library/a:latest", b"layer")
        login = ("--username", "ci", "--password-stdin", "--server", stand.url)
        assert run("a", *login, given="secret\n").exit_code == 0
        assert run("a", *login, given="typo\n").exit_code == 1
        result = run("a", "--server", stand.url)
        assert (result.exit_code, "add --username NAME" in result.stderr) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["Alpine:v1"], "'library/Alpine' is not a repository name"),
        (["a@sha256:short"], "sha256"),
        ([], "IMAGE"),
        (["a", "--platform", "amd64"], "expected OS/ARCH"),
        (["a", "--platform", "linux/amd64", "--all-platforms"], "one of them, not both"),
        (["a", "--server", "127.0.0.1:5000"], "expected a URL without a path"),
        (["a", "--server", "https://registry.example/v2"], "expected a URL without a path"),
        (["a", "--username", "ci"], "give both or neither"),
        (["a", "--password-stdin"], "give both or neither"),
        (["a", "--username", "ci", "--password-stdin"], "standard input has no password"),
        (
            ["a", "--username", "ci", "--password-stdin", "--server", "http://registry.example"],
            "is not https",
        ),
        (["a", "--jobs", "0"], "--jobs"),
    ],
)
def test_mistakes(arguments: list[str], says: str) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert says in result.stderr


def test_a_file_that_is_not_there() -> None:
    result = run("a", "--ca-file", "/nowhere.pem", "--server", "https://registry.example")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "No such file" in result.stderr
