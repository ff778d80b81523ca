"""What garbage collection is told, and what it tells."""

from collections.abc import Callable
from dataclasses import dataclass, field

HOUR, DAY = 3600, 86400


def keep_a_month(_: str) -> int | None:
    return 30 * DAY


def as_all(_: str) -> int | None:
    return None


@dataclass(frozen=True, slots=True)
class Rules:
    """Times in seconds. `untagged`: how long a repository keeps what no tag names any more; None for ever.

    `patience`: a mark as old as that is swept although uploads go on into its repository. `at_once` waits for
    nothing: right only where nobody is served. `superseded`: the grace of what lost its last tag, with all
    that it alone named, where tags are written anew all the time; None where it is as everywhere.
    """

    grace: int = HOUR
    patience: int = DAY
    untagged: Callable[[str], int | None] = keep_a_month
    at_once: bool = False
    superseded: Callable[[str], int | None] = as_all


@dataclass(frozen=True, slots=True)
class Item:
    """`kind` is one of tag, manifest, blob (all of a repository), repository, file (of the store)."""

    kind: str
    repository: str
    name: str
    size: int
    why: str


@dataclass(slots=True)
class Report:
    """What went, and what waits. `freed` is in bytes: content that other repositories hold frees none.

    `held_up`: repositories where uploads let garbage wait. `strays`: files that no row spoke for.
    `returned`: files that had been missing and are there again.
    """

    manifests: int = 0
    blobs: int = 0
    tags: int = 0
    repositories: int = 0
    files: int = 0
    freed: int = 0
    strays: int = 0
    returned: int = 0
    waiting: int = 0
    waiting_bytes: int = 0
    held_up: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def count(self, item: Item) -> None:
        match item.kind:
            case "tag":
                self.tags += 1
            case "manifest":
                self.manifests += 1
            case "blob":
                self.blobs += 1
            case "repository":
                self.repositories += 1
            case "file":
                self.strays += 1
