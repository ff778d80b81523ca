"""The users' file: one name and bcrypt hash a line, as Apache's htpasswd writes them.

Lines that are empty or begin with # are comments, as in the distribution image.
"""

import hashlib
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from registry.access import Actor
from registry.auth.watched import Watched
from storage.secrets import Secrets

_HASH = re.compile(rb"\$2[aby]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}")
_LONGEST = 255  # bytes of a name
_NO_BCRYPT = (
    "its hash is none of bcrypt, so that nobody can log in with it: make one with "
    "`registry user passwd NAME` or `htpasswd -B`"
)

logger = logging.getLogger("registry")


@dataclass(frozen=True, slots=True)
class User:
    name: str
    hash: bytes

    @property
    def cost(self) -> int:
        """bcrypt makes 2 to this power rounds."""
        return int(self.hash[4:6])

    @property
    def fingerprint(self) -> str:
        """Changes with the password: what is bound to it ends with it."""
        return hashlib.sha256(b"%b:%b" % (self.name.encode(), self.hash)).hexdigest()[:16]

    @property
    def as_actor(self) -> Actor:
        return Actor(self.name, fingerprint=self.fingerprint)


def check_name(name: str) -> str:
    """The name. Raises ValueError for one that no line can hold, or that would be shown as something else."""
    if not name or len(name.encode(errors="replace")) > _LONGEST:
        raise ValueError(f"a user name has 1 to {_LONGEST} bytes")
    if not name.isprintable() or ":" in name or name != name.strip() or name.startswith("#"):
        raise ValueError(
            f"{name!r} is no user name: expected printable characters without a colon, no space at either "
            "end, no # first"
        )
    return name


def parse(data: bytes) -> tuple[Mapping[str, User], tuple[str, ...]]:
    """The users by name, and what is wrong with other lines. Of two lines with one name the last counts."""
    users: dict[str, User] = {}
    problems = []
    for number, line in enumerate(data.splitlines(), 1):
        try:
            user = _user(line)
        except ValueError as error:
            problems.append(f"line {number}: {error}")
            continue
        if user and user.name in users:
            problems.append(f"line {number}: an earlier line has the same name; this one counts")
        if user:
            users[user.name] = user
    return users, tuple(problems)


def _user(line: bytes) -> User | None:
    """None for a comment. Raises ValueError; its text has nothing of the line, which may hold a password."""
    line = line.strip()
    if not line or line.startswith(b"#"):
        return None
    name, colon, rest = line.partition(b":")
    if not colon:
        raise ValueError("expected NAME:HASH")
    digest = rest.partition(b":")[0]
    if not _HASH.fullmatch(digest):
        raise ValueError(_NO_BCRYPT)
    try:
        return User(check_name(name.decode()), digest)
    except ValueError:
        raise ValueError("the name is none that can log in: see `registry user add --help`") from None


def with_user(data: bytes, user: User) -> bytes:
    """The file with this user, in place of the line that had its name."""
    line = user.name.encode() + b":" + user.hash
    lines = list(_lines(data))
    mine = [number for number, (name, _) in enumerate(lines) if name == user.name]
    kept = [
        line if mine and number == mine[0] else text
        for number, (_, text) in enumerate(lines)
        if number not in mine[1:]
    ]
    return b"".join(text + b"\n" for text in (kept if mine else [*kept, line]))


def without_user(data: bytes, name: str) -> bytes:
    return b"".join(text + b"\n" for found, text in _lines(data) if found != name)


def _lines(data: bytes) -> Iterator[tuple[str | None, bytes]]:
    """Each line with the name that it is of, whatever else it holds."""
    for text in data.splitlines():
        line = text.strip()
        named = b":" in line and not line.startswith(b"#")
        yield line.partition(b":")[0].decode(errors="replace") if named else None, text


class Htpasswd:
    """The users as the file has them at the moment of each question."""

    def __init__(self, path: str) -> None:
        self._file: Watched[Mapping[str, User]] = Watched(path, self._parse, {})
        self._problems: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        return self._file.path

    @property
    def users(self) -> Mapping[str, User]:
        """The same object until the file changes."""
        return self._file.look()

    def _parse(self, data: bytes) -> Mapping[str, User]:
        users, problems = parse(data)
        for problem in problems if problems != self._problems else ():
            logger.warning("%s, %s", self.path, problem)
        self._problems = problems
        return users


class UserMissing(LookupError):
    def __init__(self, name: str, path: str) -> None:
        super().__init__(f"{path} has no user {name}: `registry user list` names those it has")


class UserExists(LookupError):
    def __init__(self, name: str, path: str) -> None:
        super().__init__(f"{path} has a user {name}: `registry user passwd {name}` sets another password")


def add(path: str, secrets: Secrets, user: User) -> None:
    """Raises UserExists."""

    def change(data: bytes | None) -> bytes:
        if any(name == user.name for name, _ in _lines(data or b"")):
            raise UserExists(user.name, path)
        return with_user(data or b"", user)

    secrets.edit(path, change)


def set_hash(path: str, secrets: Secrets, user: User) -> None:
    """Raises UserMissing."""

    def change(data: bytes | None) -> bytes:
        _require(data or b"", user.name, path)
        return with_user(data or b"", user)

    secrets.edit(path, change)


def remove(path: str, secrets: Secrets, name: str) -> None:
    """The file stays, were it the last. Raises UserMissing."""

    def change(data: bytes | None) -> bytes:
        _require(data or b"", name, path)
        return without_user(data or b"", name)

    secrets.edit(path, change)


def require(path: str, name: str) -> None:
    """Raises UserMissing."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        data = b""
    _require(data, name, path)


def _require(data: bytes, name: str, path: str) -> None:
    if not any(found == name for found, _ in _lines(data)):
        raise UserMissing(name, path)
