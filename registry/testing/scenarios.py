"""`python -m registry.testing.scenarios`: what a client survives (oci_registry_testing.scenarios)."""

import sys

from oci_registry_testing.scenarios import *  # noqa: F403 (all that it offers, and nothing else)
from oci_registry_testing.scenarios.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
