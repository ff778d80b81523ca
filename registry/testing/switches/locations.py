"""Where a client is told to go on."""

from registry.testing.exchange import Ask, Head, Reply
from registry.testing.switches.switch import Switch


class AbsoluteLocations(Switch):
    def alter(self, ask: Ask, head: Head) -> Reply | None:
        if (location := head.get("location")).startswith("/"):
            head.set("location", ask.origin + location)
        return None
