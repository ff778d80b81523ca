"""What a measurement is: servers, and a function that makes one round on one of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.accounting import Figures
from bench.kinds import Found
from bench.payloads import Payload
from bench.servers import Running


@dataclass(frozen=True, slots=True)
class Material:
    """What every round uses. `large` is one payload, `several` are eight of a quarter of its size."""

    large: Payload
    several: tuple[Payload, ...]
    seconds: int  # of load in each round of small requests


Rows = Mapping[str, Figures]
"""The figures of a round by the row of the table that they belong to."""

Measure = Callable[[Found, Path, Material], Rows]
"""Makes one round on one server, in a folder that stays the same over the rounds."""

PEERS = ("distribution", "distribution2", "olareg", "zot")
REPOSITORY = "bench/image"


@dataclass(frozen=True, slots=True)
class Scenario:
    """`servers` are names of kinds; the first is ours in the ratios of its rows."""

    name: str
    servers: tuple[str, ...]
    measure: Measure


def prepared(server: Running, name: str, fill: Callable[[], None]) -> None:
    """Fill a server's root in the first round only."""
    marker = server.folder / f"filled-{name}"
    if not marker.exists():
        fill()
        marker.touch()
