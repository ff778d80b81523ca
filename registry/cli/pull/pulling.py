"""Images pulled by a few threads: manifests first, then their blobs, whose bytes go nowhere."""

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from registry.cli.pull.content import read_content
from registry.cli.pull.errors import Interrupted, PullFailed
from registry.cli.pull.images import Image
from registry.cli.pull.platforms import Platform
from registry.cli.pull.server import Server
from registry.manifests import Descriptor
from registry.names import Reference
from storage.digest import Digest, new_hasher

_TRIES = 5  # in turn without a byte
_PAUSE, _LONGEST = 0.5, 60.0  # seconds between two: doubled each time; that a Retry-After is obeyed for
_DEPTH = 4  # of indexes in indexes

Result = TypeVar("Result")


class Progress:
    """How much is to come and what came of it, told by many threads; handed on by one at a time."""

    def __init__(self, expect: Callable[[int], None], add: Callable[[int], None]) -> None:
        self._expect, self._add, self._lock, self._total = expect, add, threading.Lock(), 0

    def expect(self, more: int) -> None:
        with self._lock:
            self._total += more
            self._expect(self._total)

    def add(self, count: int) -> None:
        with self._lock:
            self._add(count)


@dataclass(frozen=True, slots=True)
class Pulled:
    """An image, or why it is none: `error` is empty if all of it came.

    `size` is in bytes; `here` are those that the server had already, None where it does not say.
    """

    image: Image
    digest: Digest | None
    size: int
    here: int | None
    seconds: float
    error: str


@dataclass(slots=True)
class _Work:
    """An image on its way: what is known of it, and how many parts have still to come."""

    image: Image
    begun: float = 0.0
    digest: Digest | None = None
    waiting: int = 1
    size: int = 0
    here: int = 0
    said: bool = True
    failure: BaseException | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, size: int, was_here: bool | None) -> None:
        with self.lock:
            self.size += size
            self.here += size if was_here else 0
            self.said = self.said and was_here is not None

    def end(self, failure: BaseException | None) -> bool:
        """A part of it has come or failed; says whether that was the last."""
        with self.lock:
            self.failure = self.failure or failure
            self.waiting -= 1
            return not self.waiting

    def pulled(self) -> Pulled:
        here = self.here if self.said else None
        seconds = time.monotonic() - self.begun if self.begun else 0.0
        if self.failure and not isinstance(self.failure, PullFailed):
            raise self.failure
        return Pulled(self.image, self.digest, self.size, here, seconds, str(self.failure or ""))


class Pull:
    """Of several images, through one server; `platforms` as `read_content` takes them."""

    def __init__(
        self, server: Server, platforms: Sequence[Platform], progress: Progress, *, pause: float = _PAUSE
    ) -> None:
        self._server, self._platforms, self._progress, self._pause = server, platforms, progress, pause
        self._stopped = threading.Event()
        self._done: queue.SimpleQueue[_Work] = queue.SimpleQueue()
        self._blobs: dict[tuple[str, str, Digest], Future[bool | None]] = {}
        self._lock = threading.Lock()

    def run(self, images: Sequence[Image], jobs: int) -> Generator[Pulled, None, None]:
        """Each as it is done. Who closes it ends it all."""
        with self._threads(jobs) as pool:
            for image in images:
                work = _Work(image)
                pool.submit(self._find, pool, work).add_done_callback(partial(self._found, work))
            for _ in images:
                yield self._done.get().pulled()

    @contextmanager
    def _threads(self, jobs: int) -> Iterator[ThreadPoolExecutor]:
        pool = ThreadPoolExecutor(jobs, thread_name_prefix="pull")
        try:
            yield pool
        finally:
            self._stopped.set()
            self._server.interrupt()
            pool.shutdown(cancel_futures=True)
            self._server.close()

    def _find(self, pool: ThreadPoolExecutor, work: _Work) -> None:
        """Its manifests, whose blobs are left to the pool."""
        work.begun = time.monotonic()
        blobs: dict[Digest, Descriptor] = {}
        work.digest = self._read(work, work.image.reference, blobs, _DEPTH)
        with work.lock:
            work.waiting += len(blobs)
        for blob in blobs.values():
            self._submit(pool, work.image, blob).add_done_callback(partial(self._landed, work, blob.size))

    def _read(self, work: _Work, reference: Reference, blobs: dict[Digest, Descriptor], depth: int) -> Digest:
        if not depth:
            raise PullFailed("its indexes are nested too deeply")
        answer = self._again(lambda: self._server.manifest(work.image, reference))
        work.take(len(answer.raw), answer.was_here)
        content = read_content(answer.raw, answer.media_type, answer.digest, self._platforms)
        blobs |= {each.digest: each for each in content.blobs}
        for child in content.manifests:
            self._read(work, child.digest, blobs, depth - 1)
        return answer.digest

    def _submit(self, pool: ThreadPoolExecutor, image: Image, blob: Descriptor) -> Future[bool | None]:
        """What two images of a repository share is fetched once."""
        key = (image.host, image.repository, blob.digest)
        with self._lock:
            if key not in self._blobs:
                self._progress.expect(blob.size)
                self._blobs[key] = pool.submit(self._fetch, image, blob)
            return self._blobs[key]

    def _fetch(self, image: Image, blob: Descriptor) -> bool | None:
        """Read to the end, on from where it broke off; says whether it was here already."""
        hasher, offset = new_hasher(blob.digest.algorithm), 0
        was_here: bool | None = None

        def go_on() -> None:
            nonlocal offset, was_here
            with self._server.blob(image, blob.digest, offset) as body:
                was_here = was_here if offset else body.was_here
                for chunk in body.chunks:
                    self._require_going()
                    hasher.update(chunk)
                    offset += len(chunk)
                    self._progress.add(len(chunk))
                    if offset > blob.size:
                        return

        self._again(go_on, lambda: offset)
        actual = Digest(blob.digest.algorithm, hasher.hexdigest())
        if offset != blob.size or actual != blob.digest:
            raise PullFailed(
                f"the blob {blob.digest} of {blob.size} bytes came as {offset} bytes of {actual}"
            )
        return was_here

    def _again(self, act: Callable[[], Result], place: Callable[[], int] = lambda: 0) -> Result:
        """Until it succeeds; not for ever, unless it gets on. Raises PullFailed."""
        tries, before = 0, place()
        while True:
            try:
                return act()
            except Interrupted as error:
                self._require_going()
                tries, before = (1 if place() > before else tries + 1), place()
                if tries >= _TRIES:
                    raise
                self._stopped.wait(min(max(error.after, self._pause * 2 ** (tries - 1)), _LONGEST))
            self._require_going()

    def _require_going(self) -> None:
        if self._stopped.is_set():
            raise PullFailed("it was stopped")

    def _found(self, work: _Work, future: Future[None]) -> None:
        if not future.cancelled():
            self._end(work, future.exception())

    def _landed(self, work: _Work, size: int, future: Future[bool | None]) -> None:
        if future.cancelled():  # it all ends, and nobody waits for this
            return
        failure = future.exception()
        if failure is None:
            work.take(size, future.result())
        self._end(work, failure)

    def _end(self, work: _Work, failure: BaseException | None) -> None:
        if work.end(failure):
            self._done.put(work)
