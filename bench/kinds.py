"""The servers that are measured: how each is found, and started on a folder and a port.

Peers run at their best: no access log, no telemetry, the cache that their images switch on. Ours runs with
its defaults, so with its access log and every check and fsync, unless the column's name says otherwise.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from registry import __version__

PROJECT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Certificate:
    cert: Path
    key: Path


Command = Callable[[str, Path, int, Certificate | None], list[str]]
"""Makes the command line from the program's path, the server's own folder, the port, and what TLS needs."""


@dataclass(frozen=True, slots=True)
class Kind:
    """`syncs`: whether a pushed blob's bytes are on the disk when it answers 201."""

    name: str
    family: str
    programs: tuple[str, ...]
    version: tuple[str, ...]  # arguments that make the program print its version
    command: Command
    marker: str = ""  # what that must contain: other programs have the name too
    syncs: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Found:
    kind: Kind
    program: str
    version: str


def ours(*flags: str) -> Command:
    def command(program: str, folder: Path, port: int, tls: Certificate | None) -> list[str]:
        root = () if {"--ephemeral", "--root"} & set(flags) else ("--root", str(folder / "root"))
        return [program, "-P", "-m", "registry", "serve", *root, "--port", str(port), *flags, *_flags(tls)]

    return command


def _flags(tls: Certificate | None) -> list[str]:
    return ["--tls-cert", str(tls.cert), "--tls-key", str(tls.key)] if tls else []


def _distribution(program: str, folder: Path, port: int, tls: Certificate | None) -> list[str]:
    config = folder / "config.yml"
    http: dict[str, object] = {"addr": f"127.0.0.1:{port}"}
    if tls:
        http["tls"] = {"certificate": str(tls.cert), "key": str(tls.key)}
    config.write_text(
        f"""version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage:
  delete: {{enabled: true}}
  cache: {{blobdescriptor: inmemory}}
  filesystem: {{rootdirectory: {json.dumps(str(folder / "root"))}}}
http: {json.dumps(http)}
"""
    )
    return [program, "serve", str(config)]


def _olareg(program: str, folder: Path, port: int, tls: Certificate | None) -> list[str]:
    (folder / "root").mkdir(exist_ok=True)
    where = ["--addr", "127.0.0.1", "--port", str(port), "--dir", str(folder / "root"), *_flags(tls)]
    return [program, "serve", *where, "--store-type", "dir", "--api-delete", "--api-blob-delete"]


def _zot(program: str, folder: Path, port: int, tls: Certificate | None) -> list[str]:
    config = folder / "config.json"
    http: dict[str, object] = {"address": "127.0.0.1", "port": str(port)}
    if tls:
        http["tls"] = {"cert": str(tls.cert), "key": str(tls.key)}
    settings = {
        "distSpecVersion": "1.1.0",
        "storage": {"rootDirectory": str(folder / "root")},
        "http": http,
        "log": {"level": "error"},
    }
    config.write_text(json.dumps(settings))
    return [program, "serve", str(config)]


def _nginx(program: str, folder: Path, port: int, tls: Certificate | None) -> list[str]:
    """Serves the files of root/: the ceiling of any pull."""
    (folder / "root").mkdir(exist_ok=True)
    files = (
        f"ssl_protocols TLSv1.3; ssl_certificate {tls.cert}; ssl_certificate_key {tls.key};" if tls else ""
    )
    listen = f"listen 127.0.0.1:{port}{' ssl' if tls else ''}; {files}"
    user = "user root;" if os.getuid() == 0 else ""  # its workers could not read our folders
    temporary = "".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = folder / "nginx.conf"
    config.write_text(
        f"""{user} daemon off; worker_processes auto; pid {folder}/nginx.pid; error_log stderr error;
events {{ worker_connections 1024; }}
http {{ sendfile on; tcp_nopush on; access_log off; {temporary}
  server {{ {listen} root {folder}/root; location = /v2/ {{ return 200; }} }} }}
"""
    )
    return [program, "-p", str(folder), "-c", str(config)]


def _nothing(_program: str, _folder: Path, _port: int, _tls: Certificate | None) -> list[str]:
    raise AssertionError("the floor is no server")


_PYTHON = (sys.executable,)
_DISTRIBUTION_3 = {"OTEL_TRACES_EXPORTER": "none"}  # as in its image; else it looks for a collector

KINDS = (
    Kind("ours", "ours", _PYTHON, (), ours(), syncs=True),
    Kind("ours 2w", "ours", _PYTHON, (), ours("--workers", "2"), syncs=True),
    Kind("ours nolog", "ours", _PYTHON, (), ours("--no-access-log"), syncs=True),
    Kind("ours nosync", "ours", _PYTHON, (), ours("--ephemeral")),
    Kind("floor", "floor", ("openssl",), ("version",), _nothing),
    Kind("nginx", "nginx", ("nginx",), ("-v",), _nginx),
    Kind(
        "distribution",
        "distribution",
        ("registry",),
        ("--version",),
        _distribution,
        marker="distribution/distribution/v3",
        syncs=True,
        environment=_DISTRIBUTION_3,
    ),
    Kind(
        "distribution2",
        "distribution2",
        ("docker-registry", "registry"),
        ("--version",),
        _distribution,
        marker="github.com/docker/distribution",
        syncs=True,
    ),
    Kind("olareg", "olareg", ("olareg",), ("version",), _olareg),
    Kind("zot", "zot", ("zot",), ("--version",), _zot),
)


def find(kind: Kind) -> Found | None:
    """The kind with its program, if this machine has it."""
    if kind.family == "ours":
        return Found(kind, sys.executable, __version__)
    for program in kind.programs:
        for folder in _folders():
            path = shutil.which(program, path=folder)
            text = _version(path, kind.version) if path else ""
            if path and kind.marker in text:
                return Found(kind, path, _number(text))
    return None


def _folders() -> list[str]:
    """PATH, and where `go install` and Debian put programs."""
    go = [os.environ.get("GOBIN", ""), str(Path.home() / "go" / "bin")]
    return [folder for folder in [*os.environ.get("PATH", "").split(":"), *go, "/usr/sbin"] if folder]


def _version(path: str, arguments: tuple[str, ...]) -> str:
    done = subprocess.run([path, *arguments], capture_output=True, text=True, check=False, timeout=20)
    return done.stdout + done.stderr


def _number(text: str) -> str:
    """The first word that looks like a version."""
    words = (word.strip('",').rpartition("/")[2] for word in text.split())
    return next((word for word in words if any(map(str.isdigit, word)) and "." in word), text.strip()[:40])
