"""What must hold, and whether it does."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.accounting import Figures
from bench.kinds import KINDS
from bench.scenario import PEERS

Rounds = Mapping[str, Mapping[str, Sequence[Figures]]]
"""Row → server → the figures of each round."""

FASTEST = "the fastest peer"
FASTEST_SYNCING = "the fastest peer that syncs"
_SYNCING = tuple(kind.name for kind in KINDS if kind.syncs and kind.name in PEERS)
_CROWDS = {FASTEST: PEERS, FASTEST_SYNCING: _SYNCING}


@dataclass(frozen=True, slots=True)
class Target:
    """Ours over the peer's median must be at most `limit`; of a rate, where more is better, at least."""

    row: str
    measure: str
    peer: str
    limit: float
    ours: str = "ours"

    @property
    def sign(self) -> str:
        return "≥" if self.measure == "rate" else "≤"

    def met(self, ratio: float) -> bool:
        return ratio >= self.limit if self.measure == "rate" else ratio <= self.limit


def _pushes(row: str) -> tuple[Target, ...]:
    return (
        Target(row, "cpu", "distribution", 0.65),
        Target(row, "cpu", "olareg", 0.85),
        Target(row, "cpu", "floor", 1.2),
        Target(row, "wall", FASTEST_SYNCING, 1.0),
    )


def _small(row: str) -> tuple[Target, ...]:
    return (
        Target(row, "rate", "distribution", 4.0, "ours 2w"),
        Target(row, "rate", "olareg", 1.0, "ours 2w"),
    )


TARGETS = (
    *_pushes("push"),
    *_pushes("push, chunked"),
    Target("pull", "wall", FASTEST, 1.0),
    Target("pull", "cpu", "distribution", 0.7),
    Target("pull", "cpu", "olareg", 1.0),
    Target("pull", "cpu", "nginx", 1.1),
    Target("pull, 8 streams", "wall", FASTEST, 0.9),
    Target("pull, 8 streams", "machine", "olareg", 0.9),
    Target("pull, 8 streams", "machine", "distribution", 0.75),
    Target("pull, 8 streams, TLS", "wall", FASTEST, 1.25, "ours 2w"),
    *_small("manifest GET by tag"),
    *_small("manifest HEAD by digest"),
    *_small("blob GET, 2 KiB"),
    Target("manifest GET by tag", "rate", "ours nolog", 0.9),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """`peer` is the one that a crowd came down to; `ratio` is None where one of the two was not measured."""

    target: Target
    peer: str
    ratio: float | None

    @property
    def text(self) -> str:
        wanted = f"{self.target.sign} {self.target.limit:g} {self.target.peer}"
        if self.ratio is None:
            return f"{wanted}: not measured"
        named = "" if self.peer == self.target.peer else f" ({self.peer})"
        verdict = "met" if self.target.met(self.ratio) else "MISSED"
        return f"{wanted}{named}: {self.ratio:.2f} {verdict}"


def median(rounds: Rounds, row: str, server: str, measure: str) -> float | None:
    found = [figures[measure] for figures in rounds.get(row, {}).get(server, ()) if measure in figures]
    return statistics.median(found) if found else None


def ratio(ours: float | None, peer: float | None) -> float | None:
    return ours / peer if ours is not None and peer else None


def judge(rounds: Rounds, target: Target) -> Outcome:
    medians = {
        peer: value
        for peer in _CROWDS.get(target.peer, (target.peer,))
        if (value := median(rounds, target.row, peer, target.measure)) is not None
    }
    if not medians:
        return Outcome(target, target.peer, None)
    best = min(medians, key=medians.__getitem__)
    ours = median(rounds, target.row, target.ours, target.measure)
    return Outcome(target, best, ratio(ours, medians[best]))
