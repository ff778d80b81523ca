"""A machine's clocks that a test moves."""

from dataclasses import dataclass

from storage.clock import Machine


@dataclass(slots=True)
class Hands:
    """`uptime` in seconds since `boot`, `wall` in seconds of the epoch."""

    uptime: float = 1000.0
    wall: float = 1_700_000_000.0
    boot: str = "first boot"

    @property
    def machine(self) -> Machine:
        """This boot's, whose clocks go on with the hands."""
        return Machine(self.boot, lambda: self.uptime, lambda: self.wall)

    def wait(self, seconds: float) -> None:
        self.uptime += seconds
        self.wall += seconds

    def boot_again(self, boot: str, *, off: float = 0.0) -> None:
        self.boot, self.uptime = boot, 10.0
        self.wall += off
