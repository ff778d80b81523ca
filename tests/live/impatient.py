"""`registry serve` that waits for its clients a fifteenth as long as usual."""

from dataclasses import replace

from registry.__main__ import main
from registry.server.limits import Limits
from registry.server.protocol import Protocol

LIMITS = replace(Limits(), head_seconds=2.0, stall_seconds=4.0)

if __name__ == "__main__":
    Protocol.limits = LIMITS
    main()
