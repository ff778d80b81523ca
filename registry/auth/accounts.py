"""Users and robots by the names that tokens have."""

import time

from registry.access import Actor
from registry.auth.htpasswd import Htpasswd
from registry.auth.robots import ROBOT, Robots


class Accounts:
    """Each is asked for again whenever a token names it: what was taken back is no longer there."""

    def __init__(self, htpasswd: Htpasswd, robots: Robots) -> None:
        self._htpasswd, self._robots = htpasswd, robots

    def find(self, name: str) -> Actor | None:
        """The user, or the robot with its grants; None if there is none, or no longer."""
        if name.startswith(ROBOT):
            robot = self._robots.named(name.removeprefix(ROBOT), time.time())
            return robot.as_actor if robot else None
        user = self._htpasswd.users.get(name)
        return user.as_actor if user else None

    def has(self, name: str) -> bool:
        return self.find(name) is not None
