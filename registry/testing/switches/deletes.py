"""What cannot be deleted."""

from registry.testing.exchange import Ask, Reply, error
from registry.testing.switches.listings import not_found
from registry.testing.switches.switch import Switch

_CODES = {400: "UNSUPPORTED", 403: "DENIED", 405: "UNSUPPORTED"}


class NoDelete(Switch):
    """`what` is a tag, a manifest or a blob."""

    def __init__(self, what: str, status: int) -> None:
        self._what, self._status = what, status

    async def refuse(self, ask: Ask) -> Reply | None:
        if ask.target.method != "DELETE" or _what(ask) != self._what:
            return None
        if self._status == 404:
            return not_found()
        allow = {"Allow": "GET, HEAD"} if self._status == 405 else {}
        return error(self._status, _CODES[self._status], f"a {self._what} cannot be deleted here", **allow)


def _what(ask: Ask) -> str:
    if ask.target.route != "manifest":
        return ask.target.route
    return "manifest" if ":" in ask.target.reference else "tag"
