"""Every blob's file read whole, at a pace: which are what their names say, and what becomes of the others."""

import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from operator import itemgetter
from stat import S_ISREG

from storage.digest import Digest
from storage.errors import UNREADABLE, BlobMissing, DiskUnreadable
from storage.pace import Pace
from storage.store import Store

Progress = Callable[[int], None]
"""Told the bytes read since it was last called."""

Took = Callable[[int], Awaitable[None]]

_AWAY = 8  # files in a row that cannot be read
_BATCH = 100  # files listed in one hop
_LEAST = 64 * 2**10  # bytes that a file counts as: to find a small one keeps a disk busy, too


@dataclass(frozen=True, slots=True)
class File:
    """What was found under `name`, a path below the root. One without `digest` is no blob.

    Without `stat`, the disk does not even say what is there: of a blob, or in a whole shard.
    """

    name: str
    digest: Digest | None
    stat: os.stat_result | None
    intact: bool
    unreadable: bool = False

    @property
    def size(self) -> int:
        return self.stat.st_size if self.stat else 0


async def verify_all(
    store: Store,
    *,
    after: str = "",
    pace: Pace,
    progress: Progress = lambda _: None,
    from_disk: bool = False,
) -> AsyncGenerator[File, None]:
    """All files below blobs/ in the order of their names, from the first `after` that name.

    Raises DiskUnreadable where one file after the other cannot be read; the first of them is not told then.
    """
    unlisted: list[str] = []
    entries = store.blobs.walk(after, unlisted=unlisted.append)
    held: list[File] = []  # unreadable, until one that can be read says that the disk is there
    while batch := await store.threads.read(_next, store.layout.root, entries, unlisted):
        for name, digest in batch:
            if name.count("/") == 2:  # a shard
                file: File | None = File(name, None, None, intact=False, unreadable=True)
            else:
                file = await verify(store, name, digest, pace, progress, from_disk=from_disk)
            if not file:
                continue
            if not file.unreadable:
                for each in held:  # once more: the disk may have come back in between
                    again = await verify(store, each.name, each.digest, pace) if each.digest else each
                    if again:
                        yield again
                held.clear()
                yield file
                continue
            held.append(file)
            if len(held) == _AWAY:
                raise DiskUnreadable(_AWAY, held[0].name)
    for each in held:
        yield each


def _next(
    root: str, entries: Iterator[tuple[Digest | None, os.DirEntry[str]]], unlisted: list[str]
) -> list[tuple[str, Digest | None]]:
    """The next names, and those of the shards that could not be listed on the way."""
    found = [(entry.path.removeprefix(f"{root}/"), digest) for digest, entry in islice(entries, _BATCH)]
    found += [(folder, None) for folder in unlisted]
    unlisted.clear()
    return sorted(found, key=itemgetter(0))


async def verify(
    store: Store,
    name: str,
    digest: Digest | None,
    pace: Pace,
    progress: Progress = lambda _: None,
    *,
    from_disk: bool = False,
) -> File | None:
    """None for a file that has gone since it was listed. `from_disk` reads past the page cache.

    What is bad is read once more, from the disk: a bad page, or a hiccup, is not the blob's end.
    """

    async def took(count: int) -> None:
        progress(count)
        await pace.took(count)

    try:
        found = os.lstat(os.path.join(store.layout.root, name))
        if digest is None or not S_ISREG(found.st_mode):
            return File(name, None, found, intact=False)
        intact = await _examine(store, digest, took, from_disk=from_disk)
        if not intact:
            intact = await _examine(store, digest, pace.took, from_disk=True)
    except (FileNotFoundError, BlobMissing):
        return None
    except OSError as error:  # of lstat: the others are told by None
        if error.errno not in UNREADABLE:
            raise
        return File(name, digest, None, intact=False, unreadable=True)
    await pace.took(max(0, _LEAST - found.st_size))
    return File(name, digest, found, bool(intact), unreadable=intact is None)


async def _examine(store: Store, digest: Digest, took: Took, *, from_disk: bool) -> bool | None:
    """None if the disk does not give the bytes."""
    try:
        if from_disk:
            await store.blobs.forget(digest)
        return await store.blobs.examine(digest, took)
    except OSError as error:
        if error.errno not in UNREADABLE:
            raise
        return None


def is_still_there(store: Store, file: File) -> bool:
    """Whether no push has put another file there since. One that has gone has not been healed."""
    try:
        found = os.lstat(os.path.join(store.layout.root, file.name))
    except FileNotFoundError:
        return True
    was = file.stat
    return was is not None and (found.st_ino, found.st_mtime_ns) == (was.st_ino, was.st_mtime_ns)


async def condemn(store: Store, digest: Digest, file: File) -> bool:
    """Take a bad file out of the way, so that the next push heals its blob; False if one has done so."""
    return await store.names.links.lose(
        digest, partial(is_still_there, store, file), partial(store.blobs.quarantine, digest)
    )
