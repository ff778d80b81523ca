"""A real server that is fuzzed, and how it has to be afterwards."""

import asyncio
import contextlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bcrypt
import httpx

from registry.fsck import read
from storage.check import check
from storage.store import open_store
from tests.api.world import World, begin, fill
from tests.live.servers import Live, running

MIB = 2**20
GROWTH = (
    16 * MIB
)  # of resident memory: kept answers may take as much, and what was freed is not all given back
# Else glibc keeps heaps for threads: over 150,000 connections 50 bytes of each stayed, while neither what
# malloc had given out (mallinfo2) nor the number of Python's objects grew.
ONE_HEAP = {"MALLOC_ARENA_MAX": "1"}
SESSIONS = 8
USER = ("fuzz", "a password")
_RSS = re.compile(r"^VmRSS:\s+(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Arena:
    """`uploads` are open sessions of the world's repository; `lines` will be those of the access log."""

    live: Live
    world: World
    uploads: tuple[str, ...]
    warm: list[int] = field(default_factory=list)
    lines: list[dict[str, Any]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://{self.live.host}"

    def note_memory(self) -> None:
        """Once the server has done some of everything."""
        if not self.warm:
            self.warm.append(_resident(self.live.pid))


@contextlib.contextmanager
def attacked(name: str, say: Callable[[str], None], *, users: bool = False) -> Iterator[Arena]:
    """A server, for anyone or for `USER`. After the block it must be as if nothing had happened.

    It answers; no answer was a server error; its memory is what it was; it stops as it should, without a
    traceback; and fsck finds nothing wrong.
    """
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=memory) as folder:
        root = Path(folder, "root")
        file = Path(folder, "htpasswd")
        file.write_bytes(b"%b:%b\n" % (USER[0].encode(), bcrypt.hashpw(USER[1].encode(), bcrypt.gensalt(4))))
        options = ["--htpasswd", str(file)] if users else []
        with running(root, *options, environment={**os.environ, **ONE_HEAP}) as live:
            world, uploads = asyncio.run(_fill(live.host, USER if users else None))
            arena = Arena(live, world, uploads)
            yield arena
            assert httpx.get(f"{arena.url}/readyz").status_code == 200
            grown = _resident(live.pid) - arena.warm[0]
        lines = [line for line in live.said().splitlines() if line.startswith('{"time"')]
        arena.lines.extend(map(json.loads, lines))
        failed = [line for line in arena.lines if line["status"] >= 500]
        findings = _fsck(root)
        say(
            f"{name}: {len(lines)} requests, {len(failed)} server errors; fsck: {len(findings)} findings;"
            f" memory: {grown / MIB:+.1f} MiB"
        )
        assert not failed, failed[:3]
        assert not findings
        assert grown <= GROWTH


async def _fill(host: str, user: tuple[str, str] | None) -> tuple[World, tuple[str, ...]]:
    async with httpx.AsyncClient(base_url=f"http://{host}", auth=user) as client:
        world = await fill(client)
        uploads = [await begin(client, world.names["repo"]) for _ in range(SESSIONS)]
    return world, tuple(uploads)


def _resident(pid: int) -> int:
    found = _RSS.search(Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


def _fsck(root: Path) -> list[str]:
    store = open_store(str(root))
    try:
        report = asyncio.run(check(store, read=read))
    finally:
        store.close()
    return [f"{finding.kind} {finding.subject}: {finding.message}" for finding in report.findings]
