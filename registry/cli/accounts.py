"""`registry user` and `registry token`: who may log in, changed beside a running server."""

import os
import secrets as randomness
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import click

from registry.auth import htpasswd, robots
from registry.auth.passwords import new_hash
from registry.cli.audit import note
from registry.cli.failures import Failed, Refused, explained
from registry.cli.text import address, reachable
from registry.settings import Settings
from storage.files import Files
from storage.layout import Layout
from storage.secrets import Secrets
from storage.store import recognise

_GENERATED = 18  # random bytes, 24 characters


@contextmanager
def told() -> Iterator[None]:
    """What is not there ends with 1, a mistake with 2."""
    with explained():
        try:
            yield
        except (htpasswd.UserMissing, robots.RobotMissing) as error:
            raise Failed(str(error)) from error
        except (htpasswd.UserExists, robots.RobotExists, ValueError) as error:
            raise Refused(str(error)) from error


def require_own(settings: Settings) -> None:
    """Raises StoreUnusable where the root is another's folder; one that is not there will be made."""
    if os.path.isdir(settings.root):
        recognise(Layout(settings.root))


def secrets_of(settings: Settings) -> Secrets:
    layout = Layout(settings.root)
    return Secrets(Files(layout.degraded), layout)


def login(settings: Settings, user: str) -> str:
    """The command that a person types next, as far as it is known here."""
    return f"docker login {address(reachable(settings.host), settings.port)} -u {user}"


def _note(settings: Settings, command: str, what: str, name: str) -> None:
    note(settings, command, "account", {"what": what, "reference": name})


# -- users ---------------------------------------------------------------------------------------------


def users_of(settings: Settings) -> tuple[Mapping[str, htpasswd.User], tuple[str, ...]]:
    """The users, and what is wrong with other lines of the file."""
    path = _htpasswd(settings)
    try:
        with open(path, "rb") as file:
            found, problems = htpasswd.parse(file.read())
    except FileNotFoundError:
        return {}, ()
    return found, tuple(f"{path}, {problem}" for problem in problems)


def add_user(settings: Settings, name: str, hashed: bytes) -> str:
    """What was done. Raises UserExists."""
    path = _writable(settings)
    new = not os.path.exists(path)
    htpasswd.add(path, secrets_of(settings), htpasswd.User(name, hashed))
    _note(settings, "user add", "user", name)
    said = f"added {name} to {path}: {login(settings, name)}"
    if new:
        said += (
            "\nFrom now on a server asks everyone to log in, unless `anonymous` or `access` say otherwise: "
            "for pulls without a login, registry serve --anonymous pull"
        )
    return said


def set_password(settings: Settings, name: str, hashed: bytes) -> str:
    """What was done. Raises UserMissing."""
    path = _writable(settings)
    htpasswd.set_hash(path, secrets_of(settings), htpasswd.User(name, hashed))
    _note(settings, "user passwd", "user", name)
    return f"{name} has a new password, and the old one is refused from now on: {login(settings, name)}"


def remove_user(settings: Settings, name: str) -> str:
    """What was done. Raises UserMissing."""
    path = _writable(settings)
    htpasswd.remove(path, secrets_of(settings), name)
    _note(settings, "user rm", "user", name)
    said = f"removed {name} from {path}: logins by that name are refused from now on"
    if not users_of(settings)[0]:
        said += (
            f"\nNo user is left. The file stays, and so do the checks; to end them, delete {path} and restart"
        )
    return said


def require_new(settings: Settings, name: str) -> None:
    """Before a password is asked for. Raises UserExists, ValueError."""
    htpasswd.check_name(name)
    if name in users_of(settings)[0]:
        raise htpasswd.UserExists(name, _htpasswd(settings))


def require_known(settings: Settings, name: str) -> None:
    """Before a password is asked for. Raises UserMissing.

    A line with another kind of hash is one that a new password mends.
    """
    path = _writable(settings)
    htpasswd.require(path, name)


def _htpasswd(settings: Settings) -> str:
    return settings.htpasswd or Layout(settings.root).htpasswd


def _writable(settings: Settings) -> str:
    if not settings.htpasswd:
        require_own(settings)
    return _htpasswd(settings)


def password(name: str, *, from_stdin: bool, generate: bool) -> str:
    """From where the caller wants it. Raises Refused."""
    if from_stdin and generate:
        raise Refused("give --password-stdin or --generate, not both")
    if generate:
        return randomness.token_urlsafe(_GENERATED)
    if from_stdin:
        return _from_stdin()
    if not on_terminal():
        raise Refused(
            "standard input is no terminal to ask for a password on: give --password-stdin, or --generate"
        )
    found: str = click.prompt(f"Password for {name}", hide_input=True, confirmation_prompt=True, err=True)
    return found


def _from_stdin() -> str:
    """Its text without the end of the line that `echo` and editors add."""
    try:
        text = sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise Refused("the password on standard input is not UTF-8") from error
    return text.removesuffix("\n").removesuffix("\r")


def on_terminal() -> bool:
    return sys.stdin.isatty()


def hash_of(text: str) -> bytes:
    """Raises ValueError for a password that no login could show."""
    return new_hash(text)


# -- robots --------------------------------------------------------------------------------------------


def create_robot(
    settings: Settings, name: str, scopes: tuple[str, ...], lasts: int | None
) -> tuple[robots.Robot, str]:
    """The robot, and its secret. Raises ValueError, RobotExists."""
    require_own(settings)
    now = time.time()
    made = robots.create(
        Layout(settings.root).robots,
        secrets_of(settings),
        name,
        scopes,
        now=now,
        expires=None if lasts is None else now + lasts,
    )
    _note(settings, "token create", "token", name)
    return made


def revoke_robot(settings: Settings, name: str) -> str:
    """What was done. Raises RobotMissing."""
    require_own(settings)
    robots.revoke(Layout(settings.root).robots, secrets_of(settings), name)
    _note(settings, "token revoke", "token", name)
    return f"revoked {name}: its secret is refused from now on"


def robots_of(settings: Settings) -> list[robots.Robot]:
    """Raises ValueError for a file that is none of ours."""
    path = Layout(settings.root).robots
    try:
        with open(path, "rb") as file:
            return list(robots.parse(file.read()).values())
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}") from None


def as_object(robot: robots.Robot) -> dict[str, object]:
    """For programs: all but the digest."""
    return {
        "name": robot.name,
        "scopes": list(robot.scopes),
        "created": when(robot.created),
        "expires": None if robot.expires is None else when(robot.expires),
        "expired": robot.expired(time.time()),
    }


def row(robot: robots.Robot) -> tuple[str, ...]:
    """For people."""
    end = "never" if robot.expires is None else when(robot.expires)
    return (
        robot.name,
        " ".join(robot.scopes),
        when(robot.created),
        f"{end} (expired)" if robot.expired(time.time()) else end,
    )


def when(moment: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))
