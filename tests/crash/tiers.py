"""How much the crash suite does: what each run of CI has time for, or all that `CRASH_TIER=soak` asks for."""

import os
import random

SOAK = os.environ.get("CRASH_TIER") == "soak"


def pick(ci: int, soak: int) -> int:
    return soak if SOAK else ci


def seed() -> int:
    """`CRASH_SEED`, else another one for each run: print it, so that a failure can be repeated."""
    return int(os.environ.get("CRASH_SEED") or random.SystemRandom().getrandbits(32))
