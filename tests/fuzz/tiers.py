"""How much is fuzzed: what each run of CI has time for, or `FUZZ_SECONDS` in all (`make fuzz`: an hour)."""

import os
import random

SECONDS = float(os.environ.get("FUZZ_SECONDS") or 0)
LONG = SECONDS > 0

# Of the long tier's time. What needs no server tries a hundred times as much in a second.
TARGETS, API, STATES, WIRE = 0.4, 0.2, 0.1, 0.3


def seed() -> int:
    """`FUZZ_SEED`; else in CI always the same, and in the long tier another one each time. Printed."""
    default = random.SystemRandom().getrandbits(31) if LONG else 1
    return int(os.environ.get("FUZZ_SEED") or default)
