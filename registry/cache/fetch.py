"""One blob on its way here, as one worker sees it: fetched by it, or followed while another one does that."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

from registry.cache.intake import PATIENCE, Intake
from registry.cache.landing import LandingFile
from registry.cache.progress import Progress
from registry.cache.turns import Turn
from registry.cache.wanted import Wanted
from registry.upstream.errors import UpstreamError, UpstreamFailed, UpstreamForged
from storage import contracts
from storage.errors import BlobMissing, DigestMismatch, StorageError, StoreDegraded, StoreFull

logger = logging.getLogger("registry")

_POLL = 0.01  # seconds between two looks at a file that another worker writes
_INSTALLS = 3  # tries, should the file be taken away between its install and its claim


AwaitRoom = Callable[[str], Awaitable[None]]
"""Waits until there is room for what a repository fetches next: it may land faster than it is evicted."""


class Gone(Exception):
    """What was opened is no fetch any more, and nobody has seen a byte of it: begin again."""


class Abandoned(Exception):
    """Nobody waits for it any more, and its turn has not come."""


class Fetch:
    """`readers` counts those who wait for it or take from it; the last one's leave does not end it."""

    def __init__(
        self, wanted: Wanted, store: contracts.Fetches, places: asyncio.Semaphore, room: AwaitRoom
    ) -> None:
        self._wanted, self._store, self._room = wanted, store, room
        self._turn = Turn(places)
        self._file: contracts.Fetch | None = None
        self.progress = Progress()
        self.readers = 0
        self.ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._brought = self._loop.time()  # when the last byte came, whoever fetches

    @contextmanager
    def share(self) -> Iterator[LandingFile | None]:
        """For a reader, once it has begun; None if it has ended, and the blob is here.

        Raises what keeps it from coming.
        """
        self.progress.require()
        if self._file is None or self.progress.size is None:
            yield None
            return
        with self._file.share() as file:
            yield LandingFile(self.progress.size, self.progress, file)

    async def run(self) -> None:
        """Go on until it is here, or something keeps it from coming: readers are told, nothing is raised."""
        try:
            while True:
                with suppress(Gone):
                    async with self._store.open(self._wanted.repository, self._wanted.digest) as file:
                        self._file = file
                        await self._bring(file)
                    break
        except asyncio.CancelledError:
            self._fail("this server is stopping")
            raise
        except Abandoned:
            self._fail("nobody has waited for it")
        except (UpstreamError, StorageError) as fact:
            logger.warning("%s for %s: %s", self._wanted.digest, self._wanted.repository, fact)
            self.progress.fail(fact)
        except Exception as error:
            logger.exception("%s for %s", self._wanted.digest, self._wanted.repository)
            self.progress.fail(error)
        finally:
            self._file = None
            self._turn.give_back()
            self.ended.set()

    def _fail(self, why: str) -> None:
        self.progress.fail(UpstreamFailed(self._wanted.upstream, why))

    async def _bring(self, file: contracts.Fetch) -> None:
        if not await self._lock(file):
            return
        try:
            if not self.progress.begun and await self._wanted.held():
                self._file = None  # readers take the blob itself
                self.progress.complete(0)
            else:
                await self._fetch(file)
            await file.remove()
        except (UpstreamForged, StoreFull):
            await file.remove()  # bad bytes; or some that nobody can add to, and that take up the room
            raise
        except Exception:
            if not file.look().size:
                await file.remove()
            raise

    async def _lock(self, file: contracts.Fetch) -> bool:
        """Follow who has it locked. True if it is ours to fetch, False if it has landed."""
        size, trusted = -1, False
        while True:
            now = file.look()
            if now.size > size:
                size, self._brought = now.size, self._loop.time()
            trusted = trusted or not now.sealed or now.kept
            if now.sealed and trusted:
                self.progress.complete(now.size)
            if not now.named:
                self._require_landed()
                return False
            if await self._is_ours(file):
                return True
            await asyncio.sleep(_POLL)

    async def _is_ours(self, file: contracts.Fetch) -> bool:
        if not file.lock():
            self._turn.give_back()
            self._follow(file)
            return False
        if not file.look().named:
            file.unlock()
            return False
        if await self._turn.come():
            return True
        if not self.readers and not self.progress.begun:
            await file.remove()
            if self.readers:
                raise Gone  # somebody has come meanwhile
            raise Abandoned
        file.unlock()
        self._brought = self._loop.time()  # who waits for a turn waits for nobody's bytes
        return False

    def _follow(self, file: contracts.Fetch) -> None:
        if not self.progress.begun and (size := file.announced()) is not None:
            self.progress.begin(size)
        self.progress.reach(file.look().size)
        if self._loop.time() - self._brought > PATIENCE:
            raise UpstreamFailed(self._wanted.upstream, f"no byte has come for {PATIENCE:.0f} s")

    def _require_landed(self) -> None:
        if self.progress.whole:
            return
        if not self.progress.begun:
            raise Gone
        raise UpstreamFailed(self._wanted.upstream, "what had come of it could not be kept: ask again")

    async def _fetch(self, file: contracts.Fetch) -> None:
        there = await file.resume()
        if not await self._is_all(file, there):
            await self._room(self._wanted.repository)
            await Intake(self._wanted, file, self.progress, self._brought).take(there)
        try:
            file.verify()
        except DigestMismatch as error:
            raise UpstreamForged(
                self._wanted.upstream, f"it sends {error.actual} for {error.expected}"
            ) from None
        self.progress.complete(file.look().size)
        await self._install(file)

    async def _is_all(self, file: contracts.Fetch, there: int) -> bool:
        """Whether who had it before had all of it, before it could be claimed."""
        size = self.progress.size or file.announced()
        if not file.look().sealed and (size is None or there < size):
            return False
        with suppress(DigestMismatch):
            file.verify()
            return True
        if self.progress.begun:
            return True  # of bad bytes, which somebody has seen
        await file.remove()  # a power cut may have left it so
        raise Gone

    async def _install(self, file: contracts.Fetch) -> None:
        for _ in range(_INSTALLS):
            await file.install()
            with suppress(BlobMissing):
                await self._wanted.landed()
                return
        raise StoreDegraded(
            f"the file of {self._wanted.digest} keeps vanishing: something else changes the store"
        )
