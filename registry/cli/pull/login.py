"""Who pulls: by a password as it is, or by a token for it where the server asks for one."""

import base64
import http.client
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from urllib.parse import urlencode

from registry.auth.addresses import is_safe
from registry.cli.pull.errors import Interrupted, LoginRefused, PullFailed
from registry.upstream.challenges import Challenge
from registry.upstream.credentials import read_grant
from registry.upstream.origins import Origin, read_origin

_SECONDS = 10.0
_LARGEST = 65_536  # bytes of a token server's answer


@dataclass(frozen=True, slots=True)
class Login:
    username: str
    password: str = field(repr=False)

    @property
    def basic(self) -> str:
        """The value of Authorization (RFC 7617)."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


class _Stay(urllib.request.HTTPRedirectHandler):
    """A redirect would take the password along."""

    def redirect_request(self, *_: object) -> None:
        return None


def ask_token(
    origin: Origin, challenge: Challenge | None, scope: str, login: Login | None, context: ssl.SSLContext
) -> str:
    """The value of Authorization for one repository. Raises PullFailed, Interrupted."""
    if challenge is None:
        raise LoginRefused(str(origin), logged_in=login is not None)
    realm = challenge.parameters.get("realm", "")
    _require_safe(realm, origin)
    query = urlencode({"service": challenge.parameters.get("service", ""), "scope": scope})
    request = urllib.request.Request(f"{realm}{'&' if '?' in realm else '?'}{query}")  # noqa: S310 (checked)
    if login:
        request.add_header("Authorization", login.basic)
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context), _Stay()
    )
    try:
        with opener.open(request, timeout=_SECONDS) as answer:
            raw = answer.read(_LARGEST)
    except urllib.error.HTTPError as error:
        error.close()
        raise PullFailed(f"{read_origin(realm)} gives no token: it answers {error.code}") from None
    except (OSError, http.client.HTTPException) as error:
        raise Interrupted(f"{read_origin(realm)} does not answer: {error}") from error
    if not (granted := read_grant(raw)):
        raise PullFailed(f"{read_origin(realm)} sent no token")
    return f"Bearer {granted[0]}"


def _require_safe(realm: str, origin: Origin) -> None:
    """Where a password may go: to the server itself, else only where nobody on the way reads it."""
    try:
        fine = read_origin(realm) == origin or is_safe(realm)
    except ValueError:
        fine = False
    if not fine:
        raise PullFailed(f"{origin} sends logins to {realm[:100]!r}, which is neither itself nor https")
