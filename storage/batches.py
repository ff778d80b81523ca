"""Long lists in parts, for changes of the index that shall hold nobody up for long."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def pieces(found: Sequence[Item], count: int) -> Iterator[Sequence[Item]]:
    for start in range(0, len(found), count):
        yield found[start : start + count]


def loads(weighed: Iterable[tuple[Item, int]], limit: int) -> Iterator[list[Item]]:
    """Lists that weigh about as much as the limit allows, one item at least."""
    load: list[Item] = []
    weight = 0
    for item, each in weighed:
        if load and weight + each > limit:
            yield load
            load, weight = [], 0
        load.append(item)
        weight += each
    if load:
        yield load
