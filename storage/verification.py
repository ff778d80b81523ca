"""Every blob's file read whole, at a pace: which are what their names say, and what becomes of the others."""

import os
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from stat import S_ISREG

from storage.digest import Digest
from storage.errors import UNREADABLE, BlobMissing
from storage.pace import Pace
from storage.store import Store

Progress = Callable[[int], None]
"""Told the bytes read since it was last called."""

_BATCH = 100  # files listed in one hop
_LEAST = 64 * 2**10  # bytes that a file counts as: to find a small one keeps a disk busy, too


@dataclass(frozen=True, slots=True)
class File:
    """What was found under `name`, a path below the root. One without `digest` is no blob."""

    name: str
    digest: Digest | None
    stat: os.stat_result
    intact: bool


async def verify_all(
    store: Store, *, after: str = "", pace: Pace, progress: Progress = lambda _: None
) -> AsyncGenerator[File, None]:
    """All files below blobs/ in the order of their names, from the first `after` that name."""
    entries = store.blobs.walk(after)
    while batch := await store.threads.read(lambda: list(islice(entries, _BATCH))):
        for digest, entry in batch:
            name = entry.path.removeprefix(f"{store.layout.root}/")
            if found := await verify(store, name, digest, pace, progress):
                yield found


async def verify(
    store: Store, name: str, digest: Digest | None, pace: Pace, progress: Progress = lambda _: None
) -> File | None:
    """None for a file that has gone since it was listed."""

    async def took(count: int) -> None:
        progress(count)
        await pace.took(count)

    try:
        found = os.lstat(os.path.join(store.layout.root, name))
        if digest is None or not S_ISREG(found.st_mode):
            return File(name, None, found, intact=False)
        intact = await store.blobs.examine(digest, took)
    except (FileNotFoundError, BlobMissing):
        return None
    except OSError as error:
        if error.errno not in UNREADABLE:
            raise
        intact = False  # bytes that cannot be read are no bytes
    await pace.took(max(0, _LEAST - found.st_size))
    return File(name, digest, found, intact)


def is_still_there(store: Store, file: File) -> bool:
    """Whether no push has put another file there since. One that has gone has not been healed."""
    try:
        found = os.lstat(os.path.join(store.layout.root, file.name))
    except FileNotFoundError:
        return True
    return (found.st_ino, found.st_mtime_ns) == (file.stat.st_ino, file.stat.st_mtime_ns)


async def condemn(store: Store, digest: Digest, file: File) -> bool:
    """Take a bad file out of the way, so that the next push heals its blob; False if one has done so."""
    return await store.names.links.lose(
        digest, partial(is_still_there, store, file), partial(store.blobs.quarantine, digest)
    )
