"""`python -m bench.bounds`: how much a bounded cache holds while too much is pulled through it, and exported.

Pulls: distinct images, five times what the cache may hold, and a few hot ones again and again. Exports: one
ref written a hundred times as BuildKit does with mode=max, each time a tenth of it new.
"""

import argparse
import contextlib
import hashlib
import http.client
import itertools
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from bench.accounting import machine
from bench.kinds import PROJECT, Found, Kind, ours
from bench.payloads import MANIFEST
from bench.report import aligned
from bench.servers import Failed, Running, started
from registry import __version__

_NAME, _IMAGES, _CACHE = "upstream.test", "images", "cache/app"
_HOT = 4
_LAYERS, _CHANGED, _BASE = 20, 2, 5  # of an export: blobs, new ones each time, those that never change
_SAMPLES = 0.02  # seconds
_CHUNK = 2**20
_SLACK = 2**20  # manifests
_FAILURES = (Failed, OSError, http.client.HTTPException)


@dataclass(slots=True)
class Sampler:
    """The most bytes that were seen in a root's folders of fetches and of blobs, and in both together."""

    root: Path
    blobs: int = 0
    fetches: int = 0
    both: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self.stop.wait(_SAMPLES):
            self.look()

    def look(self) -> int:
        """What the blobs hold now."""
        fetches = _sizes(self.root / "fetches")
        blobs = _sizes(self.root / "blobs")  # later: what goes from there to here is seen
        now = sum(blobs.values())
        self.blobs = max(self.blobs, now)
        self.fetches = max(self.fetches, sum(fetches.values()))
        self.both = max(self.both, sum({**fetches, **blobs}.values()))
        return now


def _sizes(folder: Path) -> dict[int, int]:
    """By inode: a fetch's file has two names while it is installed."""
    found: dict[int, int] = {}
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # it has just gone
                status = os.lstat(os.path.join(place, name))
                found[status.st_ino] = status.st_size
    return found


@contextlib.contextmanager
def sampled(root: Path) -> Iterator[Sampler]:
    sampler = Sampler(root)
    thread = threading.Thread(target=sampler.run)
    thread.start()
    try:
        yield sampler
    finally:
        sampler.stop.set()
        thread.join()


class Client:
    """One connection; `ask` raises Failed for any other status than those that are allowed."""

    def __init__(self, server: Running) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)

    def ask(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        media_type: str = "",
        allowed: Sequence[int] = (200,),
    ) -> tuple[int, str, bytes]:
        """(status, the digest of the answer's body, the body up to a mebibyte)."""
        self._connection.request(
            method, target, body or None, {"Content-Type": media_type} if media_type else {}
        )
        answer = self._connection.getresponse()
        hasher, first = hashlib.sha256(), b""
        while chunk := answer.read(_CHUNK):
            hasher.update(chunk)
            first = first or chunk
        if answer.status not in allowed:
            raise Failed(f"{method} {target}: {answer.status} {first[:300]!r}")
        return answer.status, f"sha256:{hasher.hexdigest()}", first

    def close(self) -> None:
        self._connection.close()


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def document(layers: Sequence[bytes]) -> bytes:
    def descriptor(data: bytes, media_type: str) -> dict[str, object]:
        return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}

    config, *rest = layers
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(config, "application/vnd.buildkit.cacheconfig.v0"),
            "layers": [descriptor(each, "application/vnd.oci.image.layer.v1.tar") for each in rest],
        }
    ).encode()


def push(client: Client, repository: str, tag: str, layers: Sequence[bytes]) -> None:
    """As BuildKit does: each blob is asked for, and pushed if it is not here; then the manifest."""
    for layer in layers:
        digest = digest_of(layer)
        status, *_ = client.ask("HEAD", f"/v2/{repository}/blobs/{digest}", allowed=(200, 404))
        if status == 404:
            target = f"/v2/{repository}/blobs/uploads/?digest={digest}"
            client.ask("POST", target, layer, "application/octet-stream", allowed=(201,))
    client.ask("PUT", f"/v2/{repository}/manifests/{tag}", document(layers), MANIFEST, allowed=(201,))


# -- pulls -------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Pulls:
    failed: list[str] = field(default_factory=list)
    hot: int = 0


def pull(client: Client, tag: str) -> None:
    """Raises Failed."""
    base = f"/v2/{_NAME}/{_IMAGES}"
    _, _, raw = client.ask("GET", f"{base}/manifests/{tag}")
    for each in json.loads(raw)["layers"]:
        _, digest, _ = client.ask("GET", f"{base}/blobs/{each['digest']}")
        if digest != each["digest"]:
            raise Failed(f"{tag}: wrong bytes")


def pull_all(server: Running, images: int, clients: int, pause: float, between: float) -> Pulls:
    found, numbers, over = Pulls(), itertools.count(), threading.Event()

    def pull_distinct(_: int) -> None:
        with closing(Client(server)) as client:
            while (number := next(numbers)) < images:
                time.sleep(between)
                try:
                    pull(client, f"v{number}")
                except _FAILURES as error:
                    found.failed.append(str(error))
                    client.close()

    def pull_hot() -> None:
        with closing(Client(server)) as client:
            while not over.wait(pause):
                for number in range(_HOT):
                    try:
                        pull(client, f"hot{number}")
                        found.hot += 1
                    except _FAILURES as error:
                        found.failed.append(str(error))
                        client.close()

    hot = threading.Thread(target=pull_hot)
    hot.start()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(pull_distinct, range(clients)))
    over.set()
    hot.join()
    return found


def fetched_again(log: Path, digests: Sequence[str]) -> int:
    """How many of these blobs the upstream was asked for, more often than once."""
    lines = [line for line in log.read_text().splitlines() if line.startswith("{") and '"GET"' in line]
    return sum(max(0, sum(digest in line for line in lines) - 1) for digest in digests)


def measure_pulls(folder: Path, options: argparse.Namespace) -> list[list[str]]:
    size, images, budget = options.image * 2**20, options.images, options.budget * 2**20
    hot = [os.urandom(size // 4) for _ in range(_HOT)]
    plain = Kind("upstream", "ours", (sys.executable,), (), ours())
    with started(Found(plain, sys.executable, __version__), folder / "upstream") as upstream:
        client = Client(upstream)
        for number, layer in enumerate(hot):
            push(client, _IMAGES, f"hot{number}", [b"{}", layer])
        for number in range(images):
            push(client, _IMAGES, f"v{number}", [b"{}", os.urandom(size)])
        client.close()
        mirror = f"{_NAME}=http://127.0.0.1:{upstream.port}"
        flags = ("--mirror", mirror, "--cache-size", str(budget), "--workers", str(options.workers))
        kind = Kind("cache", "ours", (sys.executable,), (), ours(*flags, "--no-access-log"))
        with (
            started(Found(kind, sys.executable, __version__), folder / "cache") as server,
            sampled(folder / "cache" / "root") as sampler,
        ):
            begun = time.monotonic()
            found = pull_all(server, images, options.clients, options.pause, options.between)
            seconds = time.monotonic() - begun
            time.sleep(2)
            left = sampler.look()
        again = fetched_again(upstream.folder / "server.log", [digest_of(each) for each in hot])
    if found.failed:
        print(f"bench: {len(found.failed)} pulls failed, such as {found.failed[0]}", file=sys.stderr)
    # Each client has one layer on its way, and so has who pulls the hot ones, of a quarter.
    allowed = budget + options.clients * size + size // 4 + _SLACK
    return [
        ["", "", "must show", "ok"],
        row(f"{images} images of {options.image} MiB, pulled in", f"{seconds:.1f} s", "", ok=True),
        row("pulls that failed", str(len(found.failed)), "0", ok=not found.failed),
        row("most bytes of blobs", mib(sampler.blobs), "", ok=True),
        row("most bytes that were landing", mib(sampler.fetches), "", ok=True),
        row("most bytes of both", mib(sampler.both), f"≤ {mib(allowed)}", ok=sampler.both <= allowed),
        row("bytes of blobs in the end", mib(left), f"≤ {mib(budget)}", ok=left <= budget),
        row(f"hot pulls, of {_HOT} images", str(found.hot), "> 0", ok=found.hot > 0),
        row(
            "hot layers that were fetched again", str(again), f"≤ {options.again}", ok=again <= options.again
        ),
    ]


# -- exports -----------------------------------------------------------------------------------------------


def measure_exports(folder: Path, options: argparse.Namespace) -> list[list[str]]:
    size = options.layer * 2**10
    entry = f'[{{repositories = ["cache/*"], grace = {options.grace}}}]'
    kind = Kind("cache", "ours", (sys.executable,), (), ours("--build-cache", entry, "--no-access-log"))
    base = [os.urandom(size) for _ in range(_BASE)]
    layers = [os.urandom(size) for _ in range(_LAYERS)]
    failed = 0
    with (
        started(Found(kind, sys.executable, __version__), folder / "builds") as server,
        sampled(folder / "builds" / "root") as sampler,
    ):
        client = Client(server)
        for number in range(options.exports):
            begun = time.monotonic()
            for place in range(_CHANGED):
                layers[(number * _CHANGED + place) % _LAYERS] = os.urandom(size)
            try:
                push(client, _CACHE, "main", [b'{"number": %d}' % number, *base, *layers])
            except _FAILURES as error:
                failed += 1
                print(f"bench: {error}", file=sys.stderr)
                client.close()
            time.sleep(max(0.0, options.every - (time.monotonic() - begun)))
        time.sleep(2.5 * options.grace + 1)
        left = sampler.look()
        for each in (*base, *layers):
            client.ask("HEAD", f"/v2/{_CACHE}/blobs/{digest_of(each)}")
        client.close()
    one, shared = _LAYERS * size, _BASE * size
    allowed = 2 * one + shared
    within = one + shared + size // 2
    return [
        ["", "", "must show", "ok"],
        row(f"{options.exports} exports, {options.every} s apart, grace {options.grace} s", "", "", ok=True),
        row("exports that failed", str(failed), "0", ok=not failed),
        row("one export, and what all share", f"{mib(one)}, {mib(shared)}", "", ok=True),
        row("most bytes of blobs", mib(sampler.blobs), f"≤ {mib(allowed)}", ok=sampler.blobs <= allowed),
        row("bytes of blobs in the end", mib(left), f"≤ {mib(within)}", ok=left <= within),
    ]


def row(what: str, found: str, wanted: str, *, ok: bool) -> list[str]:
    return [what, found, wanted, "yes" if ok else "NO"]


def mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    tables: dict[str, list[list[str]]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.json.parent) as folder:
        if options.images:
            tables["pulls"] = measure_pulls(Path(folder), options)
        if options.exports:
            tables["exports"] = measure_exports(Path(folder), options)
    options.json.write_text(json.dumps({"machine": machine(), "tables": tables}))
    for table in tables.values():
        print("\n".join(aligned(table)), end="\n\n")
    return int(any(line[3] == "NO" for table in tables.values() for line in table))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.bounds", description=__doc__)
    parser.add_argument("--budget", type=int, default=1024, help="MiB that the cache may hold")
    parser.add_argument("--image", type=int, default=32, help="MiB of each image; hot ones have a quarter")
    parser.add_argument("--images", type=int, default=160, help="distinct ones; 0: no pulls")
    parser.add_argument("--clients", type=int, default=2, help="that pull distinct images")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--pause", type=float, default=0.5, help="seconds between two rounds of the hot ones")
    parser.add_argument("--between", type=float, default=0, help="seconds before each of a client's pulls")
    parser.add_argument(
        "--again",
        type=int,
        default=0,
        help="fetches of hot layers; a cache that turns over in a second has some",
    )
    parser.add_argument("--exports", type=int, default=100, help="0: none")
    parser.add_argument("--layer", type=int, default=1024, help="KiB of each of an export's layers")
    parser.add_argument("--grace", type=int, default=1, help="seconds that what was superseded stays")
    parser.add_argument("--every", type=float, default=0.5, help="seconds from one export to the next")
    parser.add_argument("--json", type=Path, default=PROJECT / "results" / "bounds.json", metavar="FILE")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as error:
        sys.exit(f"bench: {error}")
