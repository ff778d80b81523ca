"""A live server that lets only those in who may: its users, its rules, its administrator's view."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bcrypt
import httpx

from tests.e2e.images import TAG, sha256
from tests.e2e.serving import Server, serve

ADMIN = "admin"
RULES = """[
  {repositories = ["public/*"], anonymous = true, actions = ["pull"]},
  {repositories = ["public/*", "team/*"], users = ["alice-*"], actions = ["pull", "push"]},
  {repositories = ["team/*"], users = ["bob-*"], actions = ["pull"]},
  {repositories = ["*"], users = ["admin"], actions = ["*"]},
]"""
CHANGED_SECONDS = 2.0  # what was taken back is good for no longer


def password_of(user: str) -> str:
    return f"{user}'s pass:word"


def write_users(path: Path, passwords: Mapping[str, str]) -> None:
    """The htpasswd file, whole or not at all; at the least cost that there is."""
    lines = [
        f"{user}:{bcrypt.hashpw(text.encode(), bcrypt.gensalt(4)).decode()}\n"
        for user, text in passwords.items()
    ]
    path.with_suffix(".new").touch(mode=0o600)
    path.with_suffix(".new").write_text("".join(lines))
    path.with_suffix(".new").rename(path)


@dataclass(frozen=True, slots=True)
class Guarded:
    server: Server
    htpasswd: Path

    @property
    def admin(self) -> tuple[str, str]:
        return ADMIN, password_of(ADMIN)

    def get(self, path: str, status: int = 200) -> httpx.Response:
        url = f"http://{self.server.host}/v2/{path}"
        reply = httpx.get(url, auth=self.admin, trust_env=False)
        assert reply.status_code == status, f"GET {path}: {reply.status_code} {reply.text[:500]}"
        return reply

    def repositories(self) -> list[str]:
        found: list[str] = self.get("_catalog?n=1000").json()["repositories"]
        return found

    def digest(self, repository: str, tag: str = TAG) -> str:
        return sha256(self.get(f"{repository}/manifests/{tag}").content)

    def movers(self, repository: str) -> list[str]:
        """Who moved the repository's tags, the last move first."""
        command = [sys.executable, "-m", "registry", "tag", "history", repository, "--json"]
        place = ["--root", str(self.server.root)]
        told = subprocess.run([*command, *place], capture_output=True, text=True, check=True).stdout
        return [move["who"] for move in json.loads(told)]

    def mounts(self, repository: str, source: str | None = None) -> list[int]:
        """The statuses of all mounts into the repository; only those from the source, if there is one."""
        wanted = "" if source is None else f"from={source}"
        return [
            one["status"]
            for one in self.uploads(repository)
            if "mount=" in one["target"] and wanted in one["target"].replace("%2F", "/")
        ]

    def uploads(self, repository: str) -> list[dict[str, Any]]:
        """The requests that began an upload, or were to, and were not sent away to get a token first."""
        return [
            one
            for one in self.server.requests()
            if one["method"] == "POST"
            and one["target"].startswith(f"/v2/{repository}/blobs/uploads/")
            and one["status"] != 401
        ]


@contextlib.contextmanager
def guard(folder: Path, users: Mapping[str, str], *flags: str, module: str = "registry") -> Iterator[Guarded]:
    htpasswd = folder / "htpasswd"
    write_users(htpasswd, users)
    with serve(folder, f"--htpasswd={htpasswd}", f"--access={RULES}", *flags, module=module) as server:
        yield Guarded(server, htpasswd)


def settle() -> None:
    """Wait for as long as what was taken back may still be good."""
    time.sleep(CHANGED_SECONDS)
