"""Runs real clients, each command in a closed environment: no settings, logins or proxies of the user."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

COMMAND_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class Client:
    """A program; calling it runs it, requires exit code 0 and returns what it printed on standard output."""

    program: str
    environment: Mapping[str, str]
    folder: Path | None = None  # where it runs

    def __call__(self, *arguments: str | Path, stdin: bytes = b"") -> str:
        done = self.attempt(*arguments, stdin=stdin)
        if done.returncode != 0:
            told = (done.stdout + done.stderr).decode(errors="replace")
            raise AssertionError(f"{self.program} {' '.join(map(str, arguments))}: {done.returncode}\n{told}")
        return done.stdout.decode().strip()

    def attempt(self, *arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [self.program, *map(str, arguments)],
            input=stdin,
            env=dict(self.environment),
            cwd=self.folder,
            capture_output=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )

    def within(self, **variables: str) -> "Client":
        return replace(self, environment={**self.environment, **variables})

    def at(self, folder: Path) -> "Client":
        return replace(self, folder=folder)


def closed_environment(home: Path) -> dict[str, str]:
    """What a client sees: the programs' folders and an empty home with empty credentials."""
    home.mkdir(parents=True, exist_ok=True)
    credentials = home / "config.json"
    credentials.write_text("{}")
    return {
        "PATH": search_path(),
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "TMPDIR": os.environ.get("TMPDIR", "/tmp"),
        "XDG_RUNTIME_DIR": str(home),
        "DOCKER_CONFIG": str(home),
        "REGISTRY_AUTH_FILE": str(credentials),
    }


@cache
def search_path() -> str:
    """PATH, then the folder that `go install` fills, then the folders of system daemons."""
    folders = os.environ.get("PATH", "").split(os.pathsep)
    if shutil.which("go"):
        asked = ["go", "env", "GOBIN", "GOPATH"]
        own, path, *_ = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split("\n")
        folders.append(own or f"{path}/bin")
    return os.pathsep.join([*folders, "/usr/local/sbin", "/usr/sbin", "/sbin"])


def find(tool: str) -> str | None:
    return shutil.which(tool, path=search_path())
