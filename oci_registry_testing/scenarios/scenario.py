"""What a client has to live with: one registry, its behaviour, and what the client is to do there."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from oci_registry_testing.registry import Fired
from oci_registry_testing.request import Request

MANY_TAGS = 25
"""Of an image whose tags are to be listed."""

Note = Callable[[Sequence[Request], Sequence[Fired]], str]
"""What is worth knowing beside the verdict, by the requests and the faults that happened; or nothing.

Nothing that may be otherwise the next time, such as a time.
"""


def no_note(_: Sequence[Request], __: Sequence[Fired]) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Scenario:
    """`about` says what happens. `verbs` are what the client does, of `client.VERBS`.

    `profile` is one of those that come with the registry; `switches` are of one's own (docs/profiles.md),
    `faults` as docs/faults.md has them, `settings` the registry's. With `login` nobody comes in without one.
    `refuse`: it cannot go well, and a good client says so by its exit code. `plain`: every client has to.
    `size` is of the image's file, in bytes; `taken`: its tag names another image already; `before`: into this
    repository the client pushes the same image first.
    """

    name: str
    about: str
    verbs: tuple[str, ...]
    profile: str = ""
    switches: Mapping[str, object] = field(default_factory=dict)
    faults: tuple[Mapping[str, object], ...] = ()
    settings: Mapping[str, object] = field(default_factory=dict)
    login: bool = False
    refuse: bool = False
    plain: bool = False
    taken: bool = False
    before: str = ""
    size: int = 300_000
    note: Note = no_note
