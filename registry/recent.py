"""Bytes of recent manifests and small blobs, verified when they were read."""

from collections import OrderedDict

from storage.digest import Digest

_LIMIT = 16 * 2**20  # bytes
_LARGEST = 2**20  # of one that is worth keeping


class Recent:
    """The latest used of what fits into a limit. It knows nothing of visibility: ask the index each time."""

    def __init__(self, limit: int = _LIMIT, *, largest: int = _LARGEST) -> None:
        self._limit, self._largest = limit, largest
        self._held: OrderedDict[Digest, bytes] = OrderedDict()
        self._size = 0

    def get(self, digest: Digest) -> bytes | None:
        raw = self._held.get(digest)
        if raw is not None:
            self._held.move_to_end(digest)
        return raw

    def put(self, digest: Digest, raw: bytes) -> None:
        if len(raw) > self._largest or digest in self._held:
            return
        self._held[digest] = raw
        self._size += len(raw)
        while self._size > self._limit:
            _, dropped = self._held.popitem(last=False)
            self._size -= len(dropped)
