"""The store's own time: seconds that no setting of a wall clock makes jump.

Within one boot of the machine it goes as fast as CLOCK_BOOTTIME. From one boot to the next it advances as the
wall clock did, if that went forward by a month at most: a clock that was found to be decades off lets nothing
grow old. So nothing is deleted for its age unless it was here for so long.
"""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace

_BOOT = "/proc/sys/kernel/random/boot_id"
_LONGEST_OFF = 30 * 86400  # seconds
_UPTIME = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def read_boot() -> str:
    """This boot of the machine; empty where it can't be told."""
    try:
        with open(_BOOT, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def read_uptime() -> float:
    return time.clock_gettime(_UPTIME)


@dataclass(frozen=True, slots=True)
class Machine:
    """Where time comes from. A boot without a name is never the same as another."""

    boot: str
    uptime: Callable[[], float] = read_uptime
    wall: Callable[[], float] = time.time


@dataclass(frozen=True, slots=True)
class Anchor:
    """The store's time at a moment: whole seconds of each clock."""

    boot: str
    uptime: int
    time: int
    wall: int


def _trusted(seconds: int) -> int:
    """How much of a wall clock's way is believed."""
    return seconds if 0 <= seconds <= _LONGEST_OFF else 0


class Clock:
    def __init__(
        self,
        last: Anchor | None,
        machine: Machine | None = None,
        *,
        newest: Callable[[], int] = lambda: 0,
    ) -> None:
        """`last` is what the index noted; None in a new one, or of a program that went by the wall clock.

        `newest` looks up the latest time in the index; 0 if there is none.
        """
        self._machine = machine or Machine(read_boot())
        self.boot = self._machine.boot or str(uuid.uuid4())
        uptime, wall = int(self._machine.uptime()), int(self._machine.wall())
        if last and last.boot == self.boot:
            self.anchor = last
            return
        latest = newest()
        if last:  # where nobody noted the time for long, what was written since tells that it has gone on
            now = max(last.time + _trusted(wall - last.wall), latest)
        else:
            now = min(wall, latest + _trusted(wall - latest)) if latest else wall
        self.anchor = Anchor(self.boot, uptime, now, wall)

    @property
    def machine(self) -> Machine:
        """For another clock that shall go exactly as this one: also a boot without a name is the same."""
        return replace(self._machine, boot=self.boot)

    def now(self) -> int:
        """Whole seconds: the one that has begun."""
        return self.anchor.time + int(self._machine.uptime()) - self.anchor.uptime

    def look(self) -> Anchor:
        """This moment, for the index to note: the next boot goes on from it."""
        return Anchor(self.boot, int(self._machine.uptime()), self.now(), int(self._machine.wall()))
