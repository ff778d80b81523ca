"""Robot tokens: secrets for machines, with rights of their own, that end by themselves.

A secret is `ocir_`, 8 hex digits that are its number, `_`, 256 random bits in hex, and the CRC-32 of all that
in hex: whoever scans for leaked secrets can tell one from other text. Only its SHA-256 is kept; for random
bits that is enough.
"""

import hashlib
import hmac
import json
import re
import secrets as randomness
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from registry.access import Actor, Grant
from registry.auth.scopes import WORDS, parse_scopes
from registry.auth.watched import Watched
from storage.secrets import Secrets

PREFIX = "ocir_"
ROBOT = "token:"  # begins the names of robots among actors

_SECRET = re.compile(r"ocir_([0-9a-f]{8})_[0-9a-f]{64}([0-9a-f]{8})", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_SCOPE = re.compile(r"(?:repository:[a-z0-9._/*-]+:[a-z,*]+|registry:catalog:\*)", re.ASCII)
_NOBODY = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True)
class Robot:
    """`digest` is of the secret; times in seconds of UTC; `expires` None is never."""

    name: str
    id: str
    digest: str
    scopes: tuple[str, ...]
    created: int
    expires: int | None

    def expired(self, now: float) -> bool:
        return self.expires is not None and now >= self.expires

    @property
    def actor(self) -> str:
        """Its name among actors; no user's name has a colon."""
        return ROBOT + self.name

    @property
    def as_actor(self) -> Actor:
        return Actor(self.actor, grants=self.grants, expires=self.expires, fingerprint=self.fingerprint)

    @cached_property
    def grants(self) -> tuple[Grant, ...]:
        return tuple(scope.grant for scope in parse_scopes(self.scopes))

    @property
    def fingerprint(self) -> str:
        """Another one for another secret or other rights."""
        text = "\0".join((self.name, self.digest, str(self.expires), *self.scopes))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def check_name(name: str) -> str:
    """The name. Raises ValueError."""
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name[:80]!r} is no name of a token: expected 1 to 64 of A-Z a-z 0-9 . _ -, not . _ - first"
        )
    return name


def check_scope(text: str) -> str:
    """The scope. Raises ValueError for one that gives no right, or not all that it seems to give."""
    found = parse_scopes([text]) if _SCOPE.fullmatch(text) else []
    if len(found) != 1 or not found[0].words or not found[0].words <= set(WORDS):
        raise ValueError(
            f"{text[:160]!r} is no scope: expected repository:PATTERN:ACTIONS, such as "
            f"repository:ci/*:pull,push; actions are {', '.join(WORDS)}"
        )
    return text


def new_secret() -> tuple[str, str]:
    """A secret, and the number in it."""
    number = randomness.token_hex(4)
    text = f"{PREFIX}{number}_{randomness.token_hex(32)}"
    return text + _checksum(text), number


def number_of(secret: str) -> str | None:
    """The number of what is a robot's secret by its form; None for any other text."""
    found = _SECRET.fullmatch(secret)
    return found[1] if found and found[2] == _checksum(secret[:-8]) else None


def _checksum(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"


def digest_of(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def parse(data: bytes) -> Mapping[str, Robot]:
    """The robots by name. Raises ValueError."""
    try:
        found = json.loads(data)
        robots = [_robot(entry) for entry in found["robots"]]
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError, RecursionError):
        raise ValueError('it is not what `registry token` writes: {"robots": [...]}') from None
    return {robot.name: robot for robot in robots}


def _robot(entry: Mapping[str, Any]) -> Robot:
    expires = entry["expires"]
    return Robot(
        check_name(entry["name"]),
        str(entry["id"]),
        str(entry["digest"]),
        tuple(check_scope(scope) for scope in entry["scopes"]),
        int(entry["created"]),
        None if expires is None else int(expires),
    )


def render(robots: Mapping[str, Robot]) -> bytes:
    return json.dumps({"robots": [asdict(robot) for robot in robots.values()]}, indent=2).encode() + b"\n"


class Robots:
    """The robots as the file has them at the moment of each question."""

    def __init__(self, path: str) -> None:
        self._file: Watched[Mapping[str, Robot]] = Watched(path, parse, {})

    @property
    def exist(self) -> bool:
        """Whether there is any, or may be: a file that can't be read is not taken for an empty one."""
        return bool(self.all) or not self._file.sound

    @property
    def all(self) -> Mapping[str, Robot]:
        """By name, expired ones too."""
        return self._file.look()

    def find(self, secret: str, now: float) -> Robot | None:
        """Whose secret that is. How long it takes says nothing of how much of it is right."""
        number = number_of(secret)
        if number is None:
            return None
        digest = digest_of(secret)
        robot = next((robot for robot in self.all.values() if robot.id == number), None)
        right = hmac.compare_digest(digest, robot.digest if robot else _NOBODY)
        return robot if robot and right and not robot.expired(now) else None

    def named(self, name: str, now: float) -> Robot | None:
        robot = self.all.get(name)
        return robot if robot and not robot.expired(now) else None


class RobotMissing(LookupError):
    def __init__(self, name: str) -> None:
        super().__init__(f"there is no token {name}: `registry token list` names those that are there")


class RobotExists(LookupError):
    def __init__(self, name: str) -> None:
        super().__init__(f"there is a token {name}: take another name, or revoke it first")


def create(
    path: str, secrets: Secrets, name: str, scopes: tuple[str, ...], *, now: float, expires: float | None
) -> tuple[Robot, str]:
    """The new robot and its secret, which is nowhere kept. Raises ValueError, RobotExists."""
    check_name(name)
    secret, number = new_secret()
    kept = tuple(check_scope(scope) for scope in dict.fromkeys(scopes))
    robot = Robot(name, number, digest_of(secret), kept, int(now), None if expires is None else int(expires))

    def change(data: bytes | None) -> bytes:
        robots = parse(data) if data else {}
        if name in robots:
            raise RobotExists(name)
        return render({**robots, name: robot})

    secrets.edit(path, change)
    return robot, secret


def revoke(path: str, secrets: Secrets, name: str) -> Robot:
    """The robot that is gone. Raises RobotMissing."""
    gone: list[Robot] = []

    def change(data: bytes | None) -> bytes:
        robots = parse(data) if data else {}
        if name not in robots:
            raise RobotMissing(name)
        gone.append(robots[name])
        return render({key: robot for key, robot in robots.items() if key != name})

    secrets.edit(path, change)
    return gone[0]
