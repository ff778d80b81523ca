"""A clock that stands still until it is set."""

from dataclasses import dataclass


@dataclass
class Hand:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now
