"""A user name and a password, or a robot's secret, on the request itself."""

import base64
import time
from typing import Protocol

from registry.access import Actor, Shown
from registry.auth.htpasswd import User
from registry.auth.robots import PREFIX, Robot, Robots, number_of
from registry.errors import Unauthenticated

_WRONG = "the user name or the password is wrong"
_NO_ROBOT = "the token is unknown, has expired or was revoked: `registry token create` makes another"
_MALFORMED = "the Authorization header is not what Basic has: base64 of NAME:PASSWORD in UTF-8"


class Passwords(Protocol):
    async def check(self, user: str, password: str, address: str) -> User | None:
        """Raises TooManyRequests."""


class BasicAuthenticator:
    """`Basic` with a user's password, or with a robot's secret and any name; `Bearer` with such a secret."""

    def __init__(self, passwords: Passwords, robots: Robots) -> None:
        self._passwords, self._robots = passwords, robots

    async def identify(self, shown: Shown) -> Actor | None:
        scheme, _, rest = shown.authorization.partition(b" ")
        match scheme.lower():
            case b"basic":
                return await self._basic(rest.strip(b" "), shown.address)
            case b"bearer":
                return self._bearer(rest.strip(b" "))
        return None

    async def _basic(self, encoded: bytes, address: str) -> Actor:
        user, password = read(encoded)
        if number_of(password) is not None:
            return self._find(password, Unauthenticated(_NO_ROBOT)).as_actor
        found = await self._passwords.check(user, password, address)
        if found is None:
            raise Unauthenticated(_WRONG, account=user)
        return found.as_actor

    def _bearer(self, token: bytes) -> Actor | None:
        if not token.startswith(PREFIX.encode()):
            return None
        wrong = Unauthenticated(_NO_ROBOT, error="invalid_token")
        return self._find(token.decode(errors="replace"), wrong).as_actor

    def _find(self, secret: str, wrong: Unauthenticated) -> Robot:
        robot = self._robots.find(secret, time.time())
        if robot is None:
            raise wrong
        return robot


def read(encoded: bytes) -> tuple[str, str]:
    """Name and password. Raises Unauthenticated."""
    try:
        user, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except ValueError:
        raise Unauthenticated(_MALFORMED) from None
    if not colon:
        raise Unauthenticated(_MALFORMED)
    return user, password
