"""Log lines that anyone on the network can bring about, or that repeat: each once a minute at most."""

import logging
import threading
import time

_EVERY = 60.0  # seconds

logger = logging.getLogger("registry")


class Seldom:
    """What was left out is counted, and told with the next line of its kind."""

    def __init__(self, every: float = _EVERY) -> None:
        self._every = every
        self._lock = threading.Lock()
        self._next: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def say(self, message: str, *details: str, level: int = logging.INFO) -> None:
        """`message` is the kind, and a format for the details."""
        with self._lock:
            now = time.monotonic()
            if now < self._next.get(message, 0.0):
                self._left_out[message] = self._left_out.get(message, 0) + 1
                return
            self._next[message] = now + self._every
            left_out = self._left_out.pop(message, 0)
        more = f" (and {left_out} more like it since the last such line)" if left_out else ""
        logger.log(level, f"{message}{more}", *details)
