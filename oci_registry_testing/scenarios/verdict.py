"""How a client got through a scenario. Pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from oci_registry_testing.scenarios.client import Done
from oci_registry_testing.scenarios.scenario import Scenario


class Verdict(Enum):
    """WRONG is the worst: the client says that all is well, and it is not."""

    SURVIVES = "survives"
    REFUSES = "refuses"
    GIVES_UP = "gives up"
    WRONG = "WRONG"
    HANGS = "hangs"
    CANNOT = "–"


@dataclass(frozen=True, slots=True)
class Step:
    """`right`: what the verb is for has been done."""

    verb: str
    done: Done
    right: bool


def judge(scenario: Scenario, steps: Sequence[Step], *, met: bool = True) -> Verdict:
    """`met`: what can go wrong there went wrong. Who fails without it refuses nothing."""
    last = steps[-1]
    if last.done.status is None:
        return Verdict.HANGS
    if last.done.status != 0:
        return Verdict.REFUSES if scenario.refuse and met else Verdict.GIVES_UP
    return Verdict.SURVIVES if all(step.right for step in steps) else Verdict.WRONG


def is_bad(scenario: Scenario, verdict: Verdict) -> bool:
    """What no client should do."""
    if verdict in (Verdict.CANNOT, Verdict.SURVIVES):
        return False
    return verdict in (Verdict.WRONG, Verdict.HANGS) or scenario.plain
