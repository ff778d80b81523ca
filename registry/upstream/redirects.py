"""Where a redirect may lead (RFC 9110, section 15.4)."""

from urllib.parse import urljoin

from registry.upstream.errors import UpstreamAstray
from registry.upstream.origins import Origin, is_listed, read_origin
from registry.upstream.settings import Upstream

STATUSES = (301, 302, 303, 307, 308)
MOST = 3


def is_known(upstream: Upstream, origin: Origin) -> bool:
    """Whether the settings name it: only then may it be at a private address, where they allow that."""
    return origin == upstream.origin or is_listed(origin, upstream.redirects)


def find_next(upstream: Upstream, here: str, location: str | None) -> str:
    """The URL that a Location leads to, as it was written: it may be signed. Raises UpstreamAstray."""
    target = urljoin(here, location or "")
    try:
        origin = read_origin(target)
    except ValueError:
        raise UpstreamAstray(upstream.name, "it redirects to what is no http or https URL") from None
    if read_origin(here).scheme == "https" and origin.scheme != "https":
        raise UpstreamAstray(upstream.name, f"it redirects from https to {origin}")
    if upstream.redirects and not is_known(upstream, origin):
        why = f"it redirects to {origin}; if that is right, add {origin.authority!r} to its redirects"
        raise UpstreamAstray(upstream.name, why)
    return target
