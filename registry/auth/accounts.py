"""Who there is to log in, for whoever only has to know that."""

import time

from registry.auth.htpasswd import Htpasswd
from registry.auth.robots import Robot, Robots


class Accounts:
    def __init__(self, htpasswd: Htpasswd, robots: Robots) -> None:
        self._htpasswd, self._robots = htpasswd, robots

    @property
    def exist(self) -> bool:
        """Whether access is to be controlled.

        For a start to ask, once: an editor may let the file vanish for a moment.
        """
        return self._htpasswd.exists or self._robots.exist

    def user_fingerprint(self, name: str) -> str | None:
        """None for who is no user, or none any more."""
        return self._htpasswd.fingerprint(name)

    def robot(self, name: str) -> Robot | None:
        """None for one that has expired or was revoked."""
        return self._robots.named(name, time.time())
