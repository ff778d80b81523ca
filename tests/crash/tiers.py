"""How long the crash suite runs: minutes for every change (CI), or hours before a release (`make soak`)."""

import os

SOAK = os.environ.get("CRASH_TIER") == "soak"


def pick(ci: int, soak: int) -> int:
    """The number for the tier that was asked for."""
    return soak if SOAK else ci
