"""`python -m bench.collect`: a server that collects half of a large root, and how requests fare meanwhile."""

import argparse
import asyncio
import hashlib
import json
import multiprocessing
import os
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.accounting import machine
from bench.kinds import PROJECT, Found, Kind, ours
from bench.latency import ANEW, Asker, milliseconds, quantile
from bench.payloads import MANIFEST
from bench.report import aligned
from bench.servers import Failed, started
from registry import __version__
from storage.database import Connection
from storage.layout import SHARDS, Layout
from storage.rows import PRESENT
from storage.store import open_store

_LAYERS = 19  # of a manifest: twenty blobs with it
_IMAGES = 100  # of a repository
_AT_ONCE = 5000  # images in one transaction
_PAUSE = 0.005  # seconds between two requests
_PASS = re.compile(r"garbage collection: .* in ([0-9.]+) s")
_SECONDS, _PROMPT = 120.0, 0.05


@dataclass(frozen=True, slots=True)
class Sizes:
    blobs: int

    @property
    def images(self) -> int:
        return self.blobs // (_LAYERS + 1)


def content(image: int, layer: int) -> bytes:
    """Of a layer; of the manifest where `layer` is 0."""
    return b"%d of %d" % (layer, image)


def write_files(root: str, images: range) -> None:
    """Runs in a process of its own. Nothing is synced: the page cache holds it all."""
    layout = Layout(root)
    for image in images:
        for layer in range(_LAYERS + 1):
            data = content(image, layer)
            name = hashlib.sha256(data).hexdigest()
            path = os.path.join(layout.root, "blobs", "sha256", name[:2], name)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o400)
            os.write(descriptor, data)
            os.close(descriptor)


def add_rows(connection: Connection, images: range) -> None:
    """In the shapes that storage/ gives them; every second image is not there any more."""
    for image in images:
        repository = image // _IMAGES + 1
        connection.execute(
            "INSERT INTO repositories (id, name) VALUES (?, ?) ON CONFLICT DO NOTHING",
            (repository, f"project/{repository:06}"),
        )
        first = image * (_LAYERS + 1) + 1
        digests = [b"\1" + hashlib.sha256(content(image, layer)).digest() for layer in range(_LAYERS + 1)]
        connection.executemany(
            "INSERT INTO blobs (id, digest, size, created, state) VALUES (?, ?, ?, 0, ?)",
            [(first + n, digest, len(content(image, n)), PRESENT) for n, digest in enumerate(digests)],
        )
        connection.executemany(
            "INSERT INTO links (repository, blob) VALUES (?, ?)",
            [(repository, first + n) for n in range(1, _LAYERS + 1)],
        )
        if image % 2:
            continue
        connection.execute(
            "INSERT INTO manifests (repository, blob, digest, media_type, artifact_type, size, annotations,"
            " pushed) VALUES (?, ?, ?, ?, '', ?, '{}', store_time())",
            (repository, first, digests[0], MANIFEST, len(content(image, 0))),
        )
        connection.executemany(
            "INSERT INTO edges (repository, parent, child, kind, optional) VALUES (?, ?, ?, 2, 0)",
            [(repository, first, first + n) for n in range(1, _LAYERS + 1)],
        )
        connection.execute(
            "INSERT INTO tags (repository, name, manifest, moved) VALUES (?, ?, ?, store_time())",
            (repository, f"v{image}", first),
        )


def fill(root: str, sizes: Sizes) -> None:
    images = range(sizes.images)
    with (
        closing(open_store(root, durable=False)) as store,
        ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool,
    ):
        parts = [pool.submit(write_files, root, images[n::2]) for n in range(2)]
        for start in range(0, len(images), _AT_ONCE):
            asyncio.run(store.database.write(partial(add_rows, images=images[start : start + _AT_ONCE])))
        for part in parts:
            part.result()


def count_files(root: str) -> int:
    return sum(len(os.listdir(os.path.join(root, "blobs", "sha256", shard))) for shard in SHARDS)


def ask(port: int, targets: Sequence[str], log: str, until: int, seconds: float) -> list[float]:
    """Seconds of small requests, until the passes have taken everything or the time is over."""
    taken = []
    end = time.monotonic() + seconds
    with Asker(port, ANEW) as asker:
        while time.monotonic() < end and not _finished(log, until):
            for target in [*targets] * 20:
                taken.append(asker.ask("GET", target)[0])
                time.sleep(_PAUSE)
    return taken


def _finished(log: str, until: int) -> bool:
    found = re.findall(r"garbage collection: \d+ manifests and (\d+) blobs", Path(log).read_text())
    return sum(map(int, found)) >= until


def main() -> int:
    options = _options()
    sizes = Sizes(options.blobs)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.json.parent) as folder:
        data = Path(folder) / "server"
        begun = time.monotonic()
        fill(str(data / "root"), sizes)
        print(f"bench: filled in {time.monotonic() - begun:.0f} s", file=sys.stderr)
        kind = Kind("ours", "ours", (sys.executable,), (), ours("--gc-grace", "1", "--no-access-log"))
        with started(Found(kind, sys.executable, __version__), data) as server:
            targets = ["/v2/project/000001/tags/list", "/v2/project/000001/manifests/v0"]
            dead = sizes.images // 2 * _LAYERS
            taken = ask(server.port, targets, str(data / "server.log"), dead, options.seconds)
            passes = [float(found) for found in _PASS.findall((data / "server.log").read_text())]
        left = count_files(str(data / "root"))
    before, tail = sizes.images * (_LAYERS + 1), quantile(taken, 0.99)
    rows = [
        ["blobs before, after", f"{before:,}, {left:,}", "half"],
        ["seconds of passes", f"{sum(passes):.1f}", f"≤ {_SECONDS:.0f}"],
        [f"p50 of {len(taken):,} small requests", milliseconds(quantile(taken, 0.5)), ""],
        ["p99", milliseconds(tail), f"≤ {milliseconds(_PROMPT)}"],
        ["the slowest", milliseconds(max(taken)), ""],
    ]
    run = {"machine": machine(), "passes": passes, "left": left, "taken": taken}
    options.json.write_text(json.dumps(run))
    print("\n".join(aligned(rows)))
    return 1 if left > before // 2 or sum(passes) > _SECONDS or tail > _PROMPT else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.collect", description=__doc__)
    parser.add_argument("--blobs", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=600, help="to wait at most")
    parser.add_argument("--json", type=Path, default=PROJECT / "results" / "collect.json", metavar="FILE")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as error:
        sys.exit(f"bench: {error}")
