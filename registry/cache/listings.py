"""What upstreams list, kept in memory for as long as a tag is fresh, and cut into pages."""

import json
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from registry.descriptors import Descriptor
from storage.manifest_rows import ManifestRow

Item = TypeVar("Item")

_MOST = 200_000  # entries of all lists


class Lately(Generic[Item]):
    """Lists by repository and what they are of; those that were asked for first are forgotten first."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, most: int = _MOST) -> None:
        self._clock, self._most, self._count = clock, most, 0
        self._held: OrderedDict[tuple[str, str], tuple[float, list[Item]]] = OrderedDict()

    def get(self, key: tuple[str, str]) -> list[Item] | None:
        until, found = self._held.get(key, (0.0, []))
        return found if self._clock() < until else None

    def put(self, key: tuple[str, str], found: list[Item], seconds: float) -> None:
        self._drop(key)
        self._held[key] = self._clock() + seconds, found
        self._count += 1 + len(found)
        while self._count > self._most:
            self._drop(next(iter(self._held)))

    def _drop(self, key: tuple[str, str]) -> None:
        if key in self._held:
            self._count -= 1 + len(self._held.pop(key)[1])


class Lists:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.tags: Lately[str] = Lately(clock)
        self.referrers: Lately[ManifestRow] = Lately(clock)


def sort_referrers(listed: Iterable[Descriptor]) -> list[ManifestRow]:
    """As the index has them: by artifact type, then digest."""
    return sorted(map(_describe, listed), key=_place)


def page_of(
    found: list[ManifestRow], artifact_type: str | None, after: tuple[str, bytes], limit: int
) -> tuple[list[ManifestRow], bool]:
    """At most `limit` that follow, and whether there are more."""
    rest = [row for row in found if _place(row) > after and artifact_type in (None, row.artifact_type)]
    return rest[:limit], len(rest) > limit


def _place(row: ManifestRow) -> tuple[str, bytes]:
    return row.artifact_type, row.digest.binary


def _describe(listed: Descriptor) -> ManifestRow:
    annotations = json.dumps(dict(listed.annotations), ensure_ascii=False, separators=(",", ":"))
    return ManifestRow(listed.digest, listed.media_type, listed.size, listed.artifact_type, annotations)
