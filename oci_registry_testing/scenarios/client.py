"""A client that is driven: the commands by which it does things, and what comes of running one."""

import contextlib
import difflib
import os
import shlex
import signal
import string
import subprocess
import tempfile
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

VERBS: Mapping[str, str] = {
    "login": "log in at {host} as {user} with {password}",
    "push": "push the image of the layout {layout} (its tag there is {name}), of the archive {archive}, as "
    "of `docker save`, or the file {file} alone, as {image}",
    "pull": "pull {image} and leave it below the folder {out}: as a layout, an archive, or its files",
    "tags": "print the tags of {repository}",
    "attach": "make {file} refer to {image}, as an artifact of the type {type}",
    "referrers": "print the digests of what refers to {image} and has the type {type}",
    "delete": "delete {image} from the registry",
}
PLACES = (
    *("host", "repository", "tag", "image", "user", "password"),
    *("layout", "name", "archive", "file", "type", "out", "work", "python"),
)
_KNOWN = Path(__file__).parent / "known"
_SUFFIX = ".toml"
_TOLD = 4000  # characters of what a command printed
_LOOK = 0.2  # seconds between two looks whether it is to stop


class ClientInvalid(ValueError):
    """A description of a client that cannot be read; the text says what is expected."""


@dataclass(frozen=True, slots=True)
class Client:
    """`commands` are templates by verb, each a line or several that have to succeed one after the other.

    They run without a shell, in a folder of their own, with `environment` beside what there is.
    """

    name: str
    commands: Mapping[str, tuple[str, ...]]
    environment: Mapping[str, str] = field(default_factory=dict)

    def can(self, verb: str) -> bool:
        return verb in self.commands


@dataclass(frozen=True, slots=True)
class Done:
    """`status` is the exit code, None if it had to be ended; `printed` is all, `answer` standard output's."""

    status: int | None
    printed: str
    answer: str = ""


def names() -> tuple[str, ...]:
    """The clients that are described here."""
    return tuple(sorted(path.stem for path in _KNOWN.glob(f"*{_SUFFIX}")))


def load(name: str) -> Client:
    """One that is described here, by name, or one's own, by the path of a TOML file. Raises ClientInvalid."""
    path = Path(name) if name.endswith(_SUFFIX) or os.sep in name else _KNOWN / f"{name}{_SUFFIX}"
    try:
        return parse(path.stem, path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = difflib.get_close_matches(name, names(), n=1) or names()
        raise ClientInvalid(
            f"there is no client {name!r}: known are {', '.join(known)}; one's own is given as a .toml file"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ClientInvalid(f"{path} cannot be read: {error}") from error


def parse(name: str, text: str) -> Client:
    """Raises ClientInvalid."""
    try:
        table: dict[str, Any] = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # Python gives up numbers and depths without end
        raise ClientInvalid(f"the client {name} is not TOML: {error}") from error
    environment = table.pop("environment", {})
    if not isinstance(environment, dict):
        raise ClientInvalid(f"the client {name} has environment = {environment!r}: expected a table of texts")
    return make(name, table, environment)


def make(
    name: str, commands: Mapping[str, object], environment: Mapping[str, object] | None = None
) -> Client:
    """Raises ClientInvalid."""
    for verb in commands:
        if verb not in VERBS:
            raise ClientInvalid(f"the client {name} has {verb!r}: expected {', '.join(VERBS)} or environment")
    if not commands:
        raise ClientInvalid(f"the client {name} can do nothing: give commands for {', '.join(VERBS)}")
    lines = {verb: _lines(name, verb, given) for verb, given in commands.items()}
    variables = dict(environment or {})
    for key, value in variables.items():
        _check(name, key, value)
    return Client(name, lines, {key: str(value) for key, value in variables.items()})


def _lines(name: str, verb: str, given: object) -> tuple[str, ...]:
    lines = tuple(given) if isinstance(given, list | tuple) else (given,)
    for line in lines:
        _check(name, verb, line)
    if not lines:
        raise ClientInvalid(f"the client {name} has no command for {verb}")
    return tuple(str(line) for line in lines)


def _check(name: str, key: str, text: object) -> None:
    if not isinstance(text, str) or not text.strip():
        raise ClientInvalid(f"the client {name} has {key} = {text!r}: expected a command, or a list of such")
    try:
        places = [place for _, place, *_ in string.Formatter().parse(text) if place is not None]
        shlex.split(text)
    except ValueError as error:
        raise ClientInvalid(f"the client {name}: {key} cannot be read: {error}") from None
    if strange := [place for place in places if place not in PLACES]:
        raise ClientInvalid(
            f"the client {name}: {key} has {{{strange[0]}}}: "
            f"expected {', '.join(f'{{{place}}}' for place in PLACES)}; a brace is written twice"
        )


def run(
    client: Client,
    verb: str,
    places: Mapping[str, str],
    folder: Path,
    seconds: float,
    stop: Callable[[], bool] = lambda: False,
) -> Done:
    """All commands of a verb, up to the first that fails; each is ended after `seconds`, or by `stop`.

    Raises FileNotFoundError for a missing program.
    """
    variables = {name: text.format(**places) for name, text in client.environment.items()}
    printed, done = "", Done(0, "")
    for line in client.commands[verb]:
        done = _run([part.format(**places) for part in shlex.split(line)], variables, folder, seconds, stop)
        printed += done.printed
        if done.status != 0:
            break
    return Done(done.status, printed[-_TOLD:], done.answer)


def _run(
    command: Sequence[str],
    variables: Mapping[str, str],
    folder: Path,
    seconds: float,
    stop: Callable[[], bool],
) -> Done:
    # Files: a pipe is open as long as anything that the client left behind, and one would wait for its end.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            cwd=folder,
            env={**os.environ, **variables},
            start_new_session=True,
        )
        status = _wait(process, seconds, stop)
        answer = _read(out)
        return Done(status, answer + _read(err), answer)


def _wait(process: subprocess.Popen[bytes], seconds: float, stop: Callable[[], bool]) -> int | None:
    """The exit code, None if it had to be ended."""
    late = time.monotonic() + seconds
    try:
        while not stop() and time.monotonic() < late:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(min(_LOOK, seconds))
        return None
    finally:
        if process.returncode is None:
            # A group of its own: what it began goes, too. Nobody waited for it: the number is still its own.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
