"""A disk whose last changes a power cut may take: which are safe, by what was synced, and which are not.

The promises are POSIX's, no file system's: fsync of a file makes its bytes, length and mode last, and fsync
of a folder the names in it. All else may be kept or lost, each change by itself and in any order: a name
without the bytes, a length without the bytes (they read as zeros), one page of a write without the other.
"""

import os
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tests.crash.arena import Contents

NEVER = 2**62
FOLDER = 0  # the number of everything that is a folder


class Effect(Protocol):
    def on(self, disk: "Disk") -> None: ...


@dataclass(slots=True)
class Disk:
    """What a disk holds: names lead to numbers of files, or to 0 for a folder."""

    names: dict[str, int]
    data: dict[int, bytearray]
    lengths: dict[int, int]
    modes: dict[int, int]

    def contents(self, base: str) -> Contents:
        """What can be reached; folders have a path that ends in a slash."""
        found: dict[str, tuple[bytes, int]] = {}
        reached = {base}
        for path, number in sorted(self.names.items()):
            if os.path.dirname(path) not in reached:
                continue
            if number == FOLDER:
                reached.add(path)
                found[path + "/"] = b"", 0o700
            else:
                length = self.lengths[number]
                found[path] = bytes(self.data[number][:length].ljust(length, b"\0")), self.modes[number]
        return found


@dataclass(frozen=True, slots=True)
class Bytes:
    number: int
    offset: int
    data: bytes

    def on(self, disk: Disk) -> None:
        held = disk.data[self.number]
        held.extend(bytes(max(0, self.offset - len(held))))
        held[self.offset : self.offset + len(self.data)] = self.data


@dataclass(frozen=True, slots=True)
class Length:
    number: int
    length: int
    cut: bool = False

    def on(self, disk: Disk) -> None:
        disk.lengths[self.number] = self.length
        if self.cut:
            del disk.data[self.number][self.length :]


@dataclass(frozen=True, slots=True)
class Mode:
    number: int
    mode: int

    def on(self, disk: Disk) -> None:
        disk.modes[self.number] = self.mode


@dataclass(frozen=True, slots=True)
class Names:
    """Several change at once where a file is renamed within its folder."""

    changed: tuple[tuple[str, int | None], ...]

    def on(self, disk: Disk) -> None:
        for path, number in self.changed:
            if number is None:
                disk.names.pop(path, None)
            else:
                disk.names[path] = number


@dataclass(slots=True)
class Change:
    """`place`: what has to be synced, a file's number or a folder's path; `safe`: when that was done.

    `needs`: the change without which this one can't be, as the two halves of a rename go in one direction.
    """

    what: str
    effect: Effect
    place: int | str
    done: int
    safe: int = NEVER
    needs: "Change | None" = None


@dataclass(slots=True)
class History:
    """A disk whose first state is safe, all that was done to it since, and when something was answered.

    Moments are numbers that grow; `syncs` are those at which a sync ended.
    """

    base: str
    disk: Disk
    changes: list[Change] = field(default_factory=list)
    syncs: list[int] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    calls: int = 0
    now: int = 0

    def ends(self) -> list[int]:
        """The moments at which most is at stake: just before each sync has ended, and at the end."""
        return [*sorted(set(self.syncs)), self.now]

    def answered(self, moment: int) -> int:
        """How many answers had been given."""
        return bisect_left(self.answers, moment)

    def at_stake(self, moment: int) -> list[Change]:
        return [change for change in self.changes if change.done < moment <= change.safe]

    def after(self, moment: int, lost: Sequence[Change]) -> Contents:
        """What is found if the power goes just before `moment` and takes these changes away."""
        gone = {id(change) for change in lost}
        data = {number: bytearray(held) for number, held in self.disk.data.items()}
        left = Disk(dict(self.disk.names), data, dict(self.disk.lengths), dict(self.disk.modes))
        for change in self.changes[: bisect_left(self.changes, moment, key=lambda each: each.done)]:
            if id(change) in gone or (change.needs and id(change.needs) in gone):
                continue
            change.effect.on(left)
        return left.contents(self.base)
