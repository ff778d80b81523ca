"""Users and robots by the names that tokens have."""

import time

from registry.access import Actor
from registry.auth.htpasswd import Htpasswd
from registry.auth.robots import ROBOT, Robot, Robots


class Accounts:
    """Each is asked for again whenever a token names it: what was taken back is no longer there."""

    def __init__(self, htpasswd: Htpasswd, robots: Robots) -> None:
        self._htpasswd, self._robots = htpasswd, robots

    def find(self, name: str) -> Actor | None:
        """The user, or the robot with its grants; None if there is none, or no longer."""
        if name.startswith(ROBOT):
            robot = self._robot(name)
            return robot.as_actor if robot else None
        return Actor(name) if self._htpasswd.fingerprint(name) else None

    def has(self, name: str) -> bool:
        return self.find(name) is not None

    def fingerprint(self, name: str) -> str:
        """Of the password, or of the secret and its rights; empty for who has none here."""
        if name.startswith(ROBOT):
            robot = self._robot(name)
            return robot.fingerprint if robot else ""
        return self._htpasswd.fingerprint(name) or ""

    def _robot(self, name: str) -> Robot | None:
        return self._robots.named(name.removeprefix(ROBOT), time.time())
