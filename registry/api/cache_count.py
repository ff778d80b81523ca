"""What came of requests for what upstreams have, for the cache's figures."""

from collections.abc import Callable

from registry.api.access_log import Entry
from registry.cache.figures import ERROR, HIT, SERVED
from registry.upstream.errors import UpstreamError, UpstreamMissing


class CacheCount:
    """A Witness. `count` takes an upstream, what is counted, and how much of it."""

    def __init__(self, count: Callable[[str, str, int], None]) -> None:
        self._count = count

    def begin(self, entry: Entry) -> None:
        """Nothing is known of it yet."""

    def end(self, entry: Entry) -> None:
        if not entry.upstream:
            return
        failed = isinstance(entry.fact, UpstreamError) and not isinstance(entry.fact, UpstreamMissing)
        self._count(entry.upstream, ERROR if failed else entry.cache, 1)
        if entry.fact is None:
            self._count(entry.upstream, SERVED, entry.sent)

    def again(self, upstream: str, size: int) -> None:
        """An answer that `Prompt` gives again, with so many bytes of a body."""
        self._count(upstream, HIT, 1)
        self._count(upstream, SERVED, size)
