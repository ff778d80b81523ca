"""A blob that is wanted of an upstream, and what its fetch has to be told from outside."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from registry.upstream.client import Stream
from storage.digest import Digest

Source = Callable[[int], AbstractAsyncContextManager[Stream]]
"""The blob from that offset on. Raises the facts of registry/upstream/errors.py."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """`repository` is the index's name for it.

    `held` asks the index whether the repository has it by now: between the look that found nothing and the
    fetch, another one may have ended. `landed` claims it there; it raises BlobMissing if the file, which was
    durable as a blob, has been taken away again.
    """

    upstream: str
    repository: str
    digest: Digest
    source: Source
    held: Callable[[], Awaitable[bool]]
    landed: Callable[[], Awaitable[None]]

    @property
    def key(self) -> tuple[str, Digest]:
        return self.repository, self.digest
