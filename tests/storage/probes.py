"""Probes for `Files`: what was called, and what should fail."""

import errno
import os
from dataclasses import dataclass, field


def failure(code: int) -> OSError:
    return OSError(code, os.strerror(code))


NO_ROOM = [errno.ENOSPC, errno.EDQUOT]


@dataclass
class Recorder:
    """Notes every call that ends well; makes the calls named in `failing` raise, before or after they act."""

    failing: dict[tuple[str, str], BaseException] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)

    def __call__(self, moment: str, name: str, target: str) -> None:
        if moment == "before":
            self.begun.append(name)
        error = self.failing.get((moment, name))
        if error:
            raise error
        if moment == "after":
            self.calls.append((name, os.path.basename(target)))

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.calls]


@dataclass
class FailAt:
    """Makes call number `number`, counted from 0, fail before it acts."""

    number: int
    error: BaseException
    begun: list[str] = field(default_factory=list)

    def __call__(self, moment: str, name: str, target: str) -> None:
        if moment == "before":
            self.begun.append(name)
            if len(self.begun) == self.number + 1:
                raise self.error
