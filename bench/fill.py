"""`python -m bench.fill FOLDER`: makes FOLDER/root as large as few are, directly through storage/."""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, fields
from functools import partial
from itertools import islice
from pathlib import Path

from bench.contents import FEW, IMAGE, MANY, SMALL, SUBJECT, Sizes, held, referrer, repository, tag
from bench.payloads import MANIFEST
from registry.manifests import read_manifest
from registry.repository import describe
from storage.database import Connection
from storage.digest import Digest
from storage.rows import MISSING, find_repository
from storage.store import Store, open_store

_AT_ONCE = 256  # puts that may share a commit
_BATCH = 100_000  # rows in one transaction
_STRIDE = 7919  # a prime: the blobs of one repository differ
_UNKNOWN = 5  # links for each digest that nobody has


async def fill(store: Store, sizes: Sizes) -> None:
    for name, tags, referrers in ((FEW, SMALL, SMALL), (MANY, 1, sizes.referrers)):
        for data in (IMAGE.config, IMAGE.layer):
            await _put_blob(store, name, data)
        await _put_manifest(store, name, IMAGE.manifest, [tag(number) for number in range(tags)])
        await _in_parts(_put_manifest(store, name, referrer(number)) for number in range(referrers))
    await _in_parts(_put_blob(store, FEW, held(number)) for number in range(sizes.held))
    await _add_rows(store, sizes)


async def _put_blob(store: Store, name: str, data: bytes) -> None:
    digest = Digest.of(data)
    await store.blobs.put(digest, data)
    await store.names.links.claim(name, digest, store.blobs.size)


async def _put_manifest(store: Store, name: str, raw: bytes, tags: Sequence[str] = ()) -> None:
    row, edges = describe(read_manifest(raw, MANIFEST, Digest.of(raw)), sparse=False)
    await store.blobs.put(row.digest, raw)
    await store.names.manifests.put(
        name,
        row,
        edges,
        tags,
        file_size=store.blobs.size,
        check=lambda *_: None,
        check_manifest=lambda _: None,
    )


async def _in_parts(calls: Iterator[Awaitable[None]]) -> None:
    while part := list(islice(calls, _AT_ONCE)):
        await asyncio.gather(*part)


# -- SQL of our own: the rows that come by the million, in the shapes that storage/ gives them ------------


async def _add_rows(store: Store, sizes: Sizes) -> None:
    mass: tuple[tuple[Callable[[Connection, range], None], range], ...] = (
        (_add_tags, range(1, sizes.tags)),
        (_add_unknown, range(sizes.links // _UNKNOWN)),
        (_add_repositories, range(sizes.repositories)),
    )
    for add, numbers in mass:
        for start in range(0, len(numbers), _BATCH):
            await store.database.write(partial(_with_room, add, numbers[start : start + _BATCH]))
    each = min(max(sizes.links // max(sizes.repositories, 1), 1), sizes.held)
    blobs = await store.database.read(partial(_held_blobs, sizes.held))
    step = max(_BATCH // each, 1)
    for start in range(0, sizes.repositories, step):
        numbers = range(start, min(start + step, sizes.repositories))
        await store.database.write(partial(_with_room, partial(_add_links, each, blobs), numbers))


def _with_room(add: Callable[[Connection, range], None], numbers: range, connection: Connection) -> None:
    """An index that is filled in no order wants its pages near: 256 MiB of them."""
    connection.execute("PRAGMA cache_size=-262144")
    add(connection, numbers)


def _add_tags(connection: Connection, numbers: range) -> None:
    found = find_repository(connection, MANY)
    (image,) = connection.execute("SELECT id FROM blobs WHERE digest = ?", (SUBJECT.binary,)).fetchone()
    connection.executemany(
        "INSERT INTO tags (repository, name, manifest, moved) VALUES (?, ?, ?, store_time())",
        ((found, tag(number), image) for number in numbers),
    )


def _add_unknown(connection: Connection, numbers: range) -> None:
    connection.executemany(
        "INSERT INTO blobs (digest, size, created, state) VALUES (?, ?, store_time(), ?)",
        ((Digest.of(b"unknown %d" % number).binary, 1, MISSING) for number in numbers),
    )


def _add_repositories(connection: Connection, numbers: range) -> None:
    connection.executemany(
        "INSERT INTO repositories (name) VALUES (?)", ((repository(number),) for number in numbers)
    )


def _add_links(each: int, blobs: Sequence[int], connection: Connection, numbers: range) -> None:
    for number in numbers:
        found = find_repository(connection, repository(number))
        wanted = sorted(blobs[(number + turn * _STRIDE) % len(blobs)] for turn in range(each))
        connection.executemany(
            "INSERT INTO links (repository, blob) VALUES (?, ?)", ((found, blob) for blob in wanted)
        )


def _held_blobs(count: int, connection: Connection) -> list[int]:
    sql = "SELECT id FROM blobs WHERE digest = ?"
    return [
        connection.execute(sql, (Digest.of(held(number)).binary,)).fetchone()[0] for number in range(count)
    ]


# -- the command -------------------------------------------------------------------------------------------


def make(folder: Path, sizes: Sizes) -> None:
    """Fill folder/root, unless it has these sizes already; without fsync, as it can be made again."""
    note = folder / "filled.json"
    wanted = json.dumps(asdict(sizes))
    if note.exists() and note.read_text() == wanted:
        return
    if (folder / "root").exists():
        raise SystemExit(
            f"{folder}/root is there, with other sizes or half filled: remove it or name another"
        )
    folder.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    store = open_store(str(folder / "root"), durable=False)
    try:
        asyncio.run(fill(store, sizes))
    finally:
        store.close()
    note.write_text(wanted)
    print(f"bench: filled {folder}/root in {time.monotonic() - begun:.0f} s: {wanted}", file=sys.stderr)


def add_options(parser: argparse.ArgumentParser) -> None:
    for each in fields(Sizes):
        parser.add_argument(f"--{each.name}", type=int, default=each.default)


def sizes_of(options: argparse.Namespace) -> Sizes:
    return Sizes(**{each.name: getattr(options, each.name) for each in fields(Sizes)})


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.fill", description=__doc__)
    parser.add_argument("folder", type=Path)
    add_options(parser)
    options = parser.parse_args()
    make(options.folder, sizes_of(options))


if __name__ == "__main__":
    main()
