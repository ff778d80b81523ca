"""Room that is on its way: what was evicted is not always free at once."""

import time

_SHOWS = 30.0  # seconds: btrfs commits that often; who still reads a file may take longer, and then more goes


class Freeing:
    """Bytes of files that went and that the disk does not show as free yet. Of one worker."""

    def __init__(self) -> None:
        self._bytes, self._free, self._since = 0, 0, 0.0

    def foresee(self, free: int) -> int:
        """What will be free, where so much is now."""
        shown = max(0, free - self._free)
        is_late = time.monotonic() - self._since >= _SHOWS
        self._bytes, self._free = 0 if is_late else max(0, self._bytes - shown), free
        return free + self._bytes

    def add(self, count: int) -> None:
        """So many have gone since the last look."""
        if count:
            self._bytes, self._since = self._bytes + count, time.monotonic()
