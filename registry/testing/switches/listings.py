"""How much is listed, and how it goes on."""

from registry.testing.exchange import Ask, Head, Reply, error
from registry.testing.switches.switch import Switch

_DIGITS = 18  # more of them say no more than that it is too much; of 4301, Python makes no number
_LISTINGS = ("tags", "catalog", "referrers")


class NoPaging(Switch):
    def amend(self, ask: Ask) -> None:
        if ask.target.route == "tags":
            ask.drop_query("n", "last")


class PageCap(Switch):
    """No page has more entries; who asks for more is given less or, with `refuses`, nothing."""

    def __init__(self, most: int, *, refuses: bool) -> None:
        self._most, self._refuses = most, refuses

    async def refuse(self, ask: Ask) -> Reply | None:
        if ask.target.route in _LISTINGS and self._refuses and (_asked(ask) or 0) > self._most:
            return error(405, "UNSUPPORTED", f"n must be {self._most} at most")
        return None

    def amend(self, ask: Ask) -> None:
        if ask.target.route not in _LISTINGS:
            return
        asked = _asked(ask)
        if asked is None and ask.query("n") is not None:
            return  # nonsense, which the registry refuses
        if asked is None or asked > self._most:
            ask.set_query("n", str(self._most))


class NoLink(Switch):
    def alter(self, ask: Ask, head: Head) -> Reply | None:
        head.remove("link")
        return None


class NoCatalog(Switch):
    async def refuse(self, ask: Ask) -> Reply | None:
        return not_found() if ask.target.route == "catalog" else None


class NoReferrers(Switch):
    """Nor is OCI-Subject said, by which clients know that they need no fallback tag."""

    async def refuse(self, ask: Ask) -> Reply | None:
        return not_found() if ask.target.route == "referrers" else None

    def alter(self, ask: Ask, head: Head) -> Reply | None:
        head.remove("oci-subject")
        return None


class NoReferrersFilter(Switch):
    def amend(self, ask: Ask) -> None:
        if ask.target.route == "referrers":
            ask.drop_query("artifactType")


def not_found() -> Reply:
    """As a server answers that has no such path."""
    return Reply(404, {"content-type": "text/plain; charset=utf-8"}, b"404 page not found\n")


def _asked(ask: Ask) -> int | None:
    text = ask.query("n") or ""
    return int(text.lstrip("0")[:_DIGITS] or "0") if text.isdecimal() and text.isascii() else None
