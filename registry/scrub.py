"""The scrub: every blob read again and again beside the service, so that bytes that rot are found in time."""

import asyncio
import logging
import time
from contextlib import aclosing, suppress
from dataclasses import astuple, dataclass, replace

from storage.bookmark import Bookmark, bookmark
from storage.digest import Digest
from storage.errors import StorageError
from storage.pace import Pace
from storage.store import Store
from storage.verification import File, condemn, verify_all

logger = logging.getLogger("registry")

_ROUND = 24 * 3600  # seconds from one begin to the next at least: a small store needs no more
_KEEP = 5.0  # seconds between two positions that are kept
_RETRY = 600.0  # seconds until another look at what has failed, or at what another process does


@dataclass(frozen=True, slots=True)
class Round:
    """One reading of everything: when it begins or began, what it has seen, and the last file of that."""

    begin: int
    blobs: int = 0
    bytes: int = 0
    bad: int = 0
    after: str = ""

    def __str__(self) -> str:
        return " ".join(str(each) for each in astuple(self)).rstrip()

    @classmethod
    def parse(cls, text: str) -> "Round":
        """What nobody has written begins a new one."""
        numbers, after = text.split(" ")[:4], text.split(" ")[4:]
        try:
            begin, blobs, size, bad = map(int, numbers)
        except ValueError:
            return cls(int(time.time()))
        return cls(begin, blobs, size, bad, " ".join(after))

    @property
    def due(self) -> float:
        """Seconds until it begins. A clock that was set back holds it up for one round at most."""
        return min(max(0.0, self.begin - time.time()), _ROUND)


async def scrub(store: Store, rate: int) -> None:
    """Read `rate` megabytes a second for ever, in one process of all that serve the root."""
    pace = Pace(rate * 10**6)
    while True:
        try:
            with bookmark(store.files, store.layout.scrub) as place:
                while place:
                    await _round(store, pace, place)
        except Exception:  # whatever it was, the next try may do better
            logger.exception("the scrub was interrupted")
        await asyncio.sleep(_RETRY)


async def _round(store: Store, pace: Pace, place: Bookmark) -> None:
    now = Round.parse(place.text)
    await asyncio.sleep(now.due)
    kept = time.monotonic()
    try:
        async with aclosing(verify_all(store, after=now.after, pace=pace)) as files:
            async for file in files:
                if file.stat is None:
                    logger.warning("scrub: the disk does not give %s: look at the disk", file.name)
                if file.digest is None or file.stat is None:
                    continue  # fsck says so
                bad = not file.intact and await _lose(store, file.digest, file)
                now = replace(
                    now,
                    blobs=now.blobs + 1,
                    bytes=now.bytes + file.size,
                    bad=now.bad + bad,
                    after=file.name,
                )
                if time.monotonic() - kept >= _KEEP:
                    await store.threads.run(place.keep, str(now))
                    kept = time.monotonic()
    except BaseException:
        await store.threads.run(place.keep, str(now))
        raise
    logger.info("scrub: all %d blobs read, %d bytes; %d were bad", now.blobs, now.bytes, now.bad)
    following = Round(max(now.begin + _ROUND, int(time.time())))
    await store.threads.run(place.keep, str(following))


async def _lose(store: Store, digest: Digest, file: File) -> bool:
    """Whether it was bad still. What the disk does not let go is found again in the next round."""
    with suppress(StorageError, OSError):
        if not await condemn(store, digest, file):
            return False
    logger.warning("scrub: %s has other bytes, or none that can be read: push it again", digest)
    return True
