"""What goes first where repositories hold too much: the least recently used. Pure functions of holdings.

Manifests go by what people pull: an index with all that it names and all that refers to it, used when any of
it was used last. What belongs to several stays until the last of them goes, and blobs stay while a manifest
names them.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from storage.holdings import Holdings, Place


@dataclass(frozen=True, slots=True)
class Unit:
    """A manifest that belongs to no other, with all that belongs to it, each after what it belongs to.

    What is in a circle, which no digests can make, is in none.
    """

    root: Place
    members: tuple[Place, ...]
    used: int


@dataclass(slots=True)
class Choice:
    """What goes: links that no manifest names, and manifests in their order. `left` bytes are held then."""

    links: list[Place] = field(default_factory=list)
    manifests: list[Place] = field(default_factory=list)
    left: int = 0


def least_used(holdings: Holdings, leave: int, *, since: int, spare: bool = False) -> Choice:
    """What goes so that `leave` bytes are left, as far as that can be.

    What was used at `since` or later goes last, as somebody may be at it; or, with `spare`, not at all.
    """
    shelf = _Shelf(holdings)
    loose = [place for place in sorted(holdings.links) if not shelf.namers[place]]
    for place in [place for place in loose if holdings.active[place[0]] < since]:
        if shelf.held > leave:
            shelf.drop_link(place)
    for unit in shelf.units:
        if shelf.held <= leave or (spare and unit.used >= since):
            break
        shelf.drop(unit)
    for place in [] if spare else loose:
        if shelf.held > leave:
            shelf.drop_link(place)
    return shelf.choice


def least_used_tagged(holdings: Holdings, leave: int, *, since: int) -> Choice:
    """Which manifests lose their tags, so that no more is left once a collector has taken what has none.

    Those on their way out are in the choice. What no manifest names counts for nothing: it goes anyway, or
    its manifest is on the way. What was used at `since` or later stays.
    """
    shelf = _Shelf(holdings)
    for place in holdings.links:
        if not shelf.namers[place]:
            shelf.drop_link(place)
    kept = [unit for unit in shelf.units if not shelf.drop_going(unit)]
    for unit in kept:
        if shelf.held <= leave:
            break
        if unit.used < since and any(holdings.manifests[place].tagged for place in unit.members):
            shelf.drop(unit)
    return shelf.choice


class _Shelf:
    """What is held, while one thing after the other is taken off."""

    def __init__(self, holdings: Holdings) -> None:
        self._holdings, self.held = holdings, holdings.bytes
        manifests = holdings.manifests
        self.namers: Counter[Place] = Counter()
        for (repository, _), kept in manifests.items():
            self.namers.update((repository, child) for child in kept.names)
        self._holders = Counter(blob for _, blob in (*holdings.links, *manifests))
        self._links = set(holdings.links)
        self.units = sorted(_units(holdings), key=lambda unit: (unit.used, unit.root))
        self._users = Counter(place for unit in self.units for place in unit.members)
        self.choice = Choice(left=self.held)

    def drop(self, unit: Unit) -> None:
        for place in unit.members:
            self._users[place] -= 1
            if not self._users[place]:
                self.choice.manifests.append(place)
                self._drop_manifest(place)
        self.choice.left = self.held

    def drop_going(self, unit: Unit) -> bool:
        """Whether nothing of it has a tag and it is on its way out."""
        kept = [self._holdings.manifests[place] for place in unit.members]
        if any(each.tagged for each in kept) or not kept[0].going:
            return False
        self.drop(unit)
        return True

    def drop_link(self, place: Place) -> None:
        if place in self._links:
            self.choice.links.append(place)
            self._links.remove(place)
            self._let_go(place[1])
            self.choice.left = self.held

    def _drop_manifest(self, place: Place) -> None:
        repository, blob = place
        self._let_go(blob)
        for child in self._holdings.manifests[place].names:
            self.namers[repository, child] -= 1
            if not self.namers[repository, child] and (repository, child) in self._links:
                self._links.remove((repository, child))
                self._let_go(child)

    def _let_go(self, blob: int) -> None:
        self._holders[blob] -= 1
        if not self._holders[blob]:
            self.held -= self._holdings.sizes.get(blob, 0)


def _units(holdings: Holdings) -> Iterable[Unit]:
    manifests = holdings.manifests
    belonging = {place for kept in manifests.values() for place in kept.belonging}
    for root in manifests.keys() - belonging:
        members = _reach(holdings, root)
        yield Unit(root, members, max(manifests[place].used for place in members))


def _reach(holdings: Holdings, root: Place) -> tuple[Place, ...]:
    """All that belongs to it, each after everything in here that it belongs to."""
    waits: Counter[Place] = Counter()
    waiting = [root]
    while waiting:
        for place in holdings.manifests[waiting.pop()].belonging:
            waits[place] += 1
            if waits[place] == 1:
                waiting.append(place)
    ordered = [root]
    for owner in ordered:  # which grows
        for place in holdings.manifests[owner].belonging:
            waits[place] -= 1
            if not waits[place]:
                ordered.append(place)
    return tuple(ordered)
