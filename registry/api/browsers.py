"""What a browser may not be made to do here by a page that its user happens to look at.

Such a page has its user's reach: 127.0.0.1 and whatever else no stranger can connect to (docs/decisions/012).
"""

import ipaddress
import re
from collections.abc import Callable

from starlette.requests import Request

from registry.api.errors import CrossOrigin, ForeignName
from registry.api.origins import Origins

Requirement = Callable[[Request], None]
"""Returns if a request may go on; asked before who sends it."""

# Names below these are nobody's to buy: RFC 6761, RFC 6762 (section 3 and appendix G), RFC 8375, ICANN 2024.
_PRIVATE = re.compile(
    r"[^.]*|.*\.(?:localhost|local|internal|test|example|invalid|home\.arpa|intranet|private|corp|home|lan)"
)
_PORT = re.compile(r":[0-9]*$")
# A page can leave Origin and Referer out, and Sec-Fetch-* is sent to trustworthy addresses only; but no
# script keeps a browser from saying which languages it likes, and no registry's client does.
_MARKS = ("origin", "referer", "accept-language", "sec-fetch-site", "sec-fetch-mode", "sec-ch-ua")


def require_same_origin(origins: Origins) -> Requirement:
    """Raises CrossOrigin for a write that a browser sends for another site's page."""

    def require(request: Request) -> None:
        origin = request.headers.get("origin")
        if origin is None or request.method in ("GET", "HEAD"):
            return
        if not origins.is_own(request.scope, origin):
            raise CrossOrigin(origin)

    return require


def require_private_name(is_open: Callable[[], bool], known: str = "") -> Requirement:
    """Raises ForeignName for a browser that asks under a name which anyone could have led to this address.

    That is how a page gets the registry into its own origin (DNS rebinding). Where `is_open` says no, a page
    has nothing that its user knows to log in with. `known` is a name that may.
    """

    def require(request: Request) -> None:
        host = request.headers.get("host", "")
        if is_browser(request) and not is_private(host) and _name(host) != known and is_open():
            raise ForeignName(host)

    return require


def is_browser(request: Request) -> bool:
    headers = request.headers
    return headers.get("user-agent", "").startswith("Mozilla/") or any(name in headers for name in _MARKS)


def is_private(host: str) -> bool:
    """Whether a Host is an address, or a name that nobody can have registered."""
    name = _name(host)
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return bool(_PRIVATE.fullmatch(name))
    return True


def _name(host: str) -> str:
    return _PORT.sub("", host).removesuffix(".").lower()
