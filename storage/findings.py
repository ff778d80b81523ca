"""What a check says, and how far it has come."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Finding:
    """`kind` is one of corrupt, lost, stray, writable, unreadable, dangling, disagrees, miscounted, index and
    degraded.
    """

    kind: str
    subject: str
    message: str
    repaired: bool = False


@dataclass(slots=True)
class Report:
    """`unreferenced` counts files that no row needs: what deletes and crashes leave; they do no harm."""

    blobs: int = 0
    bytes: int = 0
    unreferenced: int = 0
    unreferenced_bytes: int = 0
    repositories: int = 0
    manifests: int = 0
    tags: int = 0
    uploads: int = 0
    fetches: int = 0
    quarantined: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return not self.findings


@dataclass(frozen=True, slots=True)
class Latch:
    why: str
    changed: int  # nanoseconds


@dataclass(frozen=True, slots=True)
class Position:
    """How far a check has come: the last file that it read, and what the files until there have shown.

    `degraded`: the latch that it began with. `begun`: when, in seconds by the wall clock.
    """

    after: str = ""
    report: Report = field(default_factory=Report)
    degraded: Latch | None = None
    begun: int = 0
